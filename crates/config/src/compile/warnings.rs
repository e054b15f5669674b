//! Conditions that name what is not acted on.

use crate::status::Condition;

use super::index::Index;

/// The type of the condition that names fields which are not acted on.
pub(crate) const PARTIALLY_SUPPORTED: &str = "PartiallySupported";

/// Names the fields of an object that are not acted on; `None` where there are none.
pub(crate) fn unsupported<'a>(paths: impl IntoIterator<Item = &'a str>, generation: i64) -> Option<Condition> {
    let paths: Vec<_> = paths.into_iter().map(|path| format!("spec.{path}")).collect();
    (!paths.is_empty()).then(|| {
        let message = format!("the rest is served, but not acted on: {}", paths.join(", "));
        Condition::holds(PARTIALLY_SUPPORTED, "UnsupportedFields", message, generation)
    })
}

/// What is to be said of parameters, which only Envoy can act on.
pub(crate) fn parameters(
    index: &Index<'_>,
    field: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    generation: i64,
) -> Option<Condition> {
    let known = kind == "EnvoyProxy" && index.proxies.get(namespace, name).is_some();
    let message = if known {
        format!("spec.{field}: EnvoyProxy {namespace}/{name} describes an Envoy deployment: it is not acted on")
    } else {
        format!(
            "spec.{field}: {kind} {name} is not a kind of parameters that is acted on, or does not exist in namespace {namespace}"
        )
    };
    Some(Condition::holds(PARTIALLY_SUPPORTED, "UnsupportedParameters", message, generation))
}
