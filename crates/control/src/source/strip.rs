//! What is left of an object once everything that a gateway does not read is taken out.

use kube::core::ObjectMeta;
use pailou_config::resources::Kind;
use serde_json::{Map, Value, json};

use super::{live::has_status, raw::RawObject};

/// kubectl keeps the whole object in it once more: for a Secret, its values.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The type of a Secret that holds a certificate and its key.
const TLS_TYPE: &str = "kubernetes.io/tls";
/// What of such a Secret is read.
const TLS_KEYS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// Types of Secrets that no gateway refers to, as the API server's field selector leaves them out.
pub(crate) const SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
    type!=bootstrap.kubernetes.io/token,type!=kubernetes.io/dockerconfigjson,type!=kubernetes.io/dockercfg";

/// The object as JSON, without what is not read. `resourceVersion` is not in it: a change of nothing else is no change.
pub(crate) fn strip(kind: Kind, api_version: &str, object: RawObject) -> Value {
    let mut fields = object.data;
    match kind {
        Kind::Pod => pod(&mut fields),
        Kind::Secret => secret(&mut fields),
        Kind::Service | Kind::Namespace => drop(fields.remove("status")),
        _ if has_status(kind) => drop(fields.remove("status")),
        _ => {}
    }
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.name().into());
    fields.insert("metadata".to_owned(), metadata(object.metadata));
    Value::Object(fields)
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
        assert_eq!(strip(Kind::Secret, "v1", object(secret)), expected);
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
        assert_eq!(strip(Kind::Pod, "v1", object(pod)), expected);
    }

    #[test]
    fn the_status_of_what_configures_is_left_out() {
        let gateway = json!({ "metadata": { "name": "g" }, "spec": { "a": 1 }, "status": { "b": 2 } });
        let stripped = strip(Kind::Gateway, "gateway.networking.k8s.io/v1", object(gateway));
        assert_eq!((&stripped["spec"], stripped.get("status")), (&json!({ "a": 1 }), None));
    }
}
