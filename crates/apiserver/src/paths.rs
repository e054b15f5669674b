//! Paths of the API, and names within them.

use serde_json::Value;

/// The collection of CustomResourceDefinitions.
pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The collection, the object and the subresource that a path names.
pub(crate) fn locate(path: &str) -> (String, Option<String>, Option<String>) {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let base = if parts[0] == "api" { 2 } else { 3 };
    let (namespace, rest) = match &parts[base..] {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    if rest.is_empty() {
        return (format!("/{}", parts.join("/")), None, None);
    }
    let collection = format!("/{}/{}", parts[..base].join("/"), rest[0]);
    let named = rest.get(1).map(|name| namespace.map_or_else(|| (*name).to_owned(), |namespace| format!("{namespace}/{name}")));
    (collection, named, rest.get(2).map(|sub| (*sub).to_owned()))
}

/// Whether an object of a collection is among what a path lists.
pub(crate) fn is_of(path: &str, collection: &str, object: &Value) -> bool {
    let (listed, _, _) = locate(path);
    let namespace = path.split_once("/namespaces/").and_then(|(_, rest)| rest.split_once('/')).map(|(namespace, _)| namespace);
    listed == collection && namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
}

/// `namespace/name`, or the name alone.
pub(crate) fn name(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().expect("it has a name");
    object["metadata"]["namespace"].as_str().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}
