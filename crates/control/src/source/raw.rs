//! An object as the API server tells it.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, Time};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::dynamic::of_any_kind;

/// An object of any kind. Of its metadata there is what is read, and of `managedFields`, most of what many objects are, only who wrote
/// to what: watches tell an object whenever anybody has written anything to it. For the same reason the rest is text until somebody
/// reads it; and what nests too deep to be read is wrong with one object, and not with all that a watch tells.
#[derive(Clone, Debug)]
pub(crate) struct RawObject {
    pub(crate) metadata: ObjectMeta,
    /// Everything but that, `apiVersion` and `kind`.
    pub(crate) data: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    managed_fields: Vec<Manager>,
}

#[derive(Deserialize)]
struct Manager {
    manager: Option<String>,
    subresource: Option<String>,
}

impl From<Metadata> for ObjectMeta {
    fn from(raw: Metadata) -> Self {
        let entry = |it: Manager| ManagedFieldsEntry { manager: it.manager, subresource: it.subresource, ..Default::default() };
        Self {
            name: raw.name,
            namespace: raw.namespace,
            uid: raw.uid,
            resource_version: raw.resource_version,
            generation: raw.generation,
            creation_timestamp: raw.creation_timestamp,
            deletion_timestamp: raw.deletion_timestamp,
            labels: raw.labels,
            annotations: raw.annotations,
            managed_fields: (!raw.managed_fields.is_empty()).then(|| raw.managed_fields.into_iter().map(entry).collect()),
            ..Self::default()
        }
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

/// Reads the fields one by one: with `serde(flatten)` all of them would be kept twice.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = RawObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of Kubernetes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<RawObject, A::Error> {
        let mut object = RawObject { metadata: ObjectMeta::default(), data: BTreeMap::new() };
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            match &*name {
                "metadata" => object.metadata = fields.next_value::<Metadata>()?.into(),
                "apiVersion" | "kind" => drop(fields.next_value::<IgnoredAny>()?),
                _ => drop(object.data.insert(name.into_owned(), fields.next_value()?)),
            }
        }
        Ok(object)
    }
}

of_any_kind!([] RawObject);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_read_without_what_others_manage_of_its_fields() {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": { "a": "b" }, "annotations": { "c": "d" }, "finalizers": ["f"],
                "managedFields": [{ "manager": "m", "subresource": "status", "operation": "Update", "fieldsV1": { "f:status": {} } }],
            },
            "spec": { "x": [1, 2] }, "status": null,
        });
        let read: RawObject = serde_json::from_str(&object.to_string()).unwrap();
        let meta = &read.metadata;
        assert_eq!((meta.name.as_deref(), meta.namespace.as_deref(), meta.generation), (Some("p"), Some("n"), Some(3)));
        assert!(meta.creation_timestamp.is_some() && meta.labels.is_some() && meta.annotations.is_some());
        let manager = &meta.managed_fields.as_ref().unwrap()[0];
        assert_eq!(
            (manager.manager.as_deref(), manager.subresource.as_deref(), &manager.fields_v1),
            (Some("m"), Some("status"), &None)
        );
        let data: Vec<(&str, &str)> = read.data.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
        assert_eq!(data, [("spec", r#"{"x":[1,2]}"#), ("status", "null")]);
        assert!(serde_json::from_str::<RawObject>("[]").is_err());
    }
}
