//! Statuses that the controller writes, and those that it leaves alone.

use http::Method;
use pailou_compile::{DataPlane, status::GatewayAddress};
use pailou_snapshot::Name;
use serde_json::{Value, json};

use crate::cluster::{
    CLASSES, CONTROLLER, GATEWAYS, ROUTES, SHARED, class, cluster, condition, gateway, quiet, route, start, undefine, until, writes,
};

#[tokio::test(start_paused = true)]
async fn every_status_is_written_once_and_then_nothing_more() {
    let api = cluster();
    let controller = start(&api, "a");
    until("the route is accepted", || {
        condition(&api.get(ROUTES, "default/r")["status"]["parents"][0]["conditions"], "Accepted")["status"] == "True"
    })
    .await;
    quiet(&api).await;
    assert_eq!(writes(&api), 3, "{:?}", api.requests(&Method::PUT, "/status"));
    let class = api.get(CLASSES, "pailou");
    assert_eq!(condition(&class["status"]["conditions"], "Accepted")["status"], "True");
    let gateway = api.get(GATEWAYS, "default/g");
    assert_eq!(gateway["status"]["listeners"][0]["attachedRoutes"], 1);
    let accepted = condition(&gateway["status"]["conditions"], "Accepted");
    assert_eq!((&accepted["status"], &accepted["observedGeneration"]), (&json!("True"), &json!(1)));
    assert!(accepted["lastTransitionTime"].as_str().unwrap().ends_with('Z'));
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_data_plane_shows_in_the_gateways_status() {
    let api = cluster();
    let controller = start(&api, "a");
    let programmed = || condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "Programmed").clone();
    until("the Gateway waits for a proxy", || programmed()["status"] == "False").await;
    let address = GatewayAddress::ip("198.51.100.7".parse().unwrap()).reached_from("");
    let plane = DataPlane { addresses: vec![address], ready: true, ..DataPlane::default() };
    controller
        .settings()
        .send_modify(|settings| drop(settings.data_planes.get_or_insert_default().insert(Name::new("default", "g"), plane)));
    until("the Gateway is programmed", || programmed()["status"] == "True").await;
    let status = api.get(GATEWAYS, "default/g")["status"].clone();
    assert_eq!(status["addresses"], json!([{ "type": "IPAddress", "value": "198.51.100.7", "routability": "" }]));
    controller.settings().send_modify(|settings| settings.data_planes = Some(std::collections::BTreeMap::new()));
    until("the address is gone", || api.get(GATEWAYS, "default/g")["status"].get("addresses").is_none()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_class_says_whether_the_version_of_gateway_api_is_known() {
    let api = cluster();
    let controller = start(&api, "a");
    let supported = || condition(&api.get(CLASSES, "pailou")["status"]["conditions"], "SupportedVersion").clone();
    until("the version is known", || supported()["status"] == "True").await;
    api.define("v1.99.0", "gateway.networking.k8s.io", "xbackends", "XBackend", &["v1"]);
    until("a definition is of another version", || supported()["status"] == "False").await;
    assert_eq!(supported()["reason"], "UnsupportedVersion");
    let message = supported()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("v1.99.0 (xbackends.gateway.networking.k8s.io)"), "{message}");
    undefine(&api, "xbackends.gateway.networking.k8s.io");
    until("it is gone", || supported()["status"] == "True").await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_others_have_written_stays_as_it_is_where_it_is() {
    let api = cluster();
    let controller = start(&api, "a");
    until("the route has a status", || api.get(ROUTES, "default/r")["status"]["parents"][0].is_object()).await;
    quiet(&api).await;
    let condition_of_theirs = json!({
        "type": "example.com/Seen", "status": "True", "reason": "Seeded", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    api.set_status(GATEWAYS, "default/g", |status| {
        status["conditions"].as_array_mut().unwrap().insert(0, condition_of_theirs.clone());
        status["listeners"][0]["conditions"].as_array_mut().unwrap().push(condition_of_theirs.clone());
        status["extension"] = json!({ "of": "theirs" });
    });
    let entry_of_theirs = json!({
        "parentRef": { "name": "g" }, "controllerName": "example.com/other", "conditions": [condition_of_theirs.clone()],
    });
    api.set_status(ROUTES, "default/r", |status| {
        status["parents"].as_array_mut().unwrap().insert(0, entry_of_theirs.clone());
    });
    let mut changed = gateway("g", "pailou");
    changed["spec"]["listeners"][0]["hostname"] = "second.example.com".into();
    api.apply(GATEWAYS, changed);
    let mut changed = route("r", "g", "nowhere");
    changed["spec"]["hostnames"] = json!(["second.example.com"]);
    api.apply(ROUTES, changed);
    until("both are looked at again", || {
        let gateway = api.get(GATEWAYS, "default/g");
        let parents = api.get(ROUTES, "default/r")["status"]["parents"].clone();
        condition(&gateway["status"]["conditions"], "Accepted")["observedGeneration"] == 2
            && condition(&parents[1]["conditions"], "ResolvedRefs")["status"] == "False"
    })
    .await;
    let status = api.get(GATEWAYS, "default/g")["status"].clone();
    assert_eq!(status["conditions"][0], condition_of_theirs);
    assert_eq!(status["listeners"][0]["conditions"].as_array().unwrap().last(), Some(&condition_of_theirs));
    assert_eq!(status["extension"], json!({ "of": "theirs" }));
    assert_eq!(api.get(ROUTES, "default/r")["status"]["parents"][0], entry_of_theirs);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_says_so_in_one_write_until_it_is_mended() {
    let api = cluster();
    let controller = start(&api, "a");
    let parents = || api.get(ROUTES, "default/r")["status"]["parents"].clone();
    let accepted = || condition(&parents()[0]["conditions"], "Accepted").clone();
    until("the route is accepted", || accepted()["status"] == "True").await;
    quiet(&api).await;
    let written = writes(&api);
    let mut broken = route("r", "g", "s");
    broken["spec"]["rules"][0]["backendRefs"][0]["port"] = "eighty".into();
    api.apply(ROUTES, broken);
    until("it says so", || accepted()["status"] == "False").await;
    quiet(&api).await;
    assert_eq!((accepted()["reason"].as_str(), &accepted()["observedGeneration"]), (Some("UnsupportedValue"), &json!(2)));
    let message = accepted()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("what it was before is served: spec.rules[0].backendRefs[0].port: "), "{message}");
    assert_eq!(condition(&parents()[0]["conditions"], "ResolvedRefs")["observedGeneration"], 1, "that is of what is served");
    assert_eq!(writes(&api) - written, 1);
    // As it was before: nothing of it has changed but that it can be read.
    api.apply(ROUTES, route("r", "g", "s"));
    until("it is accepted again", || accepted()["status"] == "True").await;
    quiet(&api).await;
    assert_eq!((&accepted()["observedGeneration"], writes(&api) - written), (&json!(3), 2));
    // One that was never in order, and one that says nothing of any parent.
    let mut new = route("new", "g", "s");
    new["spec"]["rules"] = json!("none");
    api.apply(ROUTES, new);
    let mut lost = route("lost", "g", "s");
    lost["spec"]["parentRefs"] = json!("g");
    api.apply(ROUTES, lost);
    let of_new = || condition(&api.get(ROUTES, "default/new")["status"]["parents"][0]["conditions"], "Accepted").clone();
    until("the new one says so", || of_new()["status"] == "False").await;
    quiet(&api).await;
    assert!(api.get(ROUTES, "default/lost")["status"].is_null());
    assert_eq!(writes(&api) - written, 3);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_read_afresh_and_written_again() {
    let api = cluster();
    api.script(Method::PUT, "/gateways/g/status", &[409, 409]);
    let controller = start(&api, "a");
    until("the Gateway is accepted", || {
        condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "Accepted")["status"] == "True"
    })
    .await;
    assert!(api.requests(&Method::GET, "/gateways/g").len() >= 2);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_what_is_refused_is_not() {
    let api = cluster();
    api.script(Method::PUT, "/gateways/g/status", &[500]);
    api.script(Method::PUT, "/httproutes/r/status", &[422, 422]);
    let controller = start(&api, "a");
    until("the Gateway is accepted", || {
        condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "Accepted")["status"] == "True"
    })
    .await;
    quiet(&api).await;
    assert_eq!(api.requests(&Method::PUT, "/httproutes/r/status").len(), 1);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn our_entries_go_when_an_object_is_not_ours_any_more() {
    let api = cluster();
    let controller = start(&api, "a");
    until("the route has a status", || api.get(ROUTES, "default/r")["status"]["parents"][0].is_object()).await;
    api.apply(ROUTES, route("r", "elsewhere", "s"));
    until("the entry is gone", || api.get(ROUTES, "default/r")["status"]["parents"] == json!([])).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn when_a_gateway_goes_over_to_another_controller_its_routes_lose_our_entries_and_it_keeps_what_was_said() {
    let api = cluster();
    api.apply(CLASSES, class("theirs", "example.com/other"));
    let controller = start(&api, "a");
    until("the route has a status", || api.get(ROUTES, "default/r")["status"]["parents"][0].is_object()).await;
    quiet(&api).await;
    let before = api.get(GATEWAYS, "default/g")["status"].clone();
    api.apply(GATEWAYS, gateway("g", "theirs"));
    until("the entry is gone", || api.get(ROUTES, "default/r")["status"]["parents"] == json!([])).await;
    quiet(&api).await;
    // Its conditions are of types that the other controller writes anew: to take them away would be to race it.
    assert_eq!(api.get(GATEWAYS, "default/g")["status"], before);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_class_that_another_controller_holds_is_left_alone_with_all_under_it() {
    let api = cluster();
    let held = |manager: &str| {
        let mut class = class("shared", SHARED);
        class["metadata"]["managedFields"] = json!([{ "manager": "kubectl", "operation": "Update" }, { "manager": manager, "operation": "Update", "subresource": "status" }]);
        class["status"] = json!({ "conditions": [{ "type": "Accepted", "status": "True", "reason": "Accepted", "message": "" }] });
        class
    };
    api.apply(CLASSES, held("envoy-gateway"));
    api.apply(GATEWAYS, gateway("theirs", "shared"));
    let theirs = json!({
        "parents": [{ "parentRef": { "name": "theirs" }, "controllerName": SHARED, "conditions": [] }],
    });
    let mut both = route("both", "theirs", "s");
    both["spec"]["parentRefs"] = json!([{ "name": "theirs" }, { "name": "g" }]);
    both["status"] = theirs.clone();
    api.apply(ROUTES, both);
    let controller = start(&api, "a");
    until("our part of the route is written", || {
        api.get(ROUTES, "default/both")["status"]["parents"][1]["controllerName"] == CONTROLLER
    })
    .await;
    quiet(&api).await;
    assert_eq!(api.get(ROUTES, "default/both")["status"]["parents"][0], theirs["parents"][0]);
    assert_eq!(api.get(GATEWAYS, "default/theirs")["status"], Value::Null);
    assert_eq!(api.get(CLASSES, "shared")["status"], held("envoy-gateway")["status"]);
    until("an event says so", || {
        api.requests(&Method::POST, "/events").iter().any(|request| request.body["reason"] == "HeldByAnotherController")
    })
    .await;
    // The class comes back without that controller's mark: now it is ours.
    api.delete(CLASSES, "shared");
    api.apply(CLASSES, class("shared", SHARED));
    until("the Gateway is ours", || {
        condition(&api.get(GATEWAYS, "default/theirs")["status"]["conditions"], "Accepted")["status"] == "True"
    })
    .await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_is_made_when_something_comes_to_fail_and_not_again() {
    let api = cluster();
    api.apply(ROUTES, route("lost", "g", "nowhere"));
    let controller = start(&api, "a");
    let events = || {
        let posted = api.requests(&Method::POST, "/events");
        posted.into_iter().filter(|request| request.body["regarding"]["name"] == "lost").collect::<Vec<_>>()
    };
    until("there is an event", || !events().is_empty()).await;
    let event = events()[0].body.clone();
    assert_eq!((&event["reason"], &event["type"]), (&json!("BackendNotFound"), &json!("Warning")));
    assert!(event["note"].as_str().unwrap().contains("nowhere"), "{event}");
    controller.stop().await;
    let second = start(&api, "b");
    until("it leads", || second.leadership().leads()).await;
    quiet(&api).await;
    assert_eq!(events().len(), 1);
    second.stop().await;
}
