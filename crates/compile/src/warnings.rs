//! Conditions that name what is not acted on.

use crate::status::Condition;

/// The type of the condition that names fields which are not acted on.
pub(crate) const PARTIALLY_SUPPORTED: &str = "PartiallySupported";

/// The type of Envoy Gateway's condition that names deprecated fields.
const WARNING: &str = "Warning";

/// Names the fields of an object that are not acted on; `None` where there are none.
pub(crate) fn unsupported<'a>(paths: impl IntoIterator<Item = &'a str>, generation: i64) -> Option<Condition> {
    let paths: Vec<_> = paths.into_iter().map(|path| format!("spec.{path}")).collect();
    (!paths.is_empty()).then(|| {
        let message = format!("the rest is served, but not acted on: {}", paths.join(", "));
        Condition::holds(PARTIALLY_SUPPORTED, "UnsupportedFields", message, generation)
    })
}

/// Names deprecated fields and those to use in their place; `None` where there are none.
pub(crate) fn deprecated(fields: Vec<(&'static str, &'static str)>, generation: i64) -> Option<Condition> {
    let fields: Vec<_> = fields.into_iter().map(|(old, new)| format!("spec.{old} is deprecated: use spec.{new}")).collect();
    (!fields.is_empty()).then(|| Condition::holds(WARNING, "DeprecatedField", fields.join("; "), generation))
}

/// Two of these conditions as one: an object has at most one condition of a type.
pub(crate) fn joined(first: Option<Condition>, second: Option<Condition>) -> Option<Condition> {
    match (first, second) {
        (Some(first), Some(second)) => Some(Condition { message: format!("{}; {}", first.message, second.message), ..first }),
        (first, second) => first.or(second),
    }
}
