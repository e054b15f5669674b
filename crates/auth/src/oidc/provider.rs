//! Providers: their endpoints, as configured or discovered. Source: OpenID Connect Discovery 1.0.

use http::Uri;
use serde::Deserialize;

/// Path of the discovery document below the issuer.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Longest URL of an endpoint, in bytes.
const MAX_URL: usize = 2048;

/// Settings of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProviderSettings {
    /// `iss` of its tokens.
    pub issuer: Box<str>,
    /// Endpoint that browsers are sent to; discovered if absent.
    pub authorization_endpoint: Option<Box<str>>,
    /// Endpoint that gives tokens; discovered if absent.
    pub token_endpoint: Option<Box<str>>,
    /// Endpoint that ends the user's session at the provider; discovered if absent.
    pub end_session_endpoint: Option<Box<str>>,
}

/// Endpoints of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Endpoint that browsers are sent to.
    pub authorization_endpoint: Box<str>,
    /// Endpoint that gives tokens.
    pub token_endpoint: Uri,
    /// Endpoint that ends the user's session at the provider.
    pub end_session_endpoint: Option<Box<str>>,
    /// URL of its keys.
    pub jwks_uri: Uri,
}

/// Reason why a discovery document is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// No JSON object, or a member of another type.
    #[error("the discovery document is no JSON object of the members of OpenID Connect Discovery 1.0")]
    Form,
    /// It is another issuer's (section 4.3).
    #[error(
        "the discovery document is of the issuer {0:?}, not of the one that provider.issuer names: they have to be the same to the letter"
    )]
    Issuer(String),
    /// An endpoint that is needed is missing or no URL.
    #[error("{0} is missing in the discovery document, or is no http(s) URL, or has a user name")]
    Endpoint(&'static str),
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    jwks_uri: Option<String>,
}

impl ProviderSettings {
    /// URL of the discovery document.
    pub fn discovery_url(&self) -> String {
        format!("{}{WELL_KNOWN}", self.issuer.trim_end_matches('/'))
    }

    /// Reads the discovery document. Settings take the place of what it says.
    ///
    /// # Errors
    /// The document is malformed, another issuer's, or lacks an endpoint.
    pub fn read_discovery(&self, document: &[u8]) -> Result<Provider, DiscoveryError> {
        let document: Document = serde_json::from_slice(document).map_err(|_| DiscoveryError::Form)?;
        if document.issuer != *self.issuer {
            return Err(DiscoveryError::Issuer(document.issuer.chars().take(256).collect()));
        }
        let url = |own: Option<&str>, found: Option<&str>, name| {
            let text = own.or(found).ok_or(DiscoveryError::Endpoint(name))?;
            endpoint(text).map(|uri| (text.into(), uri)).ok_or(DiscoveryError::Endpoint(name))
        };
        let (authorization_endpoint, _) =
            url(self.authorization_endpoint.as_deref(), document.authorization_endpoint.as_deref(), "authorization_endpoint")?;
        let token: (Box<str>, Uri) = url(self.token_endpoint.as_deref(), document.token_endpoint.as_deref(), "token_endpoint")?;
        let keys: (Box<str>, Uri) = url(None, document.jwks_uri.as_deref(), "jwks_uri")?;
        let end = self.end_session_endpoint.as_deref().or(document.end_session_endpoint.as_deref());
        Ok(Provider {
            authorization_endpoint,
            token_endpoint: token.1,
            // Logout does without.
            end_session_endpoint: end.filter(|url| endpoint(url).is_some()).map(Into::into),
            jwks_uri: keys.1,
        })
    }
}

/// Whether a URL has a user name or a password (`https://name:password@host`), which no request would bear.
pub fn has_credentials(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

/// A URL of an endpoint: `http` or `https`, a host, no credentials, no fragment.
pub fn endpoint(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok().filter(|_| url.len() <= MAX_URL && !url.contains('#') && !has_credentials(url))?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"issuer": "https://id.example/r", "authorization_endpoint": "https://id.example/auth?x=1",
        "token_endpoint": "https://id.example/token", "jwks_uri": "https://id.example/keys", "scopes_supported": ["openid"]}"#;

    fn settings() -> ProviderSettings {
        ProviderSettings {
            issuer: "https://id.example/r".into(),
            authorization_endpoint: None,
            token_endpoint: None,
            end_session_endpoint: None,
        }
    }

    #[test]
    fn endpoints_are_discovered_and_settings_go_before() {
        assert_eq!(settings().discovery_url(), "https://id.example/r/.well-known/openid-configuration");
        let found = settings().read_discovery(DOCUMENT.as_bytes()).unwrap();
        assert_eq!(&*found.authorization_endpoint, "https://id.example/auth?x=1");
        assert_eq!((found.token_endpoint.path(), found.jwks_uri.path(), found.end_session_endpoint), ("/token", "/keys", None));
        let own = ProviderSettings {
            token_endpoint: Some("http://inside/token".into()),
            end_session_endpoint: Some("https://id.example/end".into()),
            ..settings()
        };
        let found = own.read_discovery(DOCUMENT.as_bytes()).unwrap();
        assert_eq!(found.token_endpoint, "http://inside/token");
        assert_eq!(found.end_session_endpoint.as_deref(), Some("https://id.example/end"));
    }

    #[test]
    fn a_document_of_another_issuer_or_without_endpoints_is_refused() {
        let other = ProviderSettings { issuer: "https://id.example/r/".into(), ..settings() };
        assert_eq!(other.read_discovery(DOCUMENT.as_bytes()), Err(DiscoveryError::Issuer("https://id.example/r".into())));
        let without = DOCUMENT.replace("jwks_uri", "other");
        assert_eq!(settings().read_discovery(without.as_bytes()), Err(DiscoveryError::Endpoint("jwks_uri")));
        let no_url = DOCUMENT.replace("https://id.example/token", "javascript:alert(1)");
        assert_eq!(settings().read_discovery(no_url.as_bytes()), Err(DiscoveryError::Endpoint("token_endpoint")));
        let user = DOCUMENT.replace("https://id.example/keys", "https://user:pass@id.example/keys");
        assert_eq!(settings().read_discovery(user.as_bytes()), Err(DiscoveryError::Endpoint("jwks_uri")));
        assert!(has_credentials("https://a@b") && !has_credentials("https://b/@") && !has_credentials("https://b?a@b"));
        assert_eq!(settings().read_discovery(b"[]"), Err(DiscoveryError::Form));
    }
}
