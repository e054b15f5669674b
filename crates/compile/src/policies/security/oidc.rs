//! `oidc` of a SecurityPolicy.

mod backends;
mod client;
mod session_key;
mod urls;

pub(crate) use backends::PolicyOidc;

use std::time::Duration;

use http::{HeaderName, header};
use pailou_api::{
    Meta,
    envoy::{
        oidc::{Oidc as Spec, OidcDenyRedirectHeader, OidcSameSite},
        string_match::StringMatchType,
    },
};
use pailou_auth::{
    CookieAttributes, CookieNames, CredentialSource, DenyRedirect, DenyRedirectHeader, DenyRedirectValue, JwtAuth, Oidc, OidcKeys,
    SameSite,
};

use crate::{
    headers::header_name,
    index::Index,
    regexes,
    session_key_source::{SESSION_KEY, SESSION_KEY_SECRET},
    status::Problem,
};

use super::super::values::invalid;
use super::{identity_header::identity_header, secrets::Secrets};

/// Lifetime of refresh tokens that name none, unless the policy says: Envoy Gateway's.
const DEFAULT_REFRESH_TOKEN_TTL: Duration = Duration::from_secs(604_800);
/// Time for a login, unless the policy says: Envoy Gateway's.
const DEFAULT_CSRF_TOKEN_TTL: Duration = Duration::from_secs(600);
/// Most headers of `denyRedirect`.
const MAX_DENY_REDIRECT: usize = 16;

/// Namespaces of references, and the policy that cookies belong to.
pub(super) struct Context<'p, 'i, 'a> {
    pub(super) index: &'i Index<'a>,
    pub(super) policy: &'p Meta,
    pub(super) client_id: &'p str,
    pub(super) client_secret: &'p str,
    pub(super) servers: &'p str,
    /// The `jwt` of the same policy.
    pub(super) tokens: Option<&'p JwtAuth>,
}

/// Reads the settings.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(context: &Context<'_, '_, '_>, spec: &Spec) -> Result<PolicyOidc, Problem> {
    let provider = urls::provider(&spec.provider)?;
    let (client_id, client_secret) = client::read(context, spec)?;
    let redirect_url = urls::redirect_url(spec.redirect_url.as_deref())?;
    let logout_path = spec.logout_path.as_deref().unwrap_or("/logout");
    if !logout_path.starts_with('/') || logout_path.contains(['?', '#']) || logout_path == "/" {
        return Err(invalid(&format!("oidc.logoutPath: {logout_path:?}: write a path such as /logout")));
    }
    let logout_path = urls::normal_path("oidc.logoutPath", logout_path)?;
    let callback_path = redirect_url.path.clone();
    if *callback_path == *logout_path {
        return Err(invalid("oidc.logoutPath: it is the path of redirectURL as well: take another"));
    }
    let cookies = cookies(spec)?;
    let id = client::policy_id(context.policy);
    let secret = session_key::find(context.index)?;
    let keys = OidcKeys::derive(&secret, &[&id, &provider.issuer, &client_id])
        .map_err(|error| invalid(&format!("oidc: key {SESSION_KEY} of Secret {SESSION_KEY_SECRET}: {error}")))?;
    let names = spec.cookie_names.as_ref();
    let cookie_names = CookieNames::new(
        &id,
        cookie_name("accessToken", names.and_then(|names| names.access_token.as_deref()))?,
        cookie_name("idToken", names.and_then(|names| names.id_token.as_deref()))?,
    );
    if cookie_names.access_token == cookie_names.id_token {
        return Err(invalid("oidc.cookieNames: give both cookies different names"));
    }
    let seconds = |duration: Option<pailou_api::Duration>, default| duration.map_or(default, |it| it.as_std());
    let csrf_token_ttl = seconds(spec.csrf_token_ttl, DEFAULT_CSRF_TOKEN_TTL);
    if csrf_token_ttl < Duration::from_secs(1) {
        return Err(invalid("oidc.csrfTokenTTL: write 1s or more"));
    }
    let oidc = Oidc {
        scopes: client::scopes(&spec.scopes)?,
        resources: client::resources(&spec.resources)?,
        callback_path,
        logout_path,
        forwards_access_token: spec.forward_access_token.unwrap_or(false),
        id_token_header: id_token_header(context, spec)?,
        default_token_ttl: seconds(spec.default_token_ttl, Duration::ZERO),
        uses_refresh_token: spec.refresh_token.unwrap_or(true),
        default_refresh_token_ttl: seconds(spec.default_refresh_token_ttl, DEFAULT_REFRESH_TOKEN_TTL),
        csrf_token_ttl,
        encrypts_tokens: !spec.disable_token_encryption.unwrap_or(false),
        cookie_names,
        cookies,
        deny_redirect: deny_redirect(spec)?,
        pass_through: pass_through(context, spec)?,
        provider,
        client_id,
        client_secret,
        keys,
    };
    backends::read(context, spec, oidc, redirect_url.url)
}

fn cookies(spec: &Spec) -> Result<CookieAttributes, Problem> {
    let same_site = match spec.cookie_config.and_then(|config| config.same_site) {
        None | Some(OidcSameSite::Lax) => SameSite::Lax,
        Some(OidcSameSite::Strict) => SameSite::Strict,
        Some(OidcSameSite::None) => SameSite::None,
    };
    let is_domain = |domain: &str| {
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        domain.len() <= 253 && domain.split('.').all(is_label)
    };
    match spec.cookie_domain.as_deref() {
        Some(domain) if !is_domain(domain) => {
            Err(invalid(&format!("oidc.cookieDomain: {domain:?}: write a domain in lower case, such as example.com")))
        }
        domain => Ok(CookieAttributes { same_site, domain: domain.map(Into::into) }),
    }
}

/// A cookie's name (RFC 6265, section 4.1.1).
fn cookie_name<'n>(field: &str, name: Option<&'n str>) -> Result<Option<&'n str>, Problem> {
    let is_token = |name: &str| HeaderName::from_bytes(name.as_bytes()).is_ok();
    match name {
        Some(name) if name.len() > 128 || !is_token(name) => {
            Err(invalid(&format!("oidc.cookieNames.{field}: {name:?} is no name of a cookie: write letters, digits, - and _")))
        }
        name => Ok(name),
    }
}

fn id_token_header(context: &Context<'_, '_, '_>, spec: &Spec) -> Result<Option<HeaderName>, Problem> {
    const FIELD: &str = "oidc.forwardIDToken.header";
    let Some(forward) = &spec.forward_id_token else { return Ok(None) };
    let name = header_name(&forward.header)?;
    if name == header::AUTHORIZATION {
        if spec.forward_access_token.unwrap_or(false) {
            return Err(invalid(&format!("{FIELD}: forwardAccessToken sets Authorization already: take another header")));
        }
        return match spec.pass_through_auth_header.unwrap_or(false) && is_source(context, &name) {
            true => Err(invalid(&format!("{FIELD}: with passThroughAuthHeader jwt reads Authorization: take another header"))),
            false => Ok(Some(name)),
        };
    }
    let sources = context.tokens.iter().flat_map(|tokens| &tokens.providers).flat_map(|provider| &provider.sources);
    let sources: Vec<_> = if spec.pass_through_auth_header.unwrap_or(false) { sources.cloned().collect() } else { Vec::new() };
    identity_header(FIELD, &forward.header, &sources).map(Some)
}

fn is_source(context: &Context<'_, '_, '_>, header: &HeaderName) -> bool {
    let mut sources = context.tokens.iter().flat_map(|tokens| &tokens.providers).flat_map(|provider| &provider.sources);
    sources.any(|source| matches!(source, CredentialSource::Header { name, .. } if name == header))
}

/// Headers that the policy's `jwt` reads.
fn pass_through(context: &Context<'_, '_, '_>, spec: &Spec) -> Result<Vec<CredentialSource>, Problem> {
    if !spec.pass_through_auth_header.unwrap_or(false) {
        return Ok(Vec::new());
    }
    const FIELD: &str = "oidc.passThroughAuthHeader";
    let Some(tokens) = context.tokens else {
        return Err(invalid(&format!("{FIELD}: the policy has no jwt to judge such requests")));
    };
    if tokens.requirement != pailou_auth::JwtRequirement::Valid {
        return Err(invalid(&format!(
            "{FIELD}: jwt lets requests pass without a valid token (optional or failOpen), so that any header would be enough"
        )));
    }
    let sources = tokens.providers.iter().flat_map(|provider| &provider.sources);
    let headers: Vec<_> = sources.filter(|source| matches!(source, CredentialSource::Header { .. })).cloned().collect();
    if headers.is_empty() {
        return Err(invalid(&format!("{FIELD}: no provider of jwt reads a header: set extractFrom.headers")));
    }
    Ok(headers)
}

fn deny_redirect(spec: &Spec) -> Result<Vec<DenyRedirect>, Problem> {
    const FIELD: &str = "oidc.denyRedirect.headers";
    let Some(deny) = &spec.deny_redirect else { return Ok(Vec::new()) };
    if deny.headers.is_empty() || deny.headers.len() > MAX_DENY_REDIRECT {
        return Err(invalid(&format!("{FIELD}: write 1 to {MAX_DENY_REDIRECT}")));
    }
    let value = |at: usize, OidcDenyRedirectHeader { kind, value, .. }: &OidcDenyRedirectHeader| {
        if value.is_empty() {
            return Err(invalid(&format!("{FIELD}[{at}].value: write a text")));
        }
        Ok(match kind {
            StringMatchType::Exact => DenyRedirectValue::Exact(value.as_str().into()),
            StringMatchType::Prefix => DenyRedirectValue::Prefix(value.as_str().into()),
            StringMatchType::Suffix => DenyRedirectValue::Suffix(value.as_str().into()),
            StringMatchType::RegularExpression => DenyRedirectValue::Regex(
                regexes::anchored(&format!("{FIELD}[{at}].value"), value).map_err(|problem| invalid(&problem.message))?,
            ),
        })
    };
    let header = |(at, spec): (usize, &OidcDenyRedirectHeader)| {
        Ok(DenyRedirect { header: deny_redirect_header(&spec.name)?, value: value(at, spec)? })
    };
    deny.headers.iter().enumerate().map(header).collect()
}

/// A header's name, or a part of the request by HTTP/2's name for it (RFC 9113, section 8.3.1), as Envoy has it.
fn deny_redirect_header(name: &str) -> Result<DenyRedirectHeader, Problem> {
    Ok(match name {
        ":path" => DenyRedirectHeader::Path,
        ":authority" => DenyRedirectHeader::Authority,
        ":scheme" => DenyRedirectHeader::Scheme,
        ":method" => DenyRedirectHeader::Method,
        name => DenyRedirectHeader::Field(header_name(name)?),
    })
}
