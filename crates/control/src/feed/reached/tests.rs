use std::time::Duration;

use pailou_api::{NamespaceName, parse::parse};
use pailou_compile::{
    Settings,
    store::{Entry, Store},
};
use tokio::time;

use super::*;
use crate::Objects;

const CLASS: &str = "{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: pailou}, \
                     spec: {controllerName: pailou.dev/gateway-controller}}";

fn gateway(name: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: {name}}}, \
         spec: {{gatewayClassName: pailou, listeners: [{{name: http, protocol: HTTP, port: 80}}]}}}}"
    )
}

fn route(name: &str, gateway: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}}}, \
         spec: {{parentRefs: [{{name: {gateway}}}]}}}}"
    )
}

fn known(documents: &[String]) -> Option<ClusterState> {
    let namespace = NamespaceName::try_from("default").unwrap();
    let (mut store, mut objects) = (Store::new(), Objects::default());
    for decoded in parse(documents.join("\n---\n").as_bytes(), "in.yaml", &namespace).objects {
        objects.insert(Arc::new(decoded.object.key()), Json::new(format!("{:?}", decoded.object.key())));
        store.upsert(Entry::new(decoded, "in.yaml".into())).unwrap();
    }
    let settings = Arc::new(Settings::cluster());
    Some(ClusterState { store: store.into(), objects: objects.into(), settings, held: Arc::default() })
}

async fn names(state: &mut watch::Receiver<State>) -> Vec<String> {
    time::timeout(Duration::from_secs(30), state.changed()).await.expect("something is told").unwrap();
    match state.borrow_and_update().clone() {
        State::Needs(needed) => needed.keys().map(|key| key.name.clone()).collect(),
        State::Gone => vec!["nothing: it is gone".to_owned()],
        State::Unknown => panic!("it was looked at"),
    }
}

#[tokio::test]
async fn each_gateway_is_told_what_concerns_it() {
    let two = [CLASS.to_owned(), gateway("a"), gateway("b"), route("of-a", "a")];
    let (send, receive) = watch::channel(known(&two));
    let reached = Reached::default();
    let task = tokio::spawn(reached.clone().keep(receive));
    let mut a = reached.of(&Name::new("default", "a"));
    assert_eq!(names(&mut a).await, ["a", "pailou", "of-a"]);
    // Another proxy of the same Gateway, and the first proxy of another Gateway.
    let mut again = reached.of(&Name::new("default", "a"));
    let mut b = reached.of(&Name::new("default", "b"));
    assert_eq!(names(&mut b).await, ["b", "pailou"]);
    again.mark_changed();
    assert_eq!(names(&mut again).await, ["a", "pailou", "of-a"]);
    // The other Gateway's proxies do not get it.
    send.send_replace(known(&[&two[..], &[route("of-b", "b")]].concat()));
    assert_eq!(names(&mut b).await, ["b", "pailou", "of-b"]);
    assert!(!a.has_changed().unwrap());
    send.send_replace(known(&[CLASS.to_owned(), gateway("b")]));
    assert_eq!(names(&mut a).await, ["nothing: it is gone"]);
    assert_eq!(names(&mut b).await, ["b", "pailou"]);
    // A Gateway without proxies is forgotten.
    drop((a, again));
    send.send_replace(known(&[CLASS.to_owned(), gateway("b"), route("more", "b")]));
    assert_eq!(names(&mut b).await, ["b", "pailou", "more"]);
    assert_eq!(reached.0.gateways.lock().len(), 1);
    task.abort();
}
