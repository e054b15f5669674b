//! Leader election.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time;

use crate::cluster::{GATEWAYS, LEASES, cluster, condition, gateway, published, start, until, writes};

#[tokio::test(start_paused = true)]
async fn a_follower_knows_everything_and_does_not_write_until_it_leads() {
    let api = cluster();
    let first = start(&api, "a");
    until("the first leads", || first.leadership().leads()).await;
    until("the Gateway has a status", || !api.get(GATEWAYS, "default/g")["status"].is_null()).await;
    let second = start(&api, "b");
    until("the second knows everything", || second.known().borrow().is_some()).await;
    assert!(!second.leadership().leads());
    until("the second knows who leads", || *second.leader().borrow() == "a").await;
    assert_eq!(*first.leader().borrow(), "a");
    assert!(published(&second).is_none(), "nobody needs what it would compile");
    first.stop().await;
    assert_eq!(api.get(LEASES, "pailou/pailou-controller")["spec"]["holderIdentity"], json!(null));
    // Something changes while nobody leads: the new leader writes what is missing.
    api.apply(GATEWAYS, gateway("later", "pailou"));
    until("the second leads", || second.leadership().leads()).await;
    assert_eq!(*second.leader().borrow(), "b");
    until("the later Gateway is accepted", || {
        condition(&api.get(GATEWAYS, "default/later")["status"]["conditions"], "Accepted")["status"] == "True"
    })
    .await;
    let lease = api.get(LEASES, "pailou/pailou-controller")["spec"].clone();
    assert_eq!((&lease["holderIdentity"], &lease["leaseTransitions"]), (&json!("b"), &json!(1)));
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_the_lease_stops_writing() {
    let api = cluster();
    let controller = start(&api, "a");
    until("it leads", || controller.leadership().leads()).await;
    until("the route has a status", || writes(&api) >= 3).await;
    api.script(Method::PUT, "/leases/pailou-controller", &[500; 1_000]);
    until("it does not lead", || !controller.leadership().leads()).await;
    until("it names nobody as who leads", || controller.leader().borrow().is_empty()).await;
    let before = writes(&api);
    api.apply(GATEWAYS, gateway("later", "pailou"));
    let knows = || controller.known().borrow().as_ref().is_some_and(|it| it.store.iter().any(|(key, _)| key.name == "later"));
    until("it knows", knows).await;
    until("what it compiled is gone", || published(&controller).is_none()).await;
    time::sleep(Duration::from_millis(300)).await;
    assert_eq!(writes(&api), before);
    api.script(Method::PUT, "/leases/pailou-controller", &[]);
    until("the later Gateway has a status", || !api.get(GATEWAYS, "default/later")["status"].is_null()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_is_taken_after_its_duration_and_not_before() {
    let api = cluster();
    let spec = json!({ "holderIdentity": "gone", "leaseDurationSeconds": 1, "leaseTransitions": 4 });
    api.apply(LEASES, json!({ "metadata": { "name": "pailou-controller", "namespace": "pailou" }, "spec": spec }));
    let start_time = time::Instant::now();
    let controller = start(&api, "a");
    until("it leads", || controller.leadership().leads()).await;
    assert!(start_time.elapsed() >= Duration::from_secs(1), "{:?}", start_time.elapsed());
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_read_again_only_where_another_has_written_or_deleted_it() {
    let api = cluster();
    let controller = start(&api, "a");
    until("it leads", || controller.leadership().leads()).await;
    let count = |method: Method| api.requests(&method, "/leases/").len();
    let (read, written) = (count(Method::GET), count(Method::PUT));
    until("it is renewed", || count(Method::PUT) >= written + 3).await;
    assert_eq!(count(Method::GET), read);
    api.delete(LEASES, "pailou/pailou-controller");
    until("it is made anew", || api.get(LEASES, "pailou/pailou-controller")["spec"]["holderIdentity"] == "a").await;
    assert!(controller.leadership().leads());
    let mut taken = api.get(LEASES, "pailou/pailou-controller");
    taken["spec"]["holderIdentity"] = "b".into();
    taken["spec"]["leaseDurationSeconds"] = 600.into();
    api.apply(LEASES, taken);
    until("it does not lead", || !controller.leadership().leads()).await;
    assert_eq!(api.get(LEASES, "pailou/pailou-controller")["spec"]["holderIdentity"], "b");
    controller.stop().await;
}
