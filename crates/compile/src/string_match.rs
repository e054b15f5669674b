//! Conditions on texts, as Envoy Gateway writes them.

use pailou_api::envoy::string_match::{StringMatch, StringMatchType};
use pailou_snapshot::ValueMatch;

use super::regexes;

/// Reads a condition.
///
/// # Errors
/// Says why the regular expression cannot be used.
pub(crate) fn string_match(spec: &StringMatch) -> Result<ValueMatch, String> {
    value_match(spec.kind, &spec.value)
}

/// Reads a condition of this type.
///
/// # Errors
/// Says why the regular expression cannot be used.
pub(crate) fn value_match(kind: StringMatchType, value: &str) -> Result<ValueMatch, String> {
    Ok(match kind {
        StringMatchType::Exact => ValueMatch::Exact(value.into()),
        StringMatchType::Prefix => ValueMatch::Prefix(value.into()),
        StringMatchType::Suffix => ValueMatch::Suffix(value.into()),
        StringMatchType::RegularExpression => {
            ValueMatch::Regex(regexes::anchored("value", value).map_err(|problem| problem.message)?)
        }
    })
}
