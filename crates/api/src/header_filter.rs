//! Changes to header fields.

use serde::Deserialize;

use super::names::{HeaderName, HeaderValue, InvalidString};

/// Changes header fields: `set` replaces, `add` appends, `remove` deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct HeaderFilter {
    /// Replaces the field, at most 16.
    #[serde(default)]
    pub set: Vec<HttpHeader>,
    /// Appends a value, at most 16.
    #[serde(default)]
    pub add: Vec<HttpHeader>,
    /// Deletes the field, at most 16 names.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawHttpHeader")]
pub struct HttpHeader {
    /// Compared without regard to case.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

#[derive(Deserialize)]
#[serde(rename = "HttpHeader")]
struct RawHttpHeader {
    name: HeaderName,
    value: String,
}

/// A value that cannot be one, by the name of its header: it may be a credential.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
struct InvalidHeader {
    name: HeaderName,
    error: InvalidString,
}

impl TryFrom<RawHttpHeader> for HttpHeader {
    type Error = InvalidHeader;

    fn try_from(raw: RawHttpHeader) -> Result<Self, InvalidHeader> {
        match HeaderValue::try_from(raw.value) {
            Ok(value) => Ok(Self { name: raw.name, value }),
            Err(error) => Err(InvalidHeader { name: raw.name, error }),
        }
    }
}
