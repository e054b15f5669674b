//! Watches, also of an API server that fails.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::{sync::watch, time};

use crate::cluster::{
    CLASSES, CONTROLLER, GATEWAYS, PODS, POOLS, ROUTES, class, client, cluster, define, gateway, names, options, pool, published,
    route, service, start, undefine, until,
};
use pailou_control::{Controller, Options, provision};

#[tokio::test(start_paused = true)]
async fn a_list_anew_replaces_what_was_known() {
    let api = cluster();
    let controller = start(&api, "a");
    until("all is known", || names(&controller, "HTTPRoute") == ["r"]).await;
    // The watches end, the route is replaced by another, and the versions to go on from are forgotten.
    api.set_down(true);
    api.delete(ROUTES, "default/r");
    api.apply(ROUTES, route("other", "g", "s"));
    api.forget();
    api.set_down(false);
    until("the other is known", || names(&controller, "HTTPRoute") == ["other"]).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_told_that_its_version_is_too_old_lists_anew() {
    let api = cluster();
    let controller = start(&api, "a");
    until("all is known", || names(&controller, "HTTPRoute") == ["r"]).await;
    let lists = || api.requests(&Method::GET, "/httproutes").iter().filter(|request| !request.query.contains("watch=true")).count();
    let before = lists();
    api.expire();
    api.apply(ROUTES, route("other", "g", "s"));
    until("the other is known", || names(&controller, "HTTPRoute") == ["other", "r"]).await;
    assert!(lists() > before);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_known_stays_while_the_api_server_is_away() {
    let api = cluster();
    let controller = start(&api, "a");
    until("all is known", || names(&controller, "Gateway") == ["g"]).await;
    api.set_down(true);
    time::sleep(Duration::from_millis(500)).await;
    assert_eq!(names(&controller, "Gateway"), ["g"]);
    api.set_down(false);
    api.apply(GATEWAYS, gateway("later", "pailou"));
    until("the later one is known", || names(&controller, "Gateway") == ["g", "later"]).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_compiled_before_everything_was_listed() {
    let api = cluster();
    api.script(Method::GET, "/api/v1/secrets", &[403; 3]);
    let controller = start(&api, "a");
    time::sleep(Duration::from_millis(150)).await;
    assert!(published(&controller).is_none());
    until("it is compiled after all", || published(&controller).is_some()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn kinds_come_and_go_with_their_definitions() {
    let api = cluster();
    let controller = start(&api, "a");
    until("all is known", || published(&controller).is_some()).await;
    assert_eq!(names(&controller, "InferencePool"), Vec::<String>::new());
    api.apply(POOLS, pool("p", "a"));
    define(&api, "inference.networking.k8s.io", "inferencepools", "InferencePool", &["v1"]);
    until("the pool is known", || names(&controller, "InferencePool") == ["p"]).await;
    undefine(&api, "inferencepools.inference.networking.k8s.io");
    until("the pool is gone", || names(&controller, "InferencePool").is_empty()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn kinds_of_ack_that_have_no_effect_are_named_and_their_contents_stay_unread() {
    const GROUP: &str = "inferenceextension.alibabacloud.com";
    let api = cluster();
    let controller = start(&api, "a");
    until("all is known without their definitions", || names(&controller, "HTTPRoute") == ["r"]).await;
    define(&api, GROUP, "acktrafficfilters", "ACKTrafficFilter", &["v1alpha1"]);
    define(&api, GROUP, "inferencetrafficpolicies", "InferenceTrafficPolicy", &["v1alpha1"]);
    for (kind, plural) in [("ACKTrafficFilter", "acktrafficfilters"), ("InferenceTrafficPolicy", "inferencetrafficpolicies")] {
        let object = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"), "kind": kind, "metadata": {"namespace": "default", "name": "it"},
            "spec": {"aiContentSecurity": {"secretKey": "the-secret"}},
        });
        api.apply(&format!("/apis/{GROUP}/v1alpha1/{plural}"), object);
        until("it is known", || names(&controller, kind) == ["it"]).await;
        let is_named = || {
            let posted = api.requests(&Method::POST, "/events");
            posted.iter().any(|event| event.body["regarding"]["kind"] == kind && event.body["reason"] == "Unsupported")
        };
        until("an event names it", is_named).await;
    }
    let posted = api.requests(&Method::POST, "/events");
    assert!(posted.iter().all(|event| !event.body.to_string().contains("the-secret")));
    undefine(&api, &format!("acktrafficfilters.{GROUP}"));
    until("it is gone with its definition", || names(&controller, "ACKTrafficFilter").is_empty()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trust_bundles_are_watched_where_they_are_served() {
    let api = cluster();
    api.apply(
        "/apis/certificates.k8s.io/v1beta1/clustertrustbundles",
        json!({ "metadata": { "name": "b" }, "spec": { "trustBundle": "x" } }),
    );
    let controller = start(&api, "a");
    until("all is known", || published(&controller).is_some()).await;
    assert_eq!(names(&controller, "ClusterTrustBundle"), Vec::<String>::new());
    controller.stop().await;
    let resources = [("clustertrustbundles", "ClusterTrustBundle"), ("certificatesigningrequests", "CertificateSigningRequest")];
    let resources = resources
        .map(|(name, kind)| json!({ "name": name, "singularName": "", "namespaced": false, "kind": kind, "verbs": ["list"] }));
    api.serve("/apis/certificates.k8s.io/v1", json!(&resources[1..]));
    api.serve("/apis/certificates.k8s.io/v1beta1", json!(resources));
    api.script(Method::GET, "/apis/certificates.k8s.io/v1beta1", &[503]);
    let controller = start(&api, "a");
    until("the bundle is known", || names(&controller, "ClusterTrustBundle") == ["b"]).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_several_versions_the_newest_that_is_known_is_watched() {
    let api = cluster();
    define(&api, "gateway.networking.k8s.io", "tlsroutes", "TLSRoute", &["v1alpha2", "v1alpha3", "v9"]);
    define(&api, "gateway.networking.k8s.io", "tcproutes", "TCPRoute", &["v9"]);
    let controller = start(&api, "a");
    until("all is known", || published(&controller).is_some()).await;
    assert!(!api.requests(&Method::GET, "/v1alpha3/tlsroutes").is_empty());
    assert!(api.requests(&Method::GET, "/v1alpha2/tlsroutes").is_empty());
    assert!(api.requests(&Method::GET, "/tcproutes").iter().all(|request| request.path.contains("customresourcedefinitions")));
    define(&api, "gateway.networking.k8s.io", "tlsroutes", "TLSRoute", &["v1", "v1alpha3"]);
    until("the newer version is watched", || !api.requests(&Method::GET, "/v1/tlsroutes").is_empty()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_is_left_out_and_the_rest_is_served() {
    let api = cluster();
    let mut broken = gateway("broken", "pailou");
    broken["spec"]["listeners"] = json!("none");
    api.apply(GATEWAYS, broken);
    let controller = start(&api, "a");
    until("the rest is known", || names(&controller, "Gateway") == ["g"]).await;
    // The good version stays when a broken one comes.
    let mut broken = gateway("g", "pailou");
    broken["spec"]["listeners"] = json!("none");
    api.apply(GATEWAYS, broken);
    api.apply(GATEWAYS, gateway("later", "pailou"));
    until("the later one is known", || names(&controller, "Gateway") == ["g", "later"]).await;
    let mut text = String::new();
    controller.metrics().encode(&mut text);
    assert!(text.contains("pailou_controller_undecodable_objects_total{kind=\"Gateway\"} 2"), "{text}");
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_guards_and_never_decoded_closes_its_targets() {
    const POLICIES: &str = "/apis/gateway.envoyproxy.io/v1alpha1/securitypolicies";
    let api = cluster();
    define(&api, "gateway.envoyproxy.io", "securitypolicies", "SecurityPolicy", &["v1alpha1"]);
    let policy = |action: &str| {
        let target = json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g" });
        let spec = json!({ "targetRefs": [target], "authorization": { "defaultAction": action } });
        json!({ "metadata": { "name": "p", "namespace": "default" }, "spec": spec })
    };
    let is_closing = |controller: &Controller| {
        let published = published(controller)?;
        let (_, entry) = published.cluster.store.iter().find(|(key, _)| key.kind == "SecurityPolicy")?;
        Some(entry.object.is_closing_policy())
    };
    api.apply(POLICIES, policy("allow"));
    let controller = start(&api, "a");
    until("it closes its targets", || is_closing(&controller) == Some(true)).await;
    api.apply(POLICIES, policy("Allow"));
    until("it decodes", || is_closing(&controller) == Some(false)).await;
    api.apply(POLICIES, policy("allow"));
    api.apply(GATEWAYS, gateway("later", "pailou"));
    until("what came later is known", || names(&controller, "Gateway") == ["g", "later"]).await;
    assert_eq!(is_closing(&controller), Some(false), "the last good version stays");
    api.delete(POLICIES, "default/p");
    until("it is gone", || is_closing(&controller).is_none()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_nests_too_deep_keeps_no_other_from_being_heard_of() {
    let api = cluster();
    let deep = |name: &str| {
        let mut deep = gateway(name, "pailou");
        deep["spec"]["infrastructure"] = (0..200).fold(json!(1), |inner, _| json!([inner]));
        deep
    };
    api.apply(GATEWAYS, deep("listed"));
    let controller = start(&api, "a");
    until("the rest of the list is known", || names(&controller, "Gateway") == ["g"]).await;
    api.apply(GATEWAYS, deep("told"));
    api.apply(GATEWAYS, gateway("later", "pailou"));
    until("what comes later is known", || names(&controller, "Gateway") == ["g", "later"]).await;
    let mut text = String::new();
    controller.metrics().encode(&mut text);
    assert!(text.contains("pailou_controller_undecodable_objects_total{kind=\"Gateway\"} 2"), "{text}");
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_are_watched_where_pools_select_them() {
    let api = cluster();
    define(&api, "inference.networking.k8s.io", "inferencepools", "InferencePool", &["v1"]);
    let pod = |name: &str, namespace: &str, app: &str| {
        json!({
            "metadata": { "name": name, "namespace": namespace, "labels": { "app": app } },
            "spec": { "containers": [{ "name": "c", "env": [{ "name": "TOKEN", "value": "hidden" }] }] },
            "status": { "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    };
    api.apply(PODS, pod("mine", "default", "a"));
    api.apply(PODS, pod("other", "default", "b"));
    api.apply(PODS, pod("elsewhere", "far", "a"));
    api.apply(POOLS, pool("p", "a"));
    let controller = start(&api, "a");
    until("the pod is known", || names(&controller, "Pod") == ["mine"]).await;
    assert!(api.requests(&Method::GET, "/pods").iter().all(|request| request.path.contains("/namespaces/default/")));
    assert!(api.requests(&Method::GET, "/pods").iter().all(|request| request.query.contains("labelSelector=app%3Da")));
    let json: String = published(&controller).unwrap().cluster.objects.iter().map(|(_, json)| json.expose().to_owned()).collect();
    assert!(!json.contains("hidden"));
    api.apply(POOLS, pool("q", "b"));
    until("both are known", || names(&controller, "Pod") == ["mine", "other"]).await;
    api.delete(POOLS, "default/p");
    until("one is left", || names(&controller, "Pod") == ["other"]).await;
    api.delete(POOLS, "default/q");
    until("none is left", || names(&controller, "Pod").is_empty()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_namespaces_that_were_named_are_watched() {
    let api = cluster();
    let mut elsewhere = gateway("elsewhere", "pailou");
    elsewhere["metadata"]["namespace"] = "far".into();
    api.apply(GATEWAYS, elsewhere);
    api.apply(CLASSES, class("second", CONTROLLER));
    let mut options = options("a");
    options.namespaces = vec!["default".try_into().unwrap()];
    let controller = Controller::start(client(&api), options);
    until("all is known", || published(&controller).is_some()).await;
    assert_eq!(names(&controller, "Gateway"), ["g"]);
    assert_eq!(names(&controller, "GatewayClass"), ["pailou", "second"]);
    assert!(
        api.requests(&Method::GET, "/gateways")
            .iter()
            .all(|request| { request.path.contains("/namespaces/default/") || request.path.contains("customresourcedefinitions") })
    );
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn data_planes_are_looked_for_in_the_namespaces_that_were_named_alone() {
    let api = cluster();
    let namespaces = vec!["default".try_into().unwrap(), "far".try_into().unwrap()];
    let mut plane = service("plane");
    plane["metadata"]["namespace"] = "far".into();
    api.apply("/api/v1/services", plane);
    let controller = Controller::start(client(&api), Options { namespaces: namespaces.clone(), ..options("a") });
    let (_authorities, none) = watch::channel(None);
    let options = provision::Options {
        image: "pailou".to_owned(),
        image_pull_policy: None,
        image_pull_secrets: Vec::new(),
        feed_url: "https://feed".to_owned(),
        namespace: "pailou".to_owned(),
        namespaces,
        drain_seconds: 1,
        log: None,
        admin_peers: None,
    };
    let provisioning = provision::start(client(&api), options, &controller, none);
    let selected = |part: &str| {
        let mut requests = api.requests(&Method::GET, part);
        requests.retain(|request| request.query.contains("labelSelector"));
        requests
    };
    for part in ["/namespaces/default/deployments", "/namespaces/far/deployments", "/namespaces/far/services"] {
        until(part, || selected(part).iter().any(|request| request.query.contains("watch=true"))).await;
    }
    for part in ["/deployments", "/services"] {
        assert!(selected(part).iter().all(|request| request.path.contains("/namespaces/")), "{part}");
    }
    drop(provisioning);
    controller.stop().await;
}
