//! Object metadata and identity.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

/// A Kubernetes object: metadata and a typed spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource<S> {
    /// Name, labels and the rest of `metadata`.
    pub meta: Meta,
    /// The typed `spec`, with every schema default filled in.
    pub spec: S,
}

/// The parts of `metadata` that a gateway looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.name`, a valid DNS subdomain.
    pub name: String,
    /// `metadata.namespace`; empty for cluster-scoped kinds.
    pub namespace: String,
    /// `metadata.uid`; empty when the object comes from a file.
    pub uid: String,
    /// `metadata.generation`; 0 when the object comes from a file.
    pub generation: i64,
    /// When the API server created the object. Objects from files have none and are ordered by name.
    pub creation_timestamp: Option<Timestamp>,
    /// Set while the object waits for its finalizers.
    pub deletion_timestamp: Option<Timestamp>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.resourceVersion`; empty when the object comes from a file.
    pub resource_version: String,
}

impl Meta {
    /// The value of one annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Gateway API's order between rivals: the oldest first, then by `namespace/name`. An object
    /// without a creation time comes after those that have one.
    pub fn age_order(&self) -> impl Ord + use<'_> {
        (self.creation_timestamp.is_none(), self.creation_timestamp, &self.namespace, &self.name)
    }
}

/// Identity of an object: API group, kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// Kind, such as `HTTPRoute`.
    pub kind: Cow<'static, str>,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(
        group: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> ObjectKey {
        ObjectKey { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_as_kind_and_path() {
        let route = ObjectKey::new("gateway.networking.k8s.io", "HTTPRoute", "default", "inference-route");
        assert_eq!(route.to_string(), "HTTPRoute default/inference-route");
        let class = ObjectKey::new("gateway.networking.k8s.io", "GatewayClass", "", "ack-gateway");
        assert_eq!(class.to_string(), "GatewayClass ack-gateway");
    }

    #[test]
    fn the_oldest_comes_first_and_undated_objects_last() {
        let meta = |name: &str, created: Option<&str>| Meta {
            name: name.into(),
            creation_timestamp: created.map(|time| time.parse().unwrap()),
            ..Meta::default()
        };
        let mut objects =
            [meta("b", None), meta("a", None), meta("z", Some("2025-01-01T00:00:00Z")), meta("y", Some("2026-01-01T00:00:00Z"))];
        objects.sort_by(|left, right| left.age_order().cmp(&right.age_order()));
        assert_eq!(objects.map(|meta| meta.name), ["z", "y", "a", "b"]);
    }
}
