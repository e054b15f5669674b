//! An object of a data plane, as the API server sends it.
//!
//! The API server sends a Deployment a dozen times while it comes up, most of it managed fields: fields that the controller
//! does not read stay text. The controller also compares objects as text, since a cluster may know fields that it does not.

use k8s_openapi::{
    api::core::v1::{NodeAddress, ServiceSpec, ServiceStatus},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IgnoredAny},
};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use crate::{FIELD_MANAGER, dynamic::of_any_kind};

/// An object of which a spec of `S` and a status of `T` are read.
#[derive(Clone, Debug)]
pub(crate) struct Observed<S = IgnoredAny, T = IgnoredAny> {
    /// Its namespace, name, version and owners alone.
    pub(crate) metadata: ObjectMeta,
    /// Digest of what an owner sets: labels, annotations, owners, and `spec`.
    pub(crate) digest: u64,
    /// Whether `spec.replicas` is as this controller has said.
    pub(crate) owns_replicas: bool,
    pub(crate) spec: Option<S>,
    pub(crate) status: Option<T>,
}

/// A Service.
pub(crate) type Service = Observed<ServiceSpec, ServiceStatus>;
/// A Deployment.
pub(crate) type Deployment = Observed<DeploymentSpec, DeploymentStatus>;
/// A Node. Nobody makes one here, but it is followed in the same way.
pub(crate) type Node = Observed<IgnoredAny, NodeStatus>;

/// The part of a Deployment's spec that the controller reads.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DeploymentSpec {
    pub(crate) replicas: Option<i32>,
}

/// The part of a Deployment's status that the controller reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeploymentStatus {
    pub(crate) available_replicas: Option<i32>,
}

/// The part of a Node's status that the controller reads.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeStatus {
    #[serde(default)]
    pub(crate) addresses: Vec<NodeAddress>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct RawParts<T> {
    metadata: Metadata,
    spec: Option<Box<RawValue>>,
    status: Option<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    labels: Option<Box<RawValue>>,
    annotations: Option<Box<RawValue>>,
    owner_references: Option<Box<RawValue>>,
    #[serde(default)]
    managed_fields: Vec<Manager>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manager {
    manager: Option<String>,
    fields_v1: Option<Fields>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "f:spec")]
    spec: Option<SpecFields>,
}

#[derive(Deserialize)]
struct SpecFields {
    #[serde(rename = "f:replicas")]
    replicas: Option<IgnoredAny>,
}

impl Manager {
    fn owns_replicas(&self) -> bool {
        let spec = self.fields_v1.as_ref().and_then(|fields| fields.spec.as_ref());
        self.manager.as_deref() == Some(FIELD_MANAGER) && spec.is_some_and(|spec| spec.replicas.is_some())
    }
}

impl<'de, S: DeserializeOwned, T: DeserializeOwned> Deserialize<'de> for Observed<S, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawParts { metadata: raw, spec, status } = RawParts::deserialize(deserializer)?;
        let mut digest = Xxh3::new();
        for part in [&raw.labels, &raw.annotations, &raw.owner_references, &spec] {
            digest.update(part.as_ref().map_or("null", |text| text.get()).as_bytes());
            digest.update(b"\n");
        }
        let owners: Option<Vec<OwnerReference>> = read(raw.owner_references.as_deref()).map_err(D::Error::custom)?;
        Ok(Self {
            owns_replicas: raw.managed_fields.iter().any(Manager::owns_replicas),
            metadata: ObjectMeta {
                name: raw.name,
                namespace: raw.namespace,
                resource_version: raw.resource_version,
                owner_references: owners,
                ..ObjectMeta::default()
            },
            digest: digest.digest(),
            spec: read(spec.as_deref()).map_err(D::Error::custom)?,
            status,
        })
    }
}

fn read<T: DeserializeOwned>(text: Option<&RawValue>) -> Result<Option<T>, serde_json::Error> {
    text.map(|text| serde_json::from_str(text.get())).transpose()
}

of_any_kind!([S, T] Observed<S, T>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_is_of_what_an_owner_sets_and_of_nothing_else() {
        let raw = |version: &str, labels: &str, spec: &str, status: &str| -> Deployment {
            let text = format!(
                r#"{{"metadata":{{"name":"d","resourceVersion":"{version}","labels":{labels}}},"spec":{spec},"status":{status}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let first = raw("1", r#"{"a":"b"}"#, r#"{"replicas":2,"newer":{}}"#, "{}");
        let up = raw("2", r#"{"a":"b"}"#, r#"{"replicas":2,"newer":{}}"#, r#"{"availableReplicas":2}"#);
        assert_eq!(first.digest, up.digest);
        assert_eq!((first.spec.unwrap().replicas, first.status.unwrap().available_replicas), (Some(2), None));
        assert_eq!(up.status.unwrap().available_replicas, Some(2));
        for (labels, spec) in [("{}", r#"{"replicas":2,"newer":{}}"#), (r#"{"a":"b"}"#, r#"{"replicas":2,"newer":{"x":1}}"#)] {
            assert_ne!(raw("3", labels, spec, "{}").digest, first.digest);
        }
    }

    #[test]
    fn what_a_watch_tells_is_what_an_answer_told() {
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "s", "namespace": "n", "ownerReferences": [{ "apiVersion": "v1", "kind": "Gateway", "name": "g", "uid": "u" }] },
            "spec": { "type": "ClusterIP", "clusterIPs": ["10.0.0.1"] }, "status": { "loadBalancer": {} },
        })
        .to_string();
        let (watched, answered): (Service, Observed) =
            (serde_json::from_str(&object).unwrap(), serde_json::from_str(&object).unwrap());
        assert_eq!(watched.digest, answered.digest);
        assert_eq!(watched.metadata.owner_references.unwrap()[0].name, "g");
    }
}
