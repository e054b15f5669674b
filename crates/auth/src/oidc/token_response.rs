//! Answers of the token endpoint. Sources: RFC 6749 section 5, OpenID Connect Core 1.0 sections 3.1.3.3 and 12.2.

use serde::Deserialize;
use serde_json::Value;

use super::session::Token;

/// Longest lifetime that counts, in seconds: a year.
const MAX_LIFETIME: u64 = 366 * 24 * 3600;

/// Tokens that a provider gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenResponse {
    /// Access token.
    pub access_token: Token,
    /// ID token, its signature not verified yet.
    pub id_token: Option<Token>,
    /// Refresh token.
    pub refresh_token: Option<Token>,
    /// Seconds for which the access token holds.
    pub expires_in: Option<u64>,
}

/// Reason why an answer gives no tokens. It quotes none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenResponseError {
    /// The provider refuses, with this code.
    #[error("the provider refuses with status {0} and the error {1:?}")]
    Refused(u16, String),
    /// No JSON object with an access token.
    #[error("the token endpoint's answer is no JSON object with an access token of type Bearer")]
    Form,
}

impl TokenResponseError {
    /// Whether the provider refuses the gateway as a client, which says nothing of the code or the refresh token.
    pub fn is_of_client(&self) -> bool {
        matches!(self, Self::Refused(401, _)) || matches!(self, Self::Refused(_, code) if code == "invalid_client")
    }
}

#[derive(Deserialize)]
struct Document {
    access_token: String,
    token_type: Option<String>,
    id_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<Value>,
}

#[derive(Default, Deserialize)]
struct ErrorDocument {
    #[serde(default)]
    error: String,
}

impl TokenResponse {
    /// Reads an answer.
    ///
    /// # Errors
    /// The provider refuses, or the answer has no access token.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, TokenResponseError> {
        if status != 200 {
            let document: ErrorDocument = serde_json::from_slice(body).unwrap_or_default();
            return Err(TokenResponseError::Refused(status, error_code(&document.error)));
        }
        let document: Document = serde_json::from_slice(body).map_err(|_| TokenResponseError::Form)?;
        let is_bearer = document.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        if !is_bearer || document.access_token.is_empty() {
            return Err(TokenResponseError::Form);
        }
        // Some providers write the number as a text.
        let seconds = document.expires_in.and_then(|value| match value {
            Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|seconds| seconds as u64)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        });
        let token = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Token::new);
        Ok(Self {
            access_token: Token::new(document.access_token),
            id_token: token(document.id_token),
            refresh_token: token(document.refresh_token),
            expires_in: seconds.map(|seconds| seconds.min(MAX_LIFETIME)),
        })
    }
}

/// An error's code, as far as it can stand in a log.
pub(super) fn error_code(text: &str) -> String {
    text.chars().filter(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.')).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_and_errors_named() {
        let read = |body: &str| TokenResponse::read(200, body.as_bytes());
        let found =
            read(r#"{"access_token":"a","token_type":"bearer","id_token":"i","refresh_token":"","expires_in":"300"}"#).unwrap();
        assert_eq!((found.access_token.expose(), found.refresh_token, found.expires_in), ("a", None, Some(300)));
        assert_eq!(read(r#"{"access_token":"a"}"#).unwrap().expires_in, None);
        assert_eq!(read(r#"{"access_token":"a","expires_in":1e30}"#).unwrap().expires_in, Some(MAX_LIFETIME));
        for body in ["", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a","token_type":"mac"}"#, r#"{"access_token":1}"#] {
            assert_eq!(read(body), Err(TokenResponseError::Form), "{body}");
        }
        let refused = TokenResponse::read(400, br#"{"error":"invalid_grant\r\n x","error_description":"secret"}"#);
        assert_eq!(refused, Err(TokenResponseError::Refused(400, "invalid_grantx".into())));
        assert!(!refused.unwrap_err().is_of_client());
        assert!(TokenResponse::read(400, br#"{"error":"invalid_client"}"#).unwrap_err().is_of_client());
        assert!(TokenResponse::read(401, b"").unwrap_err().is_of_client());
    }
}
