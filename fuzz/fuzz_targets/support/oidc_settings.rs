//! Settings of logins, for the targets that read their cookies.

use std::time::Duration;

use pailou_auth::{ClientSecret, CookieAttributes, CookieNames, Oidc, OidcKeys, ProviderSettings};

/// Issuer of the provider.
pub const ISSUER: &str = "https://id.example";

/// Settings of a policy at a provider that is never asked.
pub fn oidc(encrypts_tokens: bool, uses_refresh_token: bool) -> Oidc {
    let provider =
        ProviderSettings { issuer: ISSUER.into(), authorization_endpoint: None, token_endpoint: None, end_session_endpoint: None };
    Oidc {
        provider,
        client_id: "c".into(),
        client_secret: ClientSecret::new(b"s"),
        scopes: Vec::new(),
        resources: Vec::new(),
        callback_path: "/oauth2/callback".into(),
        logout_path: "/logout".into(),
        forwards_access_token: false,
        id_token_header: None,
        default_token_ttl: Duration::ZERO,
        uses_refresh_token,
        default_refresh_token_ttl: Duration::from_secs(1),
        csrf_token_ttl: Duration::from_secs(600),
        encrypts_tokens,
        cookie_names: CookieNames::new("p", Some("A"), Some("I")),
        cookies: CookieAttributes::default(),
        deny_redirect: Vec::new(),
        pass_through: Vec::new(),
        keys: OidcKeys::derive(&[7; 32], &[]).expect("32 bytes"),
    }
}
