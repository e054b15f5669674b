//! A number or a name, as in a Service's `targetPort`.

use serde::Deserialize;

/// A whole number or a string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(untagged, expecting = "a whole number or a string")]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A text.
    String(String),
}
