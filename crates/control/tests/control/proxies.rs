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
    let proxies = Proxies::new(client(&api), "pailou".to_owned(), Vec::new(), running.controller.known());
    let both = vec![proxy("one", Some("10.0.0.7:15000")), proxy("starting", None)];
    assert_eq!(proxies.list(9).await.unwrap(), (both.clone(), 0));
    assert_eq!(proxies.list(1).await.unwrap(), (both[..1].to_vec(), 1));
    api.delete(GATEWAYS, "default/g");
    until("the Gateway has gone", || names(&running.controller, "Gateway").is_empty()).await;
    assert_eq!(proxies.list(9).await.unwrap(), (Vec::new(), 0));
    api.set_down(true);
    assert!(proxies.list(9).await.is_err());
    running.stop().await;
}
