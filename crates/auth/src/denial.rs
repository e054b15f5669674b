//! A request that may not pass.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode};

/// Longest `realm` of a challenge, in bytes: Envoy's.
const MAX_REALM: usize = 256;

/// The response to a request that may not pass. It names no credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// 401 or 403; 503 where keys cannot be had.
    pub status: StatusCode,
    /// Text for the client.
    pub message: Cow<'static, str>,
    /// `WWW-Authenticate`.
    pub challenge: Option<HeaderValue>,
}

impl Denial {
    /// 401 without a challenge.
    pub(crate) fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, message: message.into(), challenge: None }
    }

    /// 403.
    pub(crate) fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: StatusCode::FORBIDDEN, ..Self::unauthorized(message) }
    }

    /// The same with a challenge.
    pub(crate) fn with_challenge(self, challenge: String) -> Self {
        Self { challenge: HeaderValue::try_from(challenge).ok(), ..self }
    }
}

/// The realm of a challenge (RFC 9110, section 11.5): the URL that was asked for, cut where Envoy cuts it, as a quoted string.
pub(crate) fn realm(scheme: &str, host: &str, path: &str) -> String {
    let mut quoted = String::with_capacity(MAX_REALM + 2);
    quoted.push('"');
    let url = [scheme, "://", host, path];
    for char in url.iter().flat_map(|part| part.chars()).filter(|char| char.is_ascii() && !char.is_ascii_control()).take(MAX_REALM)
    {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_a_quoted_string_of_bounded_length() {
        assert_eq!(realm("https", "a.example", "/v1?x=\"y\\"), r#""https://a.example/v1?x=\"y\\""#);
        assert_eq!(realm("http", "a", &"/".repeat(1000)).len(), MAX_REALM + 2);
        assert_eq!(realm("http", "a", "/\r\nx: y"), "\"http://a/x: y\"");
    }
}
