//! Limits whose store has a say.

use std::{sync::Arc, time::Duration};

use pailou_limits::CounterQuery;
use pailou_snapshot::LimitStore;
use tokio::net::TcpListener;

use super::{Engine, TO_ENGINE, call, policy, status};
use crate::support::objects::{GATEWAY, Gateway, backend, route};

#[tokio::test]
async fn a_request_that_waits_for_the_store_is_charged_once_by_every_limit() {
    // The system takes the connection, and nobody says a word on it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = LimitStore::parse(&format!("redis://{}", silent.local_addr().unwrap())).unwrap();
    let limit = "{local: {rules: [{limit: {requests: 7, unit: Year}}]}, global: {rules: [{limit: {requests: 6, unit: Year}, shadowMode: \
                 true}, {limit: {requests: 9, unit: Year}}, {limit: {requests: 8, unit: Month}}]}}";
    let mut engine = Engine::start().await;
    let objects = [route(TO_ENGINE), backend("engine", engine.address, ""), policy(limit)].concat();
    let mut gateway = Gateway::serve(&objects);
    gateway.settings.limit_store = Some(Arc::new(LimitStore { timeout: Duration::from_millis(50), ..store }));
    gateway.update(&[GATEWAY, &objects].concat());
    let request = call("");
    let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
    assert_eq!(status(&answer), "200", "{answer}");
    let mut spent: Vec<_> = gateway.proxy.limits(&CounterQuery::default()).iter().map(|it| (it.limit, it.spent)).collect();
    spent.sort_unstable();
    // The shadow's limit waits for nothing, and is charged before the others are waited for.
    assert_eq!(spent, [(6, 1), (7, 1), (8, 1), (9, 1)]);
    let bypassed = gateway.metric("pailou_rate_limit_store_bypassed{process=\"pailou\"}");
    assert!(bypassed > 0.0, "the store had a say");
}

#[tokio::test]
async fn a_client_that_leaves_while_a_backends_limit_waits_costs_it_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = LimitStore::parse(&format!("redis://{}", silent.local_addr().unwrap())).unwrap();
    let limits = "{global: {rules: [{limit: {requests: 6, unit: Year}, shadowMode: true}, {limit: {requests: 9, unit: Year}}]}}";
    let engine = Engine::start().await;
    let metadata = format!("metadata: {{name: engine, annotations: {{pailou.dev/rate-limit: \"{limits}\"}}}}");
    let limited = backend("engine", engine.address, "").replace("metadata: {name: engine}", &metadata);
    let objects = [route(TO_ENGINE), limited].concat();
    let mut gateway = Gateway::serve(&objects);
    // Longer than the test: only the client ends the wait.
    gateway.settings.limit_store = Some(Arc::new(LimitStore { timeout: Duration::from_secs(3600), ..store }));
    gateway.update(&[GATEWAY, &objects].concat());
    let spent = |gateway: &Gateway| -> u64 { gateway.proxy.limits(&CounterQuery::default()).iter().map(|it| it.spent).sum() };
    let request = call("");
    {
        let mut answer = std::pin::pin!(gateway.raw(&request));
        while spent(&gateway) == 0 {
            tokio::select! {
                answer = &mut answer => panic!("nobody answers: {answer}"),
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
        }
    }
    while spent(&gateway) > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
