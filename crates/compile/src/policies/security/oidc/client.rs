//! The client that the gateway is to a provider.

use pailou_api::{Meta, envoy::oidc::Oidc as Spec, refs::SecretObjectReference};
use pailou_auth::ClientSecret;

use crate::status::Problem;

use super::{Context, Secrets, invalid};

/// Keys in Secrets.
const CLIENT_ID: &str = "client-id";
const CLIENT_SECRET: &str = "client-secret";
/// Most scopes, and most resources.
const MAX_LIST: usize = 64;

/// Client ID and secret.
pub(super) fn read(context: &Context<'_, '_, '_>, spec: &Spec) -> Result<(Box<str>, ClientSecret), Problem> {
    let id = match (spec.client_id.as_deref(), &spec.client_id_ref) {
        (Some(id), None) if !id.is_empty() => Box::from(id),
        (None, Some(to)) => {
            const FIELD: &str = "oidc.clientIDRef";
            let id = value(context, FIELD, context.client_id, to, CLIENT_ID)?;
            let text = std::str::from_utf8(id).map(str::trim).unwrap_or_default();
            if text.is_empty() {
                return Err(invalid(&format!("{FIELD}: key {CLIENT_ID} of Secret {} is no text", to.name)));
            }
            text.into()
        }
        _ => return Err(invalid("oidc: set one of clientID and clientIDRef")),
    };
    let secret = value(context, "oidc.clientSecret", context.client_secret, &spec.client_secret, CLIENT_SECRET)?;
    Ok((id, ClientSecret::new(secret)))
}

fn value<'a>(
    context: &Context<'_, '_, 'a>,
    field: &str,
    namespace: &str,
    to: &SecretObjectReference,
    key: &str,
) -> Result<&'a [u8], Problem> {
    let secret = Secrets::new(context.index, namespace).find(field, to)?;
    let value = secret.spec.data.get(key).map(|value| value.expose()).filter(|value| !value.is_empty());
    value.ok_or_else(|| invalid(&format!("{field}: Secret {} has no key {key}", to.name)))
}

/// Scopes, with `openid`.
pub(super) fn scopes(spec: &[String]) -> Result<Vec<Box<str>>, Problem> {
    let is_scope =
        |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    if let Some(wrong) = spec.iter().find(|scope| !is_scope(scope)) {
        return Err(invalid(&format!("oidc.scopes: {wrong:?} is no scope")));
    }
    let openid = (!spec.iter().any(|scope| scope == "openid")).then_some("openid");
    bounded("oidc.scopes", openid.into_iter().chain(spec.iter().map(String::as_str)))
}

pub(super) fn resources(spec: &[String]) -> Result<Vec<Box<str>>, Problem> {
    if let Some(wrong) = spec.iter().find(|resource| resource.is_empty() || resource.contains('#')) {
        return Err(invalid(&format!("oidc.resources: {wrong:?} is no URI without a fragment")));
    }
    bounded("oidc.resources", spec.iter().map(String::as_str))
}

fn bounded<'s>(field: &str, list: impl Iterator<Item = &'s str>) -> Result<Vec<Box<str>>, Problem> {
    let list: Vec<Box<str>> = list.map(Into::into).collect();
    if list.len() > MAX_LIST {
        return Err(invalid(&format!("{field}: write at most {MAX_LIST}")));
    }
    Ok(list)
}

/// Identity of a policy, for names and keys of its cookies: objects in files have no UID.
pub(super) fn policy_id(policy: &Meta) -> String {
    match policy.uid.as_str() {
        "" => format!("{}/{}", policy.namespace, policy.name),
        uid => uid.to_owned(),
    }
}
