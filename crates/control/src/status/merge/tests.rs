use std::sync::Arc;

use pailou_api::{NamespaceName, parse::parse};
use pailou_compile::{
    CONTROLLER_NAME, Compiler, ENVOY_GATEWAY_CONTROLLER, Settings,
    status::{Condition, ConditionList, ConditionStatus, PoolParentStatus, PoolReference},
    store::{Entry, Store},
};
use serde_json::{json, value::to_raw_value};

use super::*;
use crate::{
    cluster_state::{ClusterState, CompiledState},
    source::classes::{Held, Holder},
};

const OBJECTS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: pailou.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: ours, namespace: default}
spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: theirs, namespace: default}
spec: {gatewayClassName: theirs, listeners: [{name: http, port: 80, protocol: HTTP}]}
";

/// Compiles the objects. Another controller holds Envoy Gateway's name if `is_held`.
fn published(is_held: bool) -> CompiledState {
    let mut store = Store::new();
    for decoded in parse(OBJECTS.as_bytes(), "test", &NamespaceName::try_from("default").unwrap()).objects {
        store.insert(Entry::new(decoded, "test".into())).unwrap();
    }
    let settings = Settings::cluster();
    let compiled = Compiler::new(settings.clone()).update(&store);
    let holder = Holder { controller: ENVOY_GATEWAY_CONTROLLER.to_owned(), manager: "envoy-gateway".to_owned() };
    let held: Held = is_held.then(|| ("eg".to_owned(), holder)).into_iter().collect();
    let cluster = ClusterState { store: store.into(), objects: Arc::default(), settings: settings.into(), held: held.into() };
    CompiledState { cluster, compiled }
}

fn live(status: Value) -> CachedStatus {
    CachedStatus {
        api_version: "v1".into(),
        plural: "things".into(),
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        generation: 1,
        status: Some(&to_raw_value(&status).unwrap()).into(),
        other_writer: None,
        written: None,
    }
}

fn desired(kind: &'static str) -> Condition {
    Condition {
        kind,
        status: ConditionStatus::True,
        reason: kind,
        message: String::new(),
        observed_generation: 1,
        is_tolerated: false,
    }
}

fn status(body: StatusBody) -> Status {
    Status { body, notes: Vec::new() }
}

fn merged(kind: &str, before: Value, body: StatusBody, published: &CompiledState) -> Option<Value> {
    merge(kind, &live(before), &status(body), &Ours::new(published), "now")
}

fn pool_parent(gateway: &str) -> PoolParentStatus {
    let parent_ref = PoolReference {
        group: "gateway.networking.k8s.io",
        kind: "Gateway",
        namespace: "default".to_owned(),
        name: gateway.to_owned(),
    };
    PoolParentStatus { parent_ref, controller_name: None, conditions: vec![desired("Accepted")] }
}

fn live_parent(gateway: &str) -> Value {
    json!({ "parentRef": { "namespace": "default", "name": gateway }, "conditions": [] })
}

#[test]
fn of_a_pool_without_controllers_names_entries_go_by_their_gateway() {
    let before = json!({ "parent": [live_parent("theirs"), live_parent("gone"), live_parent("ours")] });
    let body = StatusBody::PoolV1Alpha2 { parent: Vec::new() };
    let after = merged("InferencePool", before.clone(), body, &published(false)).unwrap();
    assert_eq!(after, json!({ "parent": [live_parent("theirs")] }));
    let body = StatusBody::PoolV1Alpha2 { parent: vec![pool_parent("ours")] };
    let after = merged("InferencePool", before, body, &published(false)).unwrap();
    assert_eq!(after["parent"].as_array().unwrap().len(), 2);
    assert_eq!(after["parent"][1]["conditions"][0]["lastTransitionTime"], "now");
}

#[test]
fn the_placeholder_of_a_pool_goes_when_there_is_something_to_be_said() {
    let placeholder = json!({ "parentRef": { "kind": "Status", "name": "default" }, "conditions": [] });
    let before = json!({ "parent": [placeholder] });
    let nothing = StatusBody::PoolV1Alpha2 { parent: Vec::new() };
    assert_eq!(merged("InferencePool", before.clone(), nothing, &published(false)), None);
    let something = StatusBody::PoolV1Alpha2 { parent: vec![pool_parent("ours")] };
    let after = merged("InferencePool", before, something, &published(false)).unwrap();
    assert_eq!((after["parent"].as_array().unwrap().len(), &after["parent"][0]["parentRef"]["name"]), (1, &json!("ours")));
}

#[test]
fn an_entry_under_a_name_that_another_controller_answers_to_is_not_taken_away() {
    let entry = |controller: &str| json!({ "parentRef": { "name": "x" }, "controllerName": controller, "conditions": [] });
    let before = json!({ "parents": [entry(ENVOY_GATEWAY_CONTROLLER), entry(CONTROLLER_NAME), entry("example.com/other")] });
    let after = merged("HTTPRoute", before.clone(), StatusBody::None, &published(true)).unwrap();
    assert_eq!(after, json!({ "parents": [entry(ENVOY_GATEWAY_CONTROLLER), entry("example.com/other")] }));
    let after = merged("HTTPRoute", before, StatusBody::None, &published(false)).unwrap();
    assert_eq!(after, json!({ "parents": [entry("example.com/other")] }));
}

#[test]
fn conditions_that_say_not_whose_they_are_are_left_to_whoever_wrote_them_first() {
    let body = || StatusBody::Conditions(ConditionList { conditions: vec![desired("Accepted")] });
    let mut theirs = live(json!({ "conditions": [] }));
    theirs.other_writer = Some("envoy-gateway".to_owned());
    assert_eq!(merge("Backend", &theirs, &status(body()), &Ours::new(&published(false)), "now"), None);
    let after = merged("Backend", json!(null), body(), &published(false)).unwrap();
    assert_eq!(after["conditions"][0]["type"], "Accepted");
}

#[test]
fn nothing_is_written_where_nothing_is_said_and_nothing_is_there() {
    for (kind, before) in [("HTTPRoute", json!(null)), ("HTTPRoute", json!({ "parents": [] })), ("Gateway", json!({ "a": 1 }))] {
        assert_eq!(merged(kind, before, StatusBody::None, &published(false)), None);
    }
    assert_eq!(merged("HTTPRoute", json!(null), StatusBody::Route { parents: Vec::new() }, &published(false)), None);
}

#[test]
fn what_is_merged_is_equal_the_next_time() {
    let published = published(false);
    let key = pailou_api::ObjectKey::new("gateway.networking.k8s.io", "Gateway", "default", "ours");
    let body = published.compiled.statuses.get(&key).unwrap().body.clone();
    let defaults =
        json!({ "conditions": [{ "type": "Programmed", "status": "Unknown", "lastTransitionTime": "1970-01-01T00:00:00Z" }] });
    let first = merged("Gateway", defaults, body.clone(), &published).unwrap();
    assert_eq!(first["listeners"][0]["name"], "http");
    assert_eq!(merge("Gateway", &live(first), &status(body), &Ours::new(&published), "later"), None);
}
