//! Envoy Gateway's way to compare texts.

use serde::Deserialize;

/// A condition on a text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StringMatch {
    /// `Exact` by default.
    #[serde(rename = "type", default)]
    pub kind: StringMatchType,
    /// 1 to 1024 characters.
    pub value: String,
}

/// How a text is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum StringMatchType {
    /// Equal.
    #[default]
    Exact,
    /// Begins with the value.
    Prefix,
    /// Ends with the value.
    Suffix,
    /// A regular expression over the whole text.
    RegularExpression,
}
