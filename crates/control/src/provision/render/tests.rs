use std::{collections::BTreeSet, sync::Arc};

use pailou_api::{NamespaceName, envoy::envoy_proxy::EnvoyProxySpec, parse::parse};
use pailou_compile::{
    ADMIN_PORT, Settings, compile,
    store::{Entry, Store},
};
use pailou_snapshot::Name;
use serde_json::{Value, json};

use super::*;
use crate::{
    ClusterState, CompiledState,
    provision::plan::{Transport, plans},
};

fn options() -> Options {
    Options {
        image: "pailou.dev/pailou:v1".to_owned(),
        image_pull_policy: None,
        image_pull_secrets: Vec::new(),
        feed_url: "https://pailou-controller.pailou-system.svc:15010".to_owned(),
        namespace: "pailou-system".to_owned(),
        namespaces: Vec::new(),
        drain_seconds: 30,
        log: None,
        admin_peers: None,
    }
}

/// The data plane of the one Gateway among these objects, as it is planned in a cluster.
fn planned(yaml: &str) -> Plan {
    let parsed = parse(yaml.as_bytes(), "test", &NamespaceName::try_from("default").unwrap());
    assert_eq!(parsed.errors, []);
    let mut store = Store::new();
    for decoded in parsed.objects {
        assert_eq!(decoded.ignored, []);
        store.insert(Entry::new(decoded, "test".into())).unwrap();
    }
    let settings = Settings::cluster();
    let compiled = compile(&store, &settings);
    let (objects, held) = (Arc::default(), Arc::default());
    let cluster = ClusterState { store: Arc::new(store), objects, settings: Arc::new(settings), held };
    let published = CompiledState { cluster, compiled };
    let plans = plans(&published);
    assert_eq!(plans.len(), 1);
    plans.into_values().next().unwrap()
}

fn rendered(plan: &Plan, observed: Option<&observed::Deployment>) -> Vec<DynamicObject> {
    render(plan, &options(), "-----BEGIN CERTIFICATE-----\n", observed).into_iter().map(|it| it.object).collect()
}

#[test]
fn a_data_plane_is_rendered() {
    let text = |it: &str| it.to_owned();
    let plan = Plan {
        gateway: Name::new("models", "inference-gateway"),
        object_name: (text("models"), names::data_plane("inference-gateway")),
        uid: text("6ee2e0a7-0000-4000-8000-000000000001"),
        labels: BTreeMap::from([(text("team"), text("inference")), (text("app.kubernetes.io/managed-by"), text("somebody"))]),
        annotations: BTreeMap::from([(text("note"), text("kept"))]),
        ports: BTreeSet::from([(80, Transport::Tcp), (53, Transport::Udp), (443, Transport::Tcp)]),
        addresses: vec![text("192.0.2.1"), text("192.0.2.2")],
        is_within: false,
        controllers: vec![text("pailou.dev/gateway-controller")],
        parameters: EnvoyProxySpec::default(),
    };
    insta::assert_yaml_snapshot!(rendered(&plan, None));
}

#[test]
fn a_network_policy_admits_clients_to_listeners_and_named_peers_alone_to_the_admin_endpoint() {
    let plan = planned(include_str!("testdata/everything.yaml"));
    let policy = |peers: Value| {
        let options = Options { admin_peers: Some(serde_json::from_value(peers).unwrap()), ..options() };
        let all = render(&plan, &options, "-----BEGIN CERTIFICATE-----\n", None);
        let object = &all[0].object;
        assert_eq!(object.types.as_ref().unwrap().kind, "NetworkPolicy");
        object.data["spec"].clone()
    };
    let peers = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let spec = policy(peers.clone());
    assert_eq!(spec["podSelector"]["matchLabels"], json!({ DATA_PLANE_LABEL: plan.object_name.1 }));
    assert_eq!(spec["policyTypes"], json!(["Ingress"]));
    let listeners: Vec<_> = spec["ingress"][0]["ports"].as_array().unwrap().iter().map(|it| it["port"].clone()).collect();
    let planned: Vec<_> = plan.ports.iter().map(|(port, _)| json!(port)).collect();
    assert_eq!((&spec["ingress"][0]["from"], listeners), (&Value::Null, planned));
    assert_eq!(spec["ingress"][1], json!({"from": peers, "ports": [{"port": ADMIN_PORT, "protocol": "TCP"}]}));
    // No rule is better than one that admits everybody.
    assert_eq!(policy(json!([]))["ingress"].as_array().unwrap().len(), 1);
}

/// The Service would lead all clients there, and the rule for listeners admits them.
#[test]
fn a_listener_at_the_admin_endpoints_port_opens_it_to_nobody() {
    let yaml = include_str!("testdata/everything.yaml");
    let listeners = yaml.replace("port: 80}", "port: 80}, {name: admin, protocol: HTTP, port: 15000}");
    assert_ne!(yaml, listeners);
    let plan = planned(&listeners);
    assert!(!plan.ports.contains(&(ADMIN_PORT, Transport::Tcp)), "{:?}", plan.ports);
    let udp = Plan { ports: BTreeSet::from([(ADMIN_PORT, Transport::Udp), (ADMIN_PORT, Transport::Tcp)]), ..plan.clone() };
    let none = Plan { ports: BTreeSet::from([(ADMIN_PORT, Transport::Tcp)]), ..plan };
    let ingress = |plan: &Plan| -> Value {
        let options = Options { admin_peers: Some(Vec::new()), ..options() };
        render(plan, &options, "-----BEGIN CERTIFICATE-----\n", None)[0].object.data["spec"]["ingress"].clone()
    };
    assert_eq!(ingress(&udp), json!([{"ports": [{"port": ADMIN_PORT, "protocol": "UDP"}]}]));
    // No ports are all ports.
    assert_eq!(ingress(&none), json!([]));
}

#[test]
fn a_gateways_parameters_are_joined_with_its_classs() {
    insta::assert_yaml_snapshot!(rendered(&planned(include_str!("testdata/everything.yaml")), None));
}

#[test]
fn a_gateways_parameters_take_the_place_of_its_classs() {
    insta::assert_yaml_snapshot!(rendered(&planned(include_str!("testdata/replaced.yaml")), None));
}

/// A Gateway that requests only addresses of the Service network lets nobody outside in, whatever its parameters say.
#[test]
fn what_is_to_be_reached_from_within_alone_has_no_load_balancer() {
    let service = |addresses: &str| -> Value {
        let yaml = include_str!("testdata/everything.yaml")
            .replace("gatewayClassName: pailou\n", &format!("gatewayClassName: pailou\n  {addresses}\n"));
        let objects = rendered(&planned(&yaml), None);
        let service = objects.iter().find(|it| it.types.as_ref().is_some_and(|types| types.kind == "Service")).unwrap();
        json!([
            service.data["spec"]["type"],
            service.data["spec"].get("loadBalancerIP"),
            service.metadata.annotations.as_ref().and_then(|it| it.get("metallb.io/loadBalancerIPs"))
        ])
    };
    assert_eq!(
        service("addresses: [{routability: Cluster}, {routability: Cluster, value: 10.96.0.7}]"),
        json!(["ClusterIP", null, null])
    );
    let both = service("addresses: [{routability: Cluster, value: 10.96.0.7}, {value: 192.0.2.7}]");
    assert_eq!(both, json!(["LoadBalancer", "192.0.2.7", "192.0.2.7"]));
}

#[test]
fn an_autoscaler_has_the_number_of_replicas_once_it_has_said_one() {
    let plan = planned(include_str!("testdata/replaced.yaml"));
    let observed = |replicas: i32, manager: &str| -> observed::Deployment {
        let fields = json!({ "manager": manager, "fieldsV1": { "f:spec": { "f:replicas": {} } } });
        serde_json::from_value(json!({
            "metadata": { "resourceVersion": "7", "managedFields": [{ "manager": "pailou", "fieldsV1": { "f:spec": { "f:template": {} } } }, fields] },
            "spec": { "replicas": replicas, "selector": {}, "template": {} },
        }))
        .unwrap()
    };
    let replicas = |observed: Option<&observed::Deployment>| -> Value {
        let objects = rendered(&plan, observed);
        let deployment = objects.iter().find(|it| it.types.as_ref().is_some_and(|types| types.kind == "Deployment")).unwrap();
        json!([deployment.data["spec"].get("replicas"), deployment.metadata.resource_version])
    };
    assert_eq!(replicas(None), json!([1, null]), "the fewest, to begin with");
    assert_eq!(
        replicas(Some(&observed(3, "pailou"))),
        json!([3, "7"]),
        "what there is stays until the autoscaler speaks, and not after that"
    );
    assert_eq!(replicas(Some(&observed(3, "kube-controller-manager"))), json!([null, null]));
}
