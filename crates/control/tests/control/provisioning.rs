//! Data planes of Gateways, and conditions of those that the API server refuses.

use std::sync::Arc;

use http::Method;
use pailou_api::NamespaceName;
use pailou_apiserver::Api;
use pailou_control::{Controller, provision};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::cluster::{
    CLASSES, GATEWAYS, class, client, cluster, condition, define, gateway, options, published, quiet, until, writes,
};

const PROXIES: &str = "/apis/gateway.envoyproxy.io/v1alpha1/envoyproxies";
pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
pub(crate) const SERVICES: &str = "/api/v1/services";
const AUTOSCALERS: &str = "/apis/autoscaling/v2/horizontalpodautoscalers";
const BUDGETS: &str = "/apis/policy/v1/poddisruptionbudgets";

/// A controller with its provisioner.
pub(crate) struct Running {
    pub(crate) controller: Controller,
    provisioner: JoinSet<()>,
    _authorities: watch::Sender<Option<Arc<str>>>,
}

impl Running {
    pub(crate) fn start(api: &Api) -> Self {
        Self::with_admin_peers(api, None)
    }

    pub(crate) fn with_admin_peers(api: &Api, admin_peers: Option<Value>) -> Self {
        Self::in_namespaces(api, admin_peers, &[])
    }

    pub(crate) fn in_namespaces(api: &Api, admin_peers: Option<Value>, namespaces: &[&str]) -> Self {
        let mut options = options("a");
        options.settings.data_planes = None;
        let controller = Controller::start(client(api), options);
        let (authorities, known) = watch::channel(Some("-----BEGIN CERTIFICATE-----\n".into()));
        let options = provision::Options {
            image: "example.com/pailou".to_owned(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            feed_url: "https://pailou-controller.pailou.svc:15010".to_owned(),
            namespace: "pailou".to_owned(),
            namespaces: namespaces.iter().map(|name| NamespaceName::try_from(*name).expect("it is a name")).collect(),
            drain_seconds: 30,
            log: None,
            admin_peers: admin_peers.map(|peers| serde_json::from_value(peers).expect("these are peers")),
        };
        let provisioner = provision::start(client(api), options, &controller, known);
        Self { controller, provisioner, _authorities: authorities }
    }

    pub(crate) async fn stop(self) {
        drop(self.provisioner);
        self.controller.stop().await;
    }
}

/// Objects of the Gateway `g`, by its label.
pub(crate) fn made(api: &Api, collection: &str) -> Option<Value> {
    let label = "gateway.networking.k8s.io/gateway-name";
    let mut all = api.all(collection).into_iter().filter(|it| it["metadata"]["labels"][label] == "g");
    all.next()
}

fn parameters(kubernetes: Value) -> Value {
    json!({ "metadata": { "name": "p", "namespace": "default" }, "spec": { "provider": { "kubernetes": kubernetes } } })
}

/// A cluster whose Gateway has the parameters `p`.
fn with_parameters(kubernetes: Value) -> Api {
    let api = cluster();
    define(&api, "gateway.envoyproxy.io", "envoyproxies", "EnvoyProxy", &["v1alpha1"]);
    api.apply(PROXIES, parameters(kubernetes));
    let mut gateway = gateway("g", "pailou");
    gateway["spec"]["infrastructure"] =
        json!({ "parametersRef": { "group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "p" } });
    api.apply(GATEWAYS, gateway);
    api
}

#[tokio::test(start_paused = true)]
async fn what_parameters_ask_for_is_made_and_goes_when_they_ask_no_more() {
    let api = with_parameters(json!({ "envoyHpa": { "maxReplicas": 4 }, "envoyPDB": { "minAvailable": 1 } }));
    let running = Running::start(&api);
    until("an autoscaler is made", || made(&api, AUTOSCALERS).is_some()).await;
    until("a disruption budget is made", || made(&api, BUDGETS).is_some()).await;
    let deployment = made(&api, DEPLOYMENTS).unwrap();
    assert_eq!(made(&api, AUTOSCALERS).unwrap()["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    api.apply(PROXIES, parameters(json!({ "envoyDeployment": { "replicas": 3 }, "envoyService": { "type": "ClusterIP" } })));
    until("the autoscaler is gone", || made(&api, AUTOSCALERS).is_none()).await;
    until("the disruption budget is gone", || made(&api, BUDGETS).is_none()).await;
    until("the replicas are as asked", || made(&api, DEPLOYMENTS).unwrap()["spec"]["replicas"] == 3).await;
    until("so is the Service", || made(&api, SERVICES).unwrap()["spec"]["type"] == "ClusterIP").await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn parameters_that_go_leave_everything_as_it_is_and_the_gateway_is_not_accepted() {
    let api = with_parameters(json!({ "envoyDeployment": { "replicas": 3 }, "envoyPDB": { "minAvailable": 1 } }));
    let running = Running::start(&api);
    until("a disruption budget is made", || made(&api, BUDGETS).is_some()).await;
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    api.delete(PROXIES, "default/p");
    until("the Gateway is refused", || {
        condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "Accepted")["reason"] == "InvalidParameters"
    })
    .await;
    // The controller provisions a later Gateway: by then it has handled the other one too.
    api.apply(GATEWAYS, gateway("later", "pailou"));
    until("the later Gateway's Deployment is made", || api.all(DEPLOYMENTS).len() == 2).await;
    assert_eq!(made(&api, DEPLOYMENTS).unwrap()["spec"]["replicas"], 3);
    assert!(made(&api, BUDGETS).is_some());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_refuses_shows_in_the_gateways_status_and_in_an_event() {
    let api = cluster();
    let name = |api: &Api| made(api, SERVICES).map(|it| it["metadata"]["name"].as_str().unwrap().to_owned());
    let running = Running::start(&api);
    until("a Service is made", || name(&api).is_some()).await;
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    let path = format!("/deployments/{}", name(&api).unwrap());
    api.script(Method::PATCH, &path, &[403; 1_000]);
    // Its template changes with its labels.
    let mut changed = gateway("g", "pailou");
    changed["spec"]["infrastructure"] = json!({ "labels": { "team": "inference" } });
    api.apply(GATEWAYS, changed);
    let programmed = || condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "Programmed").clone();
    until("the Gateway says so", || programmed()["reason"] == "NoResources").await;
    let message = programmed()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Deployment default/g-") && message.contains("as the test has it"), "{message}");
    until("an event says so", || {
        api.requests(&Method::POST, "/events").iter().any(|request| request.body["reason"] == "NoResources")
    })
    .await;
    // Another Gateway does not wait for it.
    api.apply(GATEWAYS, gateway("later", "pailou"));
    until("another Gateway's Deployment is made", || api.all(DEPLOYMENTS).len() == 2).await;
    api.script(Method::PATCH, &path, &[]);
    until("it is made after all", || {
        made(&api, DEPLOYMENTS).unwrap()["spec"]["template"]["metadata"]["labels"]["team"] == "inference"
    })
    .await;
    until("the Gateway waits for its proxies", || programmed()["reason"] != "NoResources").await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_another_controller_takes_loses_its_data_plane() {
    let api = with_parameters(json!({ "envoyHpa": { "maxReplicas": 4 }, "envoyPDB": { "minAvailable": 1 } }));
    api.apply(CLASSES, class("other", "example.com/other"));
    let running = Running::start(&api);
    let all = [AUTOSCALERS, BUDGETS, DEPLOYMENTS, SERVICES];
    for collection in all {
        until("all is made", || made(&api, collection).is_some()).await;
    }
    api.apply(GATEWAYS, gateway("g", "other"));
    for collection in all {
        until("all is gone", || made(&api, collection).is_none()).await;
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_forgotten_when_the_gateway_is_again_what_it_was() {
    let api = cluster();
    let running = Running::start(&api);
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    let path = format!("/deployments/{}", made(&api, DEPLOYMENTS).unwrap()["metadata"]["name"].as_str().unwrap());
    api.script(Method::PATCH, &path, &[422; 1_000]);
    let mut changed = gateway("g", "pailou");
    changed["spec"]["infrastructure"] = json!({ "labels": { "team": "inference" } });
    api.apply(GATEWAYS, changed);
    let reason = || condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "Programmed")["reason"].clone();
    until("the Gateway says so", || reason() == "NoResources").await;
    api.apply(GATEWAYS, gateway("g", "pailou"));
    until("the Gateway waits for its proxies", || reason() == "Pending" || reason() == "AddressNotAssigned").await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_starts_again_says_nothing_else_of_a_gateway_that_works() {
    let api = cluster();
    let running = Running::start(&api);
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    let (mut deployment, mut service) = (made(&api, DEPLOYMENTS).unwrap(), made(&api, SERVICES).unwrap());
    deployment["status"] = json!({ "availableReplicas": 1 });
    service["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    api.apply(DEPLOYMENTS, deployment);
    api.apply(SERVICES, service);
    let programmed = || condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "Programmed")["status"].clone();
    until("the Gateway is programmed", || programmed() == "True").await;
    quiet(&api).await;
    running.stop().await;

    let written = writes(&api);
    let running = Running::start(&api);
    until("it leads", || running.controller.leadership().leads()).await;
    until("everything is compiled", || {
        published(&running.controller).is_some_and(|it| !it.cluster.settings.data_planes.as_ref().unwrap().is_empty())
    })
    .await;
    quiet(&api).await;
    let since: Vec<_> = api.requests(&Method::PUT, "/status").into_iter().skip(written).map(|request| request.body).collect();
    assert!(since.is_empty(), "{since:#?}");
    running.stop().await;
}

/// An API server refuses a Service without ports, and the old one would lead clients to the proxies' admin endpoint.
#[tokio::test(start_paused = true)]
async fn a_gateway_whose_listeners_are_all_at_the_admin_endpoints_port_loses_its_service_alone() {
    let api = cluster();
    let with_port = |port: u16| {
        let mut gateway = gateway("g", "pailou");
        gateway["spec"]["listeners"][0]["port"] = port.into();
        gateway
    };
    api.apply(GATEWAYS, with_port(80));
    let running = Running::start(&api);
    let ports = || made(&api, SERVICES).map(|it| it["spec"]["ports"][0]["port"].clone());
    until("a Service is made", || ports() == Some(json!(80))).await;
    let team = || made(&api, DEPLOYMENTS).map(|it| it["spec"]["template"]["metadata"]["labels"]["team"].clone());
    until("a Deployment is made", || team() == Some(Value::Null)).await;
    // The old Service of a controller that did not refuse such listeners.
    let mut service = made(&api, SERVICES).unwrap();
    service["spec"]["ports"] = json!([{ "name": "tcp-15000", "port": 15000 }]);
    let mut changed = with_port(15000);
    changed["spec"]["infrastructure"] = json!({ "labels": { "team": "inference" } });
    running.stop().await;
    api.apply(SERVICES, service);
    api.apply(GATEWAYS, changed);
    api.apply(GATEWAYS, {
        let mut later = with_port(15000);
        later["metadata"]["name"] = "later".into();
        later
    });
    let running = Running::start(&api);
    until("the Service is gone", || made(&api, SERVICES).is_none()).await;
    until("the Deployment is new", || team() == Some(json!("inference"))).await;
    quiet(&api).await;
    assert_eq!(api.all(DEPLOYMENTS).len(), 1, "no data plane begins without a port");
    assert!(made(&api, SERVICES).is_none());
    api.apply(GATEWAYS, with_port(80));
    until("a Service is made again", || ports() == Some(json!(80))).await;
    running.stop().await;
}
