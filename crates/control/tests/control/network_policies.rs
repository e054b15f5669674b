//! NetworkPolicies of data planes: those that the API server refuses, or does not list.

use http::Method;
use pailou_apiserver::Api;
use serde_json::{Value, json};

use crate::{
    cluster::{CLASSES, GATEWAYS, class, cluster, condition, gateway, quiet, until},
    provisioning::{DEPLOYMENTS, Running, SERVICES, made},
};

const POLICIES: &str = "/apis/networking.k8s.io/v1/networkpolicies";

#[tokio::test(start_paused = true)]
async fn a_network_policy_comes_with_the_option_is_restored_and_goes_with_it() {
    let api = cluster();
    let peers = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let running = Running::with_admin_peers(&api, Some(peers.clone()));
    until("a NetworkPolicy is made", || made(&api, POLICIES).is_some()).await;
    let from = |api: &Api| made(api, POLICIES).map(|it| it["spec"]["ingress"][1]["from"].clone());
    assert_eq!(from(&api), Some(peers.clone()));
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    // Somebody opens it.
    let mut opened = made(&api, POLICIES).unwrap();
    opened["spec"]["ingress"][1]["from"] = json!([{"ipBlock": {"cidr": "0.0.0.0/0"}}]);
    api.apply(POLICIES, opened);
    until("it is closed again", || from(&api) == Some(peers.clone())).await;
    running.stop().await;
    let running = Running::start(&api);
    until("it is gone", || made(&api, POLICIES).is_none()).await;
    assert!(made(&api, DEPLOYMENTS).is_some());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_may_not_list_network_policies_provisions_all_the_same() {
    let api = cluster();
    api.script(Method::GET, "/networkpolicies", &[403; 1_000]);
    let running = Running::start(&api);
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    running.stop().await;
}

/// Without the option nobody asks again for what is forbidden.
#[tokio::test(start_paused = true)]
async fn a_controller_without_the_option_needs_no_permission_for_network_policies() {
    let api = cluster();
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        api.script(method, "/networkpolicies", &[403; 1_000]);
    }
    api.apply(CLASSES, class("other", "example.com/other"));
    let running = Running::start(&api);
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    api.apply(GATEWAYS, gateway("g", "other"));
    until("a Deployment is gone", || made(&api, DEPLOYMENTS).is_none()).await;
    tokio::time::advance(std::time::Duration::from_secs(600)).await;
    quiet(&api).await;
    let asked = |method| api.requests(&method, "/networkpolicies").len();
    assert_eq!([Method::GET, Method::PATCH, Method::DELETE].map(asked), [1, 0, 0]);
    running.stop().await;
}

/// The API server says nothing of it, so that a difference is no reason to write it again.
#[tokio::test(start_paused = true)]
async fn a_network_policy_that_cannot_be_listed_is_applied_once() {
    let api = cluster();
    api.script(Method::GET, "/networkpolicies", &[403; 1_000]);
    let running = Running::with_admin_peers(&api, Some(json!([])));
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    let reason = || condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "Programmed")["reason"].clone();
    let mut service = made(&api, SERVICES).unwrap();
    service["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    api.apply(SERVICES, service);
    for (replicas, expected) in [(1, "Programmed"), (0, "Pending"), (1, "Programmed")] {
        let mut deployment = made(&api, DEPLOYMENTS).unwrap();
        deployment["status"] = json!({ "availableReplicas": replicas });
        api.apply(DEPLOYMENTS, deployment);
        until("the Gateway says so", || reason() == expected).await;
    }
    assert_eq!(api.requests(&Method::PATCH, "/networkpolicies").len(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_network_policy_that_is_refused_costs_only_itself() {
    let api = cluster();
    let name = made_policy_name(&api).await;
    api.script(Method::PATCH, &format!("/networkpolicies/{name}"), &[403; 1_000]);
    let running = Running::with_admin_peers(&api, Some(json!([])));
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    let warning = || condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "PartiallySupported")["message"].clone();
    let names = |message: &Value| message.as_str().is_some_and(|text| text.contains("patch networkpolicies of networking.k8s.io"));
    until("the Gateway says so", || names(&warning())).await;
    let mut changed = gateway("g", "pailou");
    changed["spec"]["infrastructure"] = json!({ "labels": { "team": "inference" } });
    api.apply(GATEWAYS, changed);
    until("the Deployment is new", || made(&api, DEPLOYMENTS).is_some_and(|it| it["metadata"]["labels"]["team"] == "inference"))
        .await;
    assert!(made(&api, POLICIES).is_none());
    running.stop().await;
}

/// Deletes the NetworkPolicy of Gateway `g`, and waits until it is there again: the pause between two resyncs is longer.
async fn policy_comes_back(api: &Api) {
    let policy = made(api, POLICIES).expect("it is made");
    api.delete(POLICIES, &format!("default/{}", policy["metadata"]["name"].as_str().expect("it has a name")));
    until("the NetworkPolicy is there again", || made(api, POLICIES).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_network_policy_is_restored_whatever_happens_to_those_of_another_namespace() {
    let api = cluster();
    let other = "/namespaces/other/networkpolicies";
    let asked = || api.requests(&Method::GET, other).len();
    let running = Running::in_namespaces(&api, Some(json!([])), &["default", "other"]);
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    quiet(&api).await;
    // The watches end, and the other namespace's cannot go on at once. Nothing happens there afterwards.
    let before = asked();
    api.script(Method::GET, other, &[500, 503]);
    api.set_down(true);
    api.set_down(false);
    until("the watch goes on", || asked() == before + 3).await;
    policy_comes_back(&api).await;
    running.stop().await;
    // It cannot be listed at all.
    api.script(Method::GET, other, &[403; 1_000]);
    let running = Running::in_namespaces(&api, Some(json!([])), &["default", "other"]);
    until("it leads", || running.controller.leadership().leads()).await;
    quiet(&api).await;
    policy_comes_back(&api).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn network_policies_whose_watch_was_forbidden_are_listed_again() {
    let api = cluster();
    let running = Running::with_admin_peers(&api, Some(json!([])));
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    quiet(&api).await;
    let asked = || api.requests(&Method::GET, "/networkpolicies").len();
    let before = asked();
    api.script(Method::GET, "/networkpolicies", &[403]);
    api.set_down(true);
    api.set_down(false);
    until("the watch is refused", || asked() == before + 1).await;
    tokio::time::advance(std::time::Duration::from_secs(30)).await;
    until("they are listed and watched", || asked() == before + 3).await;
    policy_comes_back(&api).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_condition_of_a_policy_that_is_refused_says_what_stands_and_what_to_do() {
    let api = cluster();
    let running = Running::with_admin_peers(&api, Some(json!([])));
    until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
    let name = made(&api, POLICIES).unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    api.script(Method::PATCH, &format!("/networkpolicies/{name}"), &[422; 1_000]);
    let mut changed = gateway("g", "pailou");
    changed["spec"]["listeners"][0]["port"] = 8081.into();
    api.apply(GATEWAYS, changed);
    let warning = || condition(&api.get(GATEWAYS, "default/g")["status"]["conditions"], "PartiallySupported")["message"].clone();
    let says = |part: &str| warning().as_str().is_some_and(|text| text.contains(part));
    until("an older one stays", || says("so an older one stays")).await;
    assert!(says("remove the cause that it names") && !says("let the controller"), "{}", warning());
    api.delete(POLICIES, &format!("default/{name}"));
    until("none is there", || says("so all who reach their pods")).await;
    running.stop().await;
}

/// A webhook that is down, or a server that is busy, refuses nothing: no proxy begins without its NetworkPolicy.
#[tokio::test(start_paused = true)]
async fn a_data_plane_waits_for_a_network_policy_that_fails_for_now() {
    for code in [500, 401, 409, 429, 503] {
        let api = cluster();
        let name = made_policy_name(&api).await;
        for collection in [SERVICES, DEPLOYMENTS].into_iter().filter(|it| made(&api, it).is_some()) {
            api.delete(collection, &format!("default/{name}"));
        }
        let path = format!("/networkpolicies/{name}");
        let before = api.requests(&Method::PATCH, &path).len();
        api.script(Method::PATCH, &path, &[code; 1_000]);
        let running = Running::with_admin_peers(&api, Some(json!([])));
        until("it is tried again", || api.requests(&Method::PATCH, &path).len() > before + 3).await;
        // Changes of the cluster do not make it pass by either.
        let mut changed = gateway("g", "pailou");
        changed["spec"]["infrastructure"] = json!({ "labels": { "team": "inference" } });
        api.apply(GATEWAYS, changed);
        until("it is tried again", || api.requests(&Method::PATCH, &path).len() > before + 6).await;
        assert_eq!((made(&api, SERVICES), made(&api, DEPLOYMENTS)), (None, None), "{code}");
        api.script(Method::PATCH, &path, &[]);
        until("a Deployment is made", || made(&api, DEPLOYMENTS).is_some()).await;
        assert!(made(&api, POLICIES).is_some());
        running.stop().await;
    }
}

/// The name of the NetworkPolicy of Gateway `g`, which is gone afterwards.
async fn made_policy_name(api: &Api) -> String {
    let running = Running::with_admin_peers(api, Some(json!([])));
    until("a NetworkPolicy is made", || made(api, POLICIES).is_some()).await;
    let policy = made(api, POLICIES).expect("it is made");
    let name = policy["metadata"]["name"].as_str().expect("it has a name").to_owned();
    running.stop().await;
    api.delete(POLICIES, &format!("default/{name}"));
    name
}
