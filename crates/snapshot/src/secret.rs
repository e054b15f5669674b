//! Values that must not be seen.

use std::fmt;

use http::HeaderValue;

/// A credential as it goes into a header. Its `Debug` form never shows it, and the header value is marked sensitive, so that
/// HTTP/2 never indexes it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(HeaderValue);

impl SecretValue {
    /// Takes the bytes as they are to be sent; `None` when they cannot stand in a header.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut value = HeaderValue::from_bytes(bytes).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    /// The header value to send.
    pub fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A text that may be a credential. Its `Debug` form never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct HiddenText(Box<str>);

impl HiddenText {
    /// Hides a text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for those whom it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
