//! Changes to a request's path.

use serde::Deserialize;

/// A change of the path, in a redirect or a rewrite.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawPathModifier")]
pub enum HttpPathModifier {
    /// The whole path becomes this.
    ReplaceFullPath(String),
    /// The matched prefix becomes this.
    ReplacePrefixMatch(String),
}

/// A path modifier whose `type` and fields do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a path modifier of type {kind} needs exactly the field {field}")]
pub struct InvalidPathModifier {
    kind: &'static str,
    field: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPathModifier {
    #[serde(rename = "type")]
    kind: PathModifierType,
    #[serde(default)]
    replace_full_path: Option<String>,
    #[serde(default)]
    replace_prefix_match: Option<String>,
}

#[derive(Deserialize)]
enum PathModifierType {
    ReplaceFullPath,
    ReplacePrefixMatch,
}

impl TryFrom<RawPathModifier> for HttpPathModifier {
    type Error = InvalidPathModifier;

    fn try_from(raw: RawPathModifier) -> Result<HttpPathModifier, InvalidPathModifier> {
        match (raw.kind, raw.replace_full_path, raw.replace_prefix_match) {
            (PathModifierType::ReplaceFullPath, Some(path), None) => Ok(HttpPathModifier::ReplaceFullPath(path)),
            (PathModifierType::ReplacePrefixMatch, None, Some(path)) => Ok(HttpPathModifier::ReplacePrefixMatch(path)),
            (PathModifierType::ReplaceFullPath, ..) => {
                Err(InvalidPathModifier { kind: "ReplaceFullPath", field: "replaceFullPath" })
            }
            (PathModifierType::ReplacePrefixMatch, ..) => {
                Err(InvalidPathModifier { kind: "ReplacePrefixMatch", field: "replacePrefixMatch" })
            }
        }
    }
}
