//! Changes to header fields.

use serde::Deserialize;

use super::names::{HeaderName, HeaderValue};

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
pub struct HttpHeader {
    /// Compared without regard to case.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}
