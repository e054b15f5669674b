//! The process, as its spans name it.

use std::collections::BTreeMap;

use pailou_telemetry::export::Resource;

use super::{Reader, pairs};

/// Attributes that are kept.
const MAX_ATTRIBUTES: usize = 64;
/// Variables that a Deployment fills in from the pod, and their attributes.
const OF_POD: [(&str, &str); 3] =
    [("POD_NAME", "k8s.pod.name"), ("POD_NAMESPACE", "k8s.namespace.name"), ("NODE_NAME", "k8s.node.name")];

/// The resource: what the environment says, over what the gateway knows.
pub(super) fn read(variables: &Reader<'_>) -> Resource {
    let named = variables.text("OTEL_RESOURCE_ATTRIBUTES");
    let named = named.as_deref().map_or_else(Default::default, |list| {
        pairs(list).unwrap_or_else(|| {
            tracing::warn!("OTEL_RESOURCE_ATTRIBUTES: expected name=value pairs with commas between them; they are passed over");
            Default::default()
        })
    });
    let mut attributes: BTreeMap<String, String> = named.into_iter().collect();
    if let Some(name) = variables.text("OTEL_SERVICE_NAME") {
        attributes.insert("service.name".to_owned(), name);
    }
    for (variable, attribute) in OF_POD {
        if let Some(value) = variables.text(variable) {
            attributes.entry(attribute.to_owned()).or_insert(value);
        }
    }
    let own = [
        ("service.name", "pailou"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.name", "pailou"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    for (name, value) in own {
        attributes.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    let kept = attributes.iter().take(MAX_ATTRIBUTES).map(|(name, value)| (name.as_str(), value.as_str()));
    Resource::new(kept, "pailou", env!("CARGO_PKG_VERSION"))
}
