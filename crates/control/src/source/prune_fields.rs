//! Removal of all fields that a gateway does not read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ObjectMeta;
use pailou_api::{Kind, Meta};
use serde_json::{Map, Value, json};

use super::raw::RawObject;

/// kubectl keeps the whole object in it once more: for a Secret, its values.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The type of a Secret that holds a certificate and its key.
const TLS_TYPE: &str = "kubernetes.io/tls";
/// The keys of such a Secret that a gateway reads.
const TLS_KEYS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// Types of Secrets that no gateway refers to, as the API server's field selector leaves them out.
pub(crate) const SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
    type!=bootstrap.kubernetes.io/token,type!=kubernetes.io/dockerconfigjson,type!=kubernetes.io/dockercfg";

/// A field that JSON's reader refuses, and why.
pub(crate) type Unparsed = (String, serde_json::Error);

/// The object as JSON, with the fields that a gateway reads. It lacks `resourceVersion`, so that a change of nothing else is no
/// change. It also lacks fields that nest too deep; the second result names them.
pub(crate) fn prune_fields(kind: Kind, api_version: &str, object: RawObject) -> (Value, Vec<Unparsed>) {
    // The contents of some hold a credential, and nothing is read of them.
    let is_foreign = matches!(kind, Kind::InferenceTrafficPolicy | Kind::AckTrafficFilter);
    let has_status = kind.has_status() || matches!(kind, Kind::Service | Kind::Namespace);
    let is_read = |field: &str| !is_foreign && (field != "status" || !has_status);
    let (mut fields, mut unparsed) = (Map::new(), Vec::new());
    for (name, text) in object.data.into_iter().filter(|(name, _)| is_read(name)) {
        match serde_json::from_str(text.get()) {
            Ok(value) => drop(fields.insert(name, value)),
            Err(error) => unparsed.push((name, error)),
        }
    }
    match kind {
        Kind::Pod => pod(&mut fields),
        Kind::Secret => secret(&mut fields),
        _ => {}
    }
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.name().into());
    fields.insert("metadata".to_owned(), metadata(object.metadata));
    (Value::Object(fields), unparsed)
}

fn metadata(meta: ObjectMeta) -> Value {
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    let kept = ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        generation: meta.generation,
        creation_timestamp: meta.creation_timestamp,
        deletion_timestamp: meta.deletion_timestamp,
        labels: meta.labels,
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..ObjectMeta::default()
    };
    serde_json::to_value(kept).unwrap_or_default()
}

/// Whether an object that has a generation is the same as one that was read, but for its status.
pub(crate) fn is_unchanged(read: &Meta, raw: &ObjectMeta) -> bool {
    let none = BTreeMap::new();
    let time = |it: &Option<Time>| it.as_ref().map(|time| time.0);
    let annotations = raw.annotations.iter().flatten().filter(|(name, _)| *name != LAST_APPLIED);
    raw.generation.is_some_and(|generation| generation > 0 && generation == read.generation)
        && raw.uid.as_ref() == Some(&read.uid)
        && time(&raw.creation_timestamp) == read.creation_timestamp
        && time(&raw.deletion_timestamp) == read.deletion_timestamp
        && raw.labels.as_ref().unwrap_or(&none) == &read.labels
        && annotations.eq(&read.annotations)
}

fn pod(fields: &mut Map<String, Value>) {
    let pointer = |fields: &Map<String, Value>, root: &str, path: &str| fields.get(root).and_then(|it| it.pointer(path)).cloned();
    let containers: Vec<Value> = fields
        .get("spec")
        .and_then(|spec| spec.get("containers")?.as_array())
        .into_iter()
        .flatten()
        .map(|container| json!({ "name": container["name"], "ports": container["ports"] }))
        .collect();
    let ready: Vec<Value> = fields
        .get("status")
        .and_then(|status| status.get("conditions")?.as_array())
        .into_iter()
        .flatten()
        .filter(|condition| condition["type"] == "Ready")
        .map(|condition| json!({ "type": "Ready", "status": condition["status"] }))
        .collect();
    let spec = json!({ "nodeName": pointer(fields, "spec", "/nodeName"), "containers": containers });
    let status = json!({
        "phase": pointer(fields, "status", "/phase"),
        "podIP": pointer(fields, "status", "/podIP"),
        "podIPs": pointer(fields, "status", "/podIPs"),
        "conditions": ready,
    });
    fields.clear();
    fields.insert("spec".to_owned(), spec);
    fields.insert("status".to_owned(), status);
}

fn secret(fields: &mut Map<String, Value>) {
    if fields.get("type").is_some_and(|kind| kind == TLS_TYPE)
        && let Some(Value::Object(data)) = fields.get_mut("data")
    {
        data.retain(|key, _| TLS_KEYS.contains(&key.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> RawObject {
        serde_json::from_value(value).unwrap()
    }

    fn pruned(kind: Kind, api_version: &str, value: Value) -> Value {
        let (value, unparsed) = prune_fields(kind, api_version, object(value));
        assert!(unparsed.is_empty());
        value
    }

    #[test]
    fn a_secret_keeps_no_copy_of_itself_and_of_a_certificate_only_what_is_read() {
        let secret = json!({
            "metadata": {
                "name": "s", "namespace": "n", "resourceVersion": "7",
                "annotations": { LAST_APPLIED: "{\"data\":{\"tls.key\":\"a2V5\"}}", "keep": "this" },
                "managedFields": [{ "manager": "kubectl" }],
            },
            "type": TLS_TYPE,
            "data": { "tls.crt": "Yw==", "tls.key": "a2V5", "keystore.jks": "Yg==" },
        });
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "s", "namespace": "n", "annotations": { "keep": "this" } },
            "type": TLS_TYPE,
            "data": { "tls.crt": "Yw==", "tls.key": "a2V5" },
        });
        assert_eq!(pruned(Kind::Secret, "v1", secret), expected);
    }

    #[test]
    fn a_pod_keeps_where_it_is_and_whether_it_is_ready() {
        let pod = json!({
            "metadata": { "name": "p", "namespace": "n", "labels": { "app": "a" }, "ownerReferences": [] },
            "spec": {
                "nodeName": "one", "serviceAccountName": "x",
                "containers": [{ "name": "c", "image": "i", "env": [{ "name": "KEY", "value": "v" }], "ports": [{ "containerPort": 80 }] }],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }], "hostIP": "1.2.3.4",
                "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "True", "message": "m" }],
            },
        });
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "namespace": "n", "labels": { "app": "a" } },
            "spec": { "nodeName": "one", "containers": [{ "name": "c", "ports": [{ "containerPort": 80 }] }] },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }],
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        assert_eq!(pruned(Kind::Pod, "v1", pod), expected);
    }

    #[test]
    fn the_status_of_what_configures_is_left_out() {
        let gateway = json!({ "metadata": { "name": "g" }, "spec": { "a": 1 }, "status": { "b": 2 } });
        let pruned = pruned(Kind::Gateway, "gateway.networking.k8s.io/v1", gateway);
        assert_eq!((&pruned["spec"], pruned.get("status")), (&json!({ "a": 1 }), None));
    }

    #[test]
    fn what_nests_too_deep_is_left_out_and_named() {
        let deep = format!(r#"{{"metadata":{{"name":"p"}},"spec":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        let (value, unparsed) = prune_fields(Kind::EnvoyPatchPolicy, "v1", serde_json::from_str(&deep).unwrap());
        assert_eq!(value.get("spec"), None);
        assert_eq!(unparsed.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(), ["spec"]);
    }

    #[test]
    fn an_object_is_unchanged_when_at_most_its_status_and_what_is_not_read_has_changed() {
        let meta = |more: Value| {
            let mut meta = json!({
                "name": "g", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 2,
                "creationTimestamp": "2026-01-02T03:04:05Z", "labels": { "a": "b" }, "annotations": { "c": "d" },
            });
            meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            object(json!({ "metadata": meta })).metadata
        };
        let read = Meta {
            uid: "u".to_owned(),
            generation: 2,
            creation_timestamp: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            annotations: BTreeMap::from([("c".to_owned(), "d".to_owned())]),
            ..Meta::default()
        };
        let same = [
            json!({}),
            json!({ "resourceVersion": "2" }),
            json!({ "annotations": { "c": "d", LAST_APPLIED: "{}" } }),
            json!({ "managedFields": [{ "manager": "m", "subresource": "status" }] }),
        ];
        for more in same {
            assert!(is_unchanged(&read, &meta(more.clone())), "{more}");
        }
        let other = [
            json!({ "generation": 3 }),
            json!({ "uid": "v" }),
            json!({ "labels": {} }),
            json!({ "labels": { "a": "c" } }),
            json!({ "annotations": {} }),
            json!({ "annotations": { "c": "d", "e": "f" } }),
            json!({ "creationTimestamp": "2026-01-02T03:04:06Z" }),
            json!({ "deletionTimestamp": "2026-01-02T03:04:06Z" }),
        ];
        for more in other {
            assert!(!is_unchanged(&read, &meta(more.clone())), "{more}");
        }
        let ungenerated = Meta { generation: 0, ..read };
        assert!(!is_unchanged(&ungenerated, &meta(json!({ "generation": null }))));
    }
}
