//! Limits that three gateways share by a real Redis or Valkey.

use pailou_e2e::{
    client::Call,
    gateway::{Gateway, Setup},
    limit_store::Server,
    objects, wait,
};
use pailou_sim::Sim;
use serde_json::{Value, json};

use crate::support::{everything_to, instant};

/// Time for the store's answers on a machine that does other things.
const TIMEOUT: [&str; 2] = ["--rate-limit-timeout", "5000"];

/// A Gateway whose clients may send so many requests in a day.
fn limited(engine: &Sim, requests: u64) -> Vec<Value> {
    let rules = json!([{"limit": {"requests": requests, "unit": "Day"}}]);
    vec![
        objects::gateway(),
        objects::backend("engine", &[engine.addr()]),
        objects::route("chat", everything_to(objects::to_backend("engine"))),
        objects::on_route("BackendTrafficPolicy", "chat", json!({"rateLimit": {"global": {"rules": rules}}})),
    ]
}

async fn status(gateway: &Gateway) -> u16 {
    Call::chat("m", "hello").send(gateway.http()).await.status.as_u16()
}

/// How many of so many requests, in turn to each gateway, are answered 200; all others are refused.
async fn admitted(gateways: &[Gateway], requests: usize) -> usize {
    let mut count = 0;
    for at in 0..requests {
        match status(&gateways[at % gateways.len()]).await {
            200 => count += 1,
            other => assert_eq!(other, 429),
        }
    }
    count
}

async fn until_metric(gateway: &Gateway, name: &str, wanted: f64) {
    wait::within(&format!("{name} is {wanted}"), async {
        while gateway.metric(name, &[]).await != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_on_one_store_admit_what_one_would() {
    let Some(mut server) = Server::start(&["--requirepass", "hidden-password"]) else { return };
    let engine = instant("engine", "m").await;
    let mut gateways = Vec::new();
    for _ in 0..3 {
        let setup = Setup::with(limited(&engine, 40)).args(["--rate-limit-redis-url", &server.address()]).args(TIMEOUT);
        gateways.push(setup.env("PAILOU_RATE_LIMIT_REDIS_PASSWORD", "hidden-password").serve().await);
    }
    for gateway in &gateways {
        until_metric(gateway, "pailou_rate_limit_store_replicas", 3.0).await;
    }
    assert_eq!(admitted(&gateways, 90).await, 40);
    let reply = Call::chat("m", "hello").send(gateways[0].http()).await;
    assert_eq!((reply.header("x-ratelimit-remaining"), reply.header("x-ratelimit-limit")), ("0", "40, 40;w=86400"));
    // The store dies: nobody waits, and nobody gets more than there is.
    server.kill();
    for gateway in &gateways {
        until_metric(gateway, "pailou_rate_limit_store_up", 0.0).await;
    }
    assert_eq!(admitted(&gateways, 30).await, 0);
    for gateway in &gateways {
        assert!(!gateway.stderr().contains("hidden-password") && !gateway.stdout().contains("hidden-password"));
        let shown = Call::get("/status").host("localhost").send(gateway.admin()).await.text();
        assert!(!shown.contains("each proxy counts by itself") && !shown.contains("hidden-password"), "{shown}");
    }
}

/// Of 8 requests a batch is 1, unless more are waited for: a request that counted twice would be granted 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_the_store_claims_no_more_than_it_needs() {
    let Some(server) = Server::start(&[]) else { return };
    let engine = instant("engine", "m").await;
    let setup = Setup::with(limited(&engine, 8)).args(["--rate-limit-redis-url", &server.address()]).args(TIMEOUT);
    let gateway = setup.serve().await;
    until_metric(&gateway, "pailou_rate_limit_store_up", 1.0).await;
    assert_eq!(status(&gateway).await, 200);
    let keys = server.command("KEYS pailou:limit:*");
    let key = keys.split_whitespace().find(|word| word.starts_with("pailou:limit:")).unwrap_or_else(|| panic!("{keys}"));
    let parts = server.command(&format!("HVALS {key}"));
    let granted: Vec<_> = parts.split_whitespace().filter_map(|word| word.split_once(':')).map(|(_, granted)| granted).collect();
    assert_eq!(granted, ["1"], "{parts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_gateway_configuration_names_the_store_and_a_closed_one_refuses() {
    let Some(mut server) = Server::start(&[]) else { return };
    let engine = instant("engine", "m").await;
    let address = server.address();
    let configuration = |fail_closed: bool, secret: &str| {
        let text = format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\nrateLimit:\n  backend: {{type: Redis, redis: {{urlRef: {{name: {secret}}}}}}}\n  \
             timeout: 5s\n  failClosed: {fail_closed}\n"
        );
        let namespace = "envoy-gateway-system";
        let url = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis", "namespace": namespace},
            "stringData": {"url": &address}});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ack-gateway-config", "namespace": namespace,
            "annotations": {"pailou.dev/rate-limit-key-prefix": "pailou:east:"}},
            "data": {"envoy-gateway.yaml": text}});
        [url, map]
    };
    let with = |configuration: [Value; 2]| limited(&engine, 1_000_000).into_iter().chain(configuration);
    let gateway = Setup::with(with(configuration(true, "redis"))).serve().await;
    until_metric(&gateway, "pailou_rate_limit_store_up", 1.0).await;
    assert_eq!(status(&gateway).await, 200);
    let keys = server.command("KEYS *");
    assert!(keys.contains("pailou:east:") && !keys.contains("pailou:limit:"), "{keys}");
    // A store that is not what its configuration says closes what it was to limit.
    gateway.save_objects(with(configuration(true, "none")));
    wait::within("the route is closed", async { while status(&gateway).await != 500 {} }).await;
    // The routes change first.
    let says_why = async || {
        let shown = Call::get("/status").host("localhost").send(gateway.admin()).await.text();
        shown.contains("there is no Secret envoy-gateway-system/none")
    };
    wait::within("the status says why", async { while !says_why().await {} }).await;
    gateway.save_objects(with(configuration(true, "redis")));
    wait::within("the route is open", async { while status(&gateway).await != 200 {} }).await;
    server.kill();
    until_metric(&gateway, "pailou_rate_limit_store_up", 0.0).await;
    // The gateway spends its lease first, then refuses what it cannot count. A lease of 125,000 takes long: another limit.
    gateway.save_objects(limited(&engine, 7).into_iter().chain(configuration(true, "redis")));
    wait::within("limits are closed", async { while status(&gateway).await != 500 {} }).await;
    assert_eq!(gateway.logged("a refusal", |line| line["status"] == 500 && line["flag"] == "RLSE").await["status"], 500);
    // Open ones are counted by each gateway.
    gateway.save_objects(limited(&engine, 7).into_iter().chain(configuration(false, "redis")));
    wait::within("limits are open", async { while status(&gateway).await != 200 {} }).await;
}
