//! SecurityPolicy `oidc`.

use serde::Deserialize;

use super::backend_settings::BackendSettings;
use super::string_match::StringMatchType;
use crate::{
    duration::Duration,
    refs::{BackendRef, SecretObjectReference},
    unsupported::Unsupported,
};

/// Login at a provider of OpenID Connect.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Oidc {
    /// The provider.
    pub provider: OidcProvider,
    /// Client ID. Excludes `clientIDRef`.
    #[serde(default, rename = "clientID")]
    pub client_id: Option<String>,
    /// Secret with the client ID under `client-id`.
    #[serde(default, rename = "clientIDRef")]
    pub client_id_ref: Option<SecretObjectReference>,
    /// Secret with the client secret under `client-secret`.
    pub client_secret: SecretObjectReference,
    /// Scopes; `openid` is always one.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Resources (RFC 8707).
    #[serde(default)]
    pub resources: Vec<String>,
    /// URL that the provider sends clients back to; `%REQ(x-forwarded-proto)%://%REQ(:authority)%/oauth2/callback` by default.
    #[serde(default, rename = "redirectURL")]
    pub redirect_url: Option<String>,
    /// Path that ends a session; `/logout` by default.
    #[serde(default)]
    pub logout_path: Option<String>,
    /// Backends get the access token in `Authorization`. False by default.
    #[serde(default)]
    pub forward_access_token: Option<bool>,
    /// Backends get the ID token.
    #[serde(default, rename = "forwardIDToken")]
    pub forward_id_token: Option<ForwardIdToken>,
    /// Lifetime of access tokens that name none; 0 by default: they have to name one.
    #[serde(default, rename = "defaultTokenTTL")]
    pub default_token_ttl: Option<Duration>,
    /// Sessions go on by a refresh token. True by default.
    #[serde(default)]
    pub refresh_token: Option<bool>,
    /// Lifetime of refresh tokens that name none; a week by default.
    #[serde(default, rename = "defaultRefreshTokenTTL")]
    pub default_refresh_token_ttl: Option<Duration>,
    /// Time for a login; 10 minutes by default.
    #[serde(default, rename = "csrfTokenTTL")]
    pub csrf_token_ttl: Option<Duration>,
    /// Cookies hold access and ID token as they are. False by default.
    #[serde(default)]
    pub disable_token_encryption: Option<bool>,
    /// Names of cookies.
    #[serde(default)]
    pub cookie_names: Option<OidcCookieNames>,
    /// Attributes of cookies.
    #[serde(default)]
    pub cookie_config: Option<OidcCookieConfig>,
    /// Domain that cookies are for; the request's host by default.
    #[serde(default)]
    pub cookie_domain: Option<String>,
    /// Requests that get 401 in place of a redirect.
    #[serde(default)]
    pub deny_redirect: Option<OidcDenyRedirect>,
    /// Requests with a token for the policy's `jwt` in a header need no session. False by default.
    #[serde(default)]
    pub pass_through_auth_header: Option<bool>,
}

/// Provider of OpenID Connect.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcProvider {
    /// Issuer, a URL.
    pub issuer: String,
    /// Endpoint that browsers are sent to; discovered by default.
    #[serde(default)]
    pub authorization_endpoint: Option<String>,
    /// Endpoint that gives tokens; discovered by default.
    #[serde(default)]
    pub token_endpoint: Option<String>,
    /// Endpoint that ends the user's session at the provider; discovered by default.
    #[serde(default)]
    pub end_session_endpoint: Option<String>,
    /// Not supported by Envoy Gateway either: `backendRefs` takes its place.
    #[serde(default)]
    pub backend_ref: Option<Unsupported>,
    /// Servers that are asked; the URLs' hosts by default.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    /// Settings of connections to them.
    #[serde(default)]
    pub backend_settings: Option<BackendSettings>,
}

/// Header for the ID token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ForwardIdToken {
    /// Its name. In `Authorization` the token stands after `Bearer `.
    pub header: String,
}

/// Names of cookies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcCookieNames {
    /// Cookie with the access token.
    #[serde(default)]
    pub access_token: Option<String>,
    /// Cookie with the ID token.
    #[serde(default)]
    pub id_token: Option<String>,
}

/// Attributes of cookies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcCookieConfig {
    /// `SameSite`.
    #[serde(default)]
    pub same_site: Option<OidcSameSite>,
}

/// `SameSite` of cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum OidcSameSite {
    /// Sent with navigation from other sites.
    Lax,
    /// Sent from the site itself only.
    Strict,
    /// Sent from everywhere.
    None,
}

/// Requests that get 401 in place of a redirect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct OidcDenyRedirect {
    /// Headers, 1 to 16. One of them is enough.
    #[serde(default)]
    pub headers: Vec<OidcDenyRedirectHeader>,
}

/// Header of such requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OidcDenyRedirectHeader {
    /// Name.
    pub name: String,
    /// Comparison; `Exact` by default.
    #[serde(default, rename = "type")]
    pub kind: StringMatchType,
    /// Value.
    pub value: String,
}
