//! OpenID Connect: logs clients in at a provider, and keeps their sessions in cookies. Sources: OpenID Connect Core 1.0 (code flow), RFC 7636,
//! RFC 6265, Envoy Gateway's SecurityPolicy `oidc`.
//!
//! [`Oidc::step`] says what is to become of a request. The proxy makes the requests to the provider and gives back the answers.

mod cookie_names;
mod cookies;
mod flow;
mod id_token;
mod keys;
mod login;
mod provider;
mod redirect_url;
mod session;
#[cfg(test)]
mod tests;
mod token_request;
mod token_response;

pub use cookie_names::{CookieNames, SessionCookies};
pub use cookies::{CookieAttributes, SameSite};
pub use flow::{FlowEntropy, LoginId, StateError};
pub use id_token::IdTokenError;
pub use keys::{OidcKeys, ShortSecret};
pub use login::{LoggedIn, PendingLogin};
pub use provider::{DiscoveryError, Provider, ProviderSettings, endpoint, has_credentials};
pub use redirect_url::{RedirectUrl, RedirectUrlPart};
pub use session::{Refresh, Session, Token};
pub use token_request::{ClientSecret, TokenRequest};
pub use token_response::{TokenResponse, TokenResponseError};

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, uri::PathAndQuery};
use regex::Regex;

use crate::{CredentialSource, JwtError, query_values};
use cookies::Cookies;

/// Settings of `oidc`.
#[derive(Debug)]
pub struct Oidc {
    /// The provider.
    pub provider: ProviderSettings,
    /// `client_id`.
    pub client_id: Box<str>,
    /// Client secret.
    pub client_secret: ClientSecret,
    /// Scopes, `openid` among them.
    pub scopes: Vec<Box<str>>,
    /// Resources (RFC 8707).
    pub resources: Vec<Box<str>>,
    /// Path that the provider sends clients back to.
    pub callback_path: Box<str>,
    /// Path that ends a session.
    pub logout_path: Box<str>,
    /// Backends get the access token in `Authorization`.
    pub forwards_access_token: bool,
    /// Backends get the ID token in this header.
    pub id_token_header: Option<HeaderName>,
    /// Lifetime of access tokens that name none; 0: they have to name one.
    pub default_token_ttl: Duration,
    /// Sessions go on by a refresh token.
    pub uses_refresh_token: bool,
    /// Lifetime of refresh tokens that name none.
    pub default_refresh_token_ttl: Duration,
    /// Time for a login.
    pub csrf_token_ttl: Duration,
    /// Cookies hold tokens encrypted.
    pub encrypts_tokens: bool,
    /// Names of cookies.
    pub cookie_names: CookieNames,
    /// Attributes of cookies.
    pub cookies: CookieAttributes,
    /// Requests with one of these get 401 in place of a redirect.
    pub deny_redirect: Vec<DenyRedirect>,
    /// Credentials of requests that pass without a session: the policy's `jwt` judges them.
    pub pass_through: Vec<CredentialSource>,
    /// Keys of cookies.
    pub keys: OidcKeys,
}

/// A header of requests that are not sent to log in.
#[derive(Clone, Debug)]
pub struct DenyRedirect {
    /// Its name.
    pub header: DenyRedirectHeader,
    /// Its value.
    pub value: DenyRedirectValue,
}

/// Name of such a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenyRedirectHeader {
    /// A field of the head.
    Field(HeaderName),
    /// `:path`: path and query.
    Path,
    /// `:authority`: host and port.
    Authority,
    /// `:scheme`: `http` or `https`, as the client sees it.
    Scheme,
    /// `:method`.
    Method,
}

/// Value of such a header.
#[derive(Clone, Debug)]
pub enum DenyRedirectValue {
    /// The whole.
    Exact(Box<str>),
    /// Its begin.
    Prefix(Box<str>),
    /// Its end.
    Suffix(Box<str>),
    /// All of it matches.
    Regex(Regex),
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct OidcRequest<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'r str,
    /// Host and port.
    pub authority: &'r str,
    /// Host without port, in lower case.
    pub host: &'r str,
    /// Path and query.
    pub uri: &'r Uri,
    /// URL that the provider sends the client back to.
    pub redirect_uri: &'r str,
}

/// Next step of a request.
#[derive(Debug)]
pub enum OidcStep {
    /// It bears a token that the policy's `jwt` judges.
    PassThrough,
    /// The client has a session.
    Session(Session),
    /// The client's session is over, and may go on: [`Oidc::refresh_request`].
    Refresh(Refresh),
    /// The client has no session: [`Oidc::login`].
    Login,
    /// It gets 401 in place of a redirect.
    Unauthorized,
    /// The client comes back from the provider: [`Oidc::code_request`], unless it has a session already.
    Callback,
    /// The session ends: [`Oidc::logout`].
    Logout,
}

/// Redirect to a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcReply {
    /// `Location`.
    pub location: HeaderValue,
    /// A page that leads there, in place of a redirect. After a redirect that began at the provider's site a browser keeps `Strict` cookies
    /// back, and would be sent to log in again.
    pub page: Option<String>,
    /// Values of `Set-Cookie`.
    pub set_cookies: Vec<HeaderValue>,
}

/// Reason why a login or a session comes to nothing. Its text is for logs; it has no token, code or secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// A parameter that the provider has to send once is missing, or there twice.
    #[error("the callback has no {0}, or has it twice")]
    Parameter(&'static str),
    /// `state`.
    #[error("{0}")]
    State(#[from] StateError),
    /// The provider says that the login failed.
    #[error("the provider refuses the login: {0:?}")]
    Refused(String),
    /// Another issuer answers (RFC 9207).
    #[error("the callback is of another issuer (iss)")]
    Issuer,
    /// Answer of the token endpoint.
    #[error("{0}")]
    Tokens(#[from] TokenResponseError),
    /// ID token.
    #[error("{0}")]
    IdToken(#[from] IdTokenError),
    /// Nobody says how long the access token holds.
    #[error("the provider names no expires_in: set defaultTokenTTL")]
    NoExpiry,
    /// Cookies cannot hold the tokens.
    #[error(
        "the tokens are longer than browsers keep in cookies, or cannot stand in a cookie unencrypted: have the provider put less into them"
    )]
    TooLarge,
    /// A URL cannot stand in a header.
    #[error("the URL to go to cannot stand in a header")]
    Url,
}

impl OidcError {
    /// Whether a key has to be had that the provider's key set did not have when it was fetched.
    pub fn is_missing_key(&self) -> bool {
        matches!(self, Self::IdToken(IdTokenError::Token(JwtError::NoKey)))
    }
}

impl Oidc {
    /// Says what is to become of a request. `now` is in seconds since 1970.
    pub fn step(&self, request: &OidcRequest<'_>, now: i64) -> OidcStep {
        let OidcRequest { headers, uri, host, .. } = *request;
        if self.pass_through.iter().any(|source| source.find(headers, uri.query()).is_some()) {
            return OidcStep::PassThrough;
        }
        if uri.path() == &*self.logout_path {
            return OidcStep::Logout;
        }
        if uri.path() == &*self.callback_path {
            return OidcStep::Callback;
        }
        let cookies = Cookies::read(headers);
        if let Some(session) = self.session(&cookies, host, now) {
            return OidcStep::Session(session);
        }
        if let Some(refresh) = self.refresh(&cookies, host, now) {
            return OidcStep::Refresh(refresh);
        }
        if self.denies_redirect(request) { OidcStep::Unauthorized } else { OidcStep::Login }
    }

    /// Whether a request without a session gets 401 in place of a redirect.
    pub fn denies_redirect(&self, request: &OidcRequest<'_>) -> bool {
        self.deny_redirect.iter().any(|header| header.matches(request))
    }

    /// Changes a request of a session: backends get tokens where the policy says so, and never the client's own in their place.
    pub fn forward(&self, session: &Session, headers: &mut HeaderMap) {
        let put = |headers: &mut HeaderMap, name: HeaderName, value: String| {
            let value = HeaderValue::try_from(value).ok().map(|mut value| {
                value.set_sensitive(true);
                value
            });
            match value {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        };
        if self.forwards_access_token {
            put(headers, http::header::AUTHORIZATION, format!("Bearer {}", session.access_token.expose()));
        }
        if let Some(name) = &self.id_token_header {
            let token = session.id_token.as_ref().map(Token::expose).unwrap_or_default();
            let prefix = if *name == http::header::AUTHORIZATION { "Bearer " } else { "" };
            match token.is_empty() {
                true => drop(headers.remove(name)),
                false => put(headers, name.clone(), format!("{prefix}{token}")),
            }
        }
    }

    /// Removes the headers that backends get tokens in, of a request without a session.
    pub fn forward_none(&self, headers: &mut HeaderMap) {
        if let Some(name) = self.id_token_header.as_ref().filter(|name| **name != http::header::AUTHORIZATION) {
            headers.remove(name);
        }
    }

    /// Changes the cookies of a request of a session: a filter that follows finds the tokens decrypted.
    pub fn reveal_cookies(&self, session: &Session, headers: &mut HeaderMap) {
        self.remove_cookies(headers);
        let named = [
            (&self.cookie_names.access_token, Some(&session.access_token)),
            (&self.cookie_names.id_token, session.id_token.as_ref()),
        ];
        for (name, token) in named.into_iter().filter_map(|(name, token)| Some((name, token?))) {
            if let Ok(mut value) = HeaderValue::try_from(format!("{name}={}", token.expose())) {
                value.set_sensitive(true);
                headers.append(http::header::COOKIE, value);
            }
        }
    }
}

impl DenyRedirect {
    fn matches(&self, request: &OidcRequest<'_>) -> bool {
        match &self.header {
            DenyRedirectHeader::Field(name) => {
                request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| self.value.matches(value))
            }
            DenyRedirectHeader::Path => {
                self.value.matches(request.uri.path_and_query().map_or(request.uri.path(), PathAndQuery::as_str))
            }
            DenyRedirectHeader::Authority => self.value.matches(request.authority),
            DenyRedirectHeader::Scheme => self.value.matches(request.scheme),
            DenyRedirectHeader::Method => self.value.matches(request.method.as_str()),
        }
    }
}

impl DenyRedirectValue {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == &**text,
            Self::Prefix(text) => value.starts_with(&**text),
            Self::Suffix(text) => value.ends_with(&**text),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// A parameter of a query that is there once at most.
fn parameter<'q>(query: &'q str, name: &'static str) -> Result<Option<std::borrow::Cow<'q, [u8]>>, OidcError> {
    let mut values = query_values(query, name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(OidcError::Parameter(name)),
    }
}
