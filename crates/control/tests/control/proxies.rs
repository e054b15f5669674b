//! Pods of data planes: the admin endpoints that the controller reads.

use pailou_control::proxies::{Proxies, ProxyPod};
use pailou_snapshot::Name;
use serde_json::{Value, json};

use crate::{
    cluster::{GATEWAYS, PODS, client, cluster, names, until},
    provisioning::{Running, made},
};

/// A pod as the Deployment's template has it.
fn pod(template: &Value, name: &str, status: Value) -> Value {
    let mut pod = template.clone();
    let plane = template["metadata"]["labels"]["pailou.dev/data-plane"].as_str().expect("a label");
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{plane}-7c9d8f"), "uid": name, "controller": true,
    }]);
    (pod["apiVersion"], pod["kind"], pod["status"]) = ("v1".into(), "Pod".into(), status);
    (pod["metadata"]["name"], pod["metadata"]["namespace"]) = (name.into(), "default".into());
    pod
}

fn proxy(name: &str, admin: Option<&str>) -> ProxyPod {
    let admin = admin.map(|admin| admin.parse().expect("an address"));
    ProxyPod { gateway: Name::new("default", "g"), name: Name::new("default", name), admin }
}

#[tokio::test]
async fn pods_are_those_of_gateways_that_the_controller_provisions() {
    let api = cluster();
    let running = Running::start(&api);
    until("there is a Deployment", || made(&api, "/apis/apps/v1/deployments").is_some()).await;
    let template = made(&api, "/apis/apps/v1/deployments").unwrap()["spec"]["template"].clone();
    api.apply(PODS, pod(&template, "one", json!({ "phase": "Running", "podIP": "10.0.0.7" })));
    api.apply(PODS, pod(&template, "starting", json!({ "phase": "Pending" })));
    api.apply(PODS, pod(&template, "done", json!({ "phase": "Failed", "podIP": "10.0.0.8" })));
    for (label, value) in [("pailou.dev/data-plane", "other-0123456789"), ("pailou.dev/controller", "another")] {
        let mut stranger = template.clone();
        stranger["metadata"]["labels"][label] = value.into();
        api.apply(PODS, pod(&stranger, value, json!({ "phase": "Running", "podIP": "10.0.0.9" })));
    }
    let running_at = |address: &str| json!({ "phase": "Running", "podIP": address });
    let mut relabelled = pod(&template, "relabelled", running_at("10.0.0.10"));
    relabelled["metadata"]["ownerReferences"][0]["name"] = "someone-elses-7c9d8f".into();
    let mut bare = pod(&template, "bare", running_at("10.0.0.11"));
    bare["metadata"]["ownerReferences"] = json!([]);
    let mut on_host = pod(&template, "on-host", running_at("10.0.0.12"));
    on_host["spec"]["hostNetwork"] = true.into();
    let mut elsewhere = pod(&template, "two", running_at("10.0.0.13"));
    elsewhere["spec"]["containers"][0]["ports"] = json!([{ "name": "admin", "containerPort": 9999 }]);
    for stranger in [relabelled, bare, on_host, elsewhere] {
        api.apply(PODS, stranger);
    }
    let proxies = Proxies::new(client(&api), "pailou".to_owned(), Vec::new(), running.controller.known());
    // The port that the controller gives proxies, not one that a pod calls `admin`.
    let all = vec![proxy("one", Some("10.0.0.7:15000")), proxy("starting", None), proxy("two", Some("10.0.0.13:15000"))];
    assert_eq!(proxies.list(9).await.unwrap(), (all.clone(), 0));
    assert_eq!(proxies.list(1).await.unwrap(), (all[..1].to_vec(), 2));
    api.delete(GATEWAYS, "default/g");
    until("the Gateway has gone", || names(&running.controller, "Gateway").is_empty()).await;
    assert_eq!(proxies.list(9).await.unwrap(), (Vec::new(), 0));
    api.set_down(true);
    assert!(proxies.list(9).await.is_err());
    running.stop().await;
}
