//! Conditions of objects that do not decode: towards which controllers, and for how long.

use pailou_api::{NamespaceName, parse::parse};
use pailou_compile::{
    Compiled, Compiler, Mode, Settings,
    store::{Entry, Store},
};
use serde_json::{Value, json};

const GOOD: &str = include_str!("../testdata/undecodable.yaml");

/// Reads the objects as a source does: what cannot be decoded stands beside what it was.
fn read(store: &mut Store, yaml: &str) {
    let parsed = parse(yaml.as_bytes(), "f.yaml", &NamespaceName::try_from("default").unwrap());
    for decoded in parsed.objects {
        store.upsert(Entry::new(decoded, "f.yaml".into())).unwrap();
    }
    for undecodable in parsed.undecodable {
        store.set_undecodable(undecodable);
    }
}

fn compiler() -> Compiler {
    Compiler::new(Settings { mode: Mode::Cluster, ..Settings::default() })
}

/// The status of an object by kind and name.
fn status(compiled: &Compiled, kind: &str, name: &str) -> Value {
    let found = compiled.statuses.iter().find(|(key, _)| key.kind == kind && key.name == name);
    serde_json::to_value(found.unwrap().1).unwrap()
}

/// Type, status, reason and generation of each.
fn brief(conditions: &Value) -> Vec<String> {
    let text = |it: &Value| format!("{}={} {} of {}", it["type"], it["status"], it["reason"], it["observedGeneration"]);
    conditions.as_array().unwrap().iter().map(text).map(|text| text.replace('"', "")).collect()
}

/// An object with a field of a wrong type.
fn broken(api_version: &str, kind: &str, spec: &Value) -> String {
    let metadata = json!({"name": "broken", "generation": 7});
    format!("---\n{}\n", json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}))
}

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const ENVOY: &str = "gateway.envoyproxy.io/v1alpha1";

fn compiled(objects: &str) -> Compiled {
    let mut store = Store::new();
    read(&mut store, &format!("{GOOD}{objects}"));
    compiler().update(&store)
}

#[test]
fn a_route_is_refused_towards_each_of_its_parents_that_is_ours() {
    let parents = json!([{"name": "gw"}, {"name": "set", "kind": "ListenerSet"}, {"name": "foreign"}, {"name": "nowhere"}, "gw"]);
    let broken = broken(GATEWAY_API, "HTTPRoute", &json!({"parentRefs": parents, "rules": "none"}));
    let status = status(&compiled(&broken), "HTTPRoute", "broken");
    let parents = status["parents"].as_array().unwrap();
    let names: Vec<_> = parents.iter().map(|it| it["parentRef"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["gw", "set"]);
    for parent in parents {
        assert_eq!(brief(&parent["conditions"]), ["Accepted=False UnsupportedValue of 7"]);
        let message = parent["conditions"][0]["message"].as_str().unwrap();
        assert!(message.starts_with("not read: spec."), "{message}");
    }
}

#[test]
fn a_gateway_a_class_and_a_listener_set_are_refused_where_they_are_ours() {
    let invalid = ["Accepted=False Invalid of 7", "Programmed=False Invalid of 7"];
    let ours = broken(GATEWAY_API, "Gateway", &json!({"gatewayClassName": "pailou", "listeners": 1}));
    assert_eq!(brief(&status(&compiled(&ours), "Gateway", "broken")["conditions"]), invalid);
    let foreign = broken(GATEWAY_API, "Gateway", &json!({"gatewayClassName": "foreign", "listeners": 1}));
    assert_eq!(status(&compiled(&foreign), "Gateway", "broken"), json!({}));
    let set = broken(GATEWAY_API, "ListenerSet", &json!({"parentRef": {"name": "gw"}, "listeners": 1}));
    assert_eq!(brief(&status(&compiled(&set), "ListenerSet", "broken")["conditions"]), invalid);
    let spec = |controller: &str| json!({"controllerName": controller, "parametersRef": []});
    let class = broken(GATEWAY_API, "GatewayClass", &spec("pailou.dev/gateway-controller"));
    let conditions = status(&compiled(&class), "GatewayClass", "broken");
    assert_eq!(brief(&conditions["conditions"]), ["Accepted=False InvalidParameters of 7"]);
    let foreign = broken(GATEWAY_API, "GatewayClass", &spec("example.com/other"));
    assert_eq!(status(&compiled(&foreign), "GatewayClass", "broken"), json!({}));
}

#[test]
fn a_policy_is_refused_towards_the_gateways_that_it_would_reach() {
    let of_route = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "route"});
    let of_gateway = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw"});
    let selector = json!({"kind": "Gateway", "matchLabels": {"its": "label"}});
    for spec in [
        json!({"targetRefs": [of_route], "timeout": 1}),
        json!({"targetRef": of_gateway, "timeout": 1}),
        json!({"targetSelectors": [selector], "timeout": 1}),
    ] {
        let status = status(&compiled(&broken(ENVOY, "BackendTrafficPolicy", &spec)), "BackendTrafficPolicy", "broken");
        let ancestors = status["ancestors"].as_array().unwrap();
        assert_eq!(ancestors.len(), 1, "{spec}: {status}");
        assert_eq!(ancestors[0]["ancestorRef"]["name"], "gw");
        assert_eq!(brief(&ancestors[0]["conditions"]), ["Accepted=False Invalid of 7"]);
    }
    let spec = json!({"targetRefs": [{"group": "", "kind": "Service", "name": "backend"}], "validation": 1});
    let status = status(&compiled(&broken(GATEWAY_API, "BackendTLSPolicy", &spec)), "BackendTLSPolicy", "broken");
    assert_eq!(status["ancestors"][0]["ancestorRef"]["name"], "gw");
}

#[test]
fn a_pool_is_refused_towards_the_gateways_whose_routes_lead_to_it_and_a_backend_by_itself() {
    let route = json!({"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": [
        {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "broken"}]}]});
    let route = format!(
        "---\n{}\n",
        json!({"apiVersion": GATEWAY_API, "kind": "HTTPRoute", "metadata": {"name": "to-pool"}, "spec": route})
    );
    let pool = broken("inference.networking.k8s.io/v1", "InferencePool", &json!({"targetPorts": "8000"}));
    let parents = status(&compiled(&format!("{route}{pool}")), "InferencePool", "broken");
    assert_eq!(parents["parents"][0]["parentRef"]["name"], "gw", "{parents}");
    assert_eq!(brief(&parents["parents"][0]["conditions"]), ["Accepted=False Invalid of 7"]);
    let backend = status(&compiled(&broken(ENVOY, "Backend", &json!({"endpoints": 1}))), "Backend", "broken");
    assert_eq!(brief(&backend["conditions"]), ["Accepted=False Invalid of 7"]);
}

#[test]
fn what_was_served_before_goes_on_and_only_accepted_is_of_the_newer_generation() {
    let (mut store, mut compiler) = (Store::new(), compiler());
    read(&mut store, GOOD);
    let before = compiler.update(&store);
    let good = status(&before, "HTTPRoute", "route");
    let spec = json!({"parentRefs": [{"name": "gw"}], "rules": "none"});
    read(&mut store, &broken(GATEWAY_API, "HTTPRoute", &spec).replace("\"broken\"", "\"route\""));
    let during = compiler.update(&store);
    let bad = status(&during, "HTTPRoute", "route");
    assert_eq!(
        brief(&bad["parents"][0]["conditions"]),
        ["Accepted=False UnsupportedValue of 7", "ResolvedRefs=True ResolvedRefs of 2"]
    );
    assert!(bad["parents"][0]["conditions"][0]["message"].as_str().unwrap().contains("what it was before is served"));
    assert_eq!(format!("{:?}", during.snapshot), format!("{:?}", before.snapshot), "it is served as it was");
    // Mended as it was before, and with nothing else new.
    read(&mut store, GOOD);
    assert_eq!(status(&compiler.update(&store), "HTTPRoute", "route"), good);
}

#[test]
fn what_goes_is_not_spoken_of_any_more_and_what_nobody_can_be_told_of_is_noted() {
    let (mut store, mut compiler) = (Store::new(), compiler());
    read(&mut store, &format!("{GOOD}{}", broken(GATEWAY_API, "HTTPRoute", &json!({"parentRefs": 1}))));
    let compiled = compiler.update(&store);
    let (key, status) = compiled.statuses.iter().find(|(key, _)| key.name == "broken").unwrap();
    assert!(status.conditions().is_empty() && status.notes[0].message.starts_with("not read: "), "{status:?}");
    assert!(!store.undecodable(key).unwrap().says_whom_it_concerns());
    store.delete(key);
    assert_eq!(compiler.update(&store).statuses.get(key), None);
}
