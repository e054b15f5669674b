//! Mirrors, retries, circuit breakers and balancing.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::wire::{Received, Server};
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, Fault, FaultKind, Sim};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{engine, everything_to, instant, pool_of};

/// A route with these rules, the backends `a` and `b`, and further objects.
async fn serve(rules: Value, [a, b]: [&Sim; 2], more: impl IntoIterator<Item = Value>) -> Gateway {
    let mut list = vec![objects::gateway(), objects::route("r", rules)];
    list.extend([objects::backend("a", &[a.addr()]), objects::backend("b", &[b.addr()])]);
    list.extend(more);
    Setup::with(list).serve().await
}

fn mirror(to: &str, share: Value) -> Value {
    let mut mirror = json!({"backendRef": objects::to_backend(to)});
    share.as_object().unwrap().iter().for_each(|(key, value)| mirror[key] = value.clone());
    json!({"type": "RequestMirror", "requestMirror": mirror})
}

#[tokio::test]
async fn a_mirror_gets_the_body_but_no_credential_of_ours() {
    let (tell, mut told) = mpsc::unbounded_channel::<Received>();
    let copy = Server::start(move |mut wire| {
        let tell = tell.clone();
        async move {
            loop {
                let _ = tell.send(wire.request().await?);
                wire.answer(500, "{}").await?;
            }
        }
    })
    .await;
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let filter = json!({"type": "ExtensionRef", "extensionRef": {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter", "name": "inject"}});
    let inject = json!({"credentialInjection": {"overwrite": true, "credential": {"valueRef": {"name": "key"}}}});
    let more = [
        objects::backend("copy", &[copy.address]),
        objects::object("gateway.envoyproxy.io/v1alpha1", "HTTPRouteFilter", "inject", inject),
        objects::secret("key", "credential", "Bearer of-the-gateway"),
    ];
    let body = format!("{{\"model\":\"qwen\",\"prompt\":\"{}\"}}", "x".repeat(300_000));
    // Once with a body that is read anyway, once with one that streams through.
    for (matches, path) in [(objects::by_model("qwen"), CHAT), (objects::by_prefix("/files"), "/files/a")] {
        let rules = json!([{"matches": [matches], "filters": [mirror("copy", json!({})), filter], "backendRefs": [objects::to_backend("a")]}]);
        let gateway = serve(rules, [&a, &b], more.clone()).await;
        let reply = Call::json(path, body.clone()).header("x-own", "1").echo().send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.received("authorization").as_str()), (200, "Bearer of-the-gateway"));
        let copied = wait::within("the copy arrives", told.recv()).await.unwrap();
        assert!(copied.body == body.as_bytes(), "{} bytes of {}", copied.body.len(), body.len());
        assert!(copied.head.starts_with(&format!("POST {path} ")) && copied.head.contains("x-own: 1"), "{}", copied.head);
        assert!(!copied.head.contains("of-the-gateway"), "{}", copied.head);
    }
}

#[tokio::test]
async fn a_mirror_gets_its_share() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let rules = json!([
        {"matches": [objects::by_prefix("/quarter")], "filters": [mirror("b", json!({"percent": 25}))], "backendRefs": [objects::to_backend("a")]},
        {"matches": [objects::by_prefix("/half")], "filters": [mirror("b", json!({"fraction": {"numerator": 1, "denominator": 2}}))], "backendRefs": [objects::to_backend("a")]},
    ]);
    let gateway = serve(rules, [&a, &b], []).await;
    for (path, expected) in [("/quarter", 50..=155), ("/half", 140..=260)] {
        let before = b.stats().requests;
        for _ in 0..400 {
            assert_eq!(Call::get(path).echo().send(gateway.http()).await.server(), "a");
        }
        let mut seen = 0;
        let settled = async {
            while seen != b.stats().requests {
                seen = b.stats().requests;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        wait::within("the copies have arrived", settled).await;
        assert!(expected.contains(&(seen - before)), "{path}: {} of 400", seen - before);
    }
}

#[tokio::test]
async fn a_mirror_that_hangs_or_is_gone_holds_nothing_up() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    b.faults().set([FaultKind::Stall(None).into()]);
    let filters = json!([mirror("b", json!({})), mirror("gone", json!({}))]);
    let rules = json!([{"filters": filters, "backendRefs": [objects::to_backend("a")]}]);
    let gone = objects::backend("gone", &[(loopback(), 8000).into()]);
    let gateway = serve(rules, [&a, &b], [gone]).await;
    for _ in 0..20 {
        assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.server(), "a");
    }
}

#[tokio::test]
async fn retries_are_as_many_as_the_policy_says_and_no_more() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let backends = json!([objects::to_backend("a")]);
    let rules = json!([
        {"matches": [objects::by_prefix("/none")], "backendRefs": backends},
        {"matches": [objects::by_prefix("/two")], "backendRefs": backends, "retry": {"codes": [500, 503], "attempts": 2, "backoff": "10ms"}},
    ]);
    let gateway = serve(rules, [&a, &b], []).await;
    let asks = |path: &'static str, failures: u32| {
        a.faults().set([Fault::new(FaultKind::Status(500)).times(failures)]);
        let (before, to) = (a.stats().requests, gateway.http());
        let a = &a;
        async move {
            let status = Call::json(path, "{\"n\":1}").echo().send(to).await.status.as_u16();
            (status, a.stats().requests - before)
        }
    };
    assert_eq!(asks("/none", 1).await, (500, 1));
    assert_eq!(asks("/two", 2).await, (200, 3));
    assert_eq!(asks("/two", 9).await, (500, 3), "the last answer is passed on");
}

#[tokio::test]
async fn a_retry_policy_of_the_gateway_resends_the_body() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let retry = json!({"numRetries": 2, "retryOn": {"triggers": ["retriable-status-codes"], "httpStatusCodes": [502]}});
    let policy = objects::on_gateway("BackendTrafficPolicy", json!({"retry": retry}));
    let rules = json!([{"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_backend("a")]}]);
    let gateway = serve(rules, [&a, &b], [policy]).await;
    a.faults().set([Fault::new(FaultKind::Status(502)).times(2)]);
    let body = format!("{{\"model\":\"qwen\",\"p\":\"{}\"}}", "x".repeat(200_000));
    let echo = Call::json(CHAT, body.clone()).echo().send(gateway.http()).await;
    assert_eq!((echo.status.as_u16(), echo.json()["body_length"].as_u64()), (200, Some(body.len() as u64)));
    assert_eq!(a.stats().requests, 3);
}

#[tokio::test]
async fn refused_connections_are_retried_elsewhere() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let mut both = objects::backend("both", &[a.addr(), (loopback(), 8000).into()]);
    both["metadata"]["name"] = "both".into();
    let rules = json!([{"backendRefs": [objects::to_backend("both")], "retry": {"attempts": 3, "backoff": "1ms"}}]);
    let gateway = serve(rules, [&a, &b], [both]).await;
    for _ in 0..20 {
        let reply = Call::chat("qwen", "hello").send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, "a"), "{}", reply.text());
    }
}

#[tokio::test]
async fn each_try_has_its_own_clock() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let rules = json!([{
        "backendRefs": [objects::to_backend("a")], "timeouts": {"request": "20s", "backendRequest": "300ms"},
        "retry": {"codes": [504], "attempts": 1, "backoff": "1ms"},
    }]);
    let gateway = serve(rules, [&a, &b], []).await;
    a.faults().set([Fault::new(FaultKind::Stall(None)).times(1)]);
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    a.faults().set([FaultKind::Stall(None).into()]);
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 504);
}

#[tokio::test]
async fn with_limits_of_one_the_second_concurrent_request_is_refused() {
    let cost = CostModel { step_us: 20_000.0, ..CostModel::instant() };
    let sim = engine(Config { cost, ..Config::new("a", ["qwen"]) }).await;
    let breaker = json!({"circuitBreaker": {"maxConnections": 1, "maxPendingRequests": 1, "maxParallelRequests": 1}});
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.push(objects::on_route("BackendTrafficPolicy", "r", breaker));
    list.extend(pool_of("qwen", &[&sim]));
    let gateway = Setup::with(list).args(["--response-flags"]).serve().await;
    for _ in 0..3 {
        let mut first = Call::chat_stream("qwen", "hello", 2000).open(gateway.http()).await;
        assert_eq!(first.status, 200);
        first.next().await.unwrap().unwrap();
        let second = Call::chat("qwen", "hello").send(gateway.http()).await;
        assert_eq!((second.status.as_u16(), second.header("x-envoy-overloaded")), (503, "true"));
        assert_eq!(second.header("x-pailou-response-flag"), "UO");
        assert!(second.json()["error"]["message"].is_string());
        drop(first);
        wait::eventually("the first has ended", || sim.stats().running == 0).await;
        // The place is free as soon as the gateway has settled it.
        let free = async { while Call::chat("qwen", "hello").send(gateway.http()).await.status != 200 {} };
        wait::within("the next is served", free).await;
    }
}

#[tokio::test]
async fn load_is_balanced_as_asked() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let both = objects::backend("both", &[a.addr(), b.addr()]);
    let rules = json!([{"backendRefs": [objects::to_backend("both")]}]);
    let policy =
        |balancer: Value| [both.clone(), objects::on_route("BackendTrafficPolicy", "r", json!({"loadBalancer": balancer}))];

    let gateway = serve(rules.clone(), [&a, &b], policy(json!({"type": "RoundRobin"}))).await;
    let mut counts = HashMap::<String, usize>::new();
    for _ in 0..40 {
        *counts.entry(Call::get("/").echo().send(gateway.http()).await.server().to_owned()).or_default() += 1;
    }
    assert!(counts.values().all(|count| (18..=22).contains(count)), "{counts:?}");

    let by_user = json!({"type": "ConsistentHash", "consistentHash": {"type": "Header", "header": {"name": "x-user"}}});
    let gateway = serve(rules, [&a, &b], policy(by_user)).await;
    let mut homes = HashSet::new();
    for user in 0..24 {
        let ask = || Call::get("/").header("x-user", &format!("user-{user}")).echo().send(gateway.http());
        let home = ask().await.server().to_owned();
        for _ in 0..4 {
            assert_eq!(ask().await.server(), home, "user {user}");
        }
        homes.insert(home);
    }
    assert_eq!(homes.len(), 2, "users are spread");
}

#[tokio::test]
async fn an_unhealthy_endpoint_is_left_out_and_taken_back() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let both = objects::backend("both", &[a.addr(), b.addr()]);
    let active = json!({"type": "HTTP", "interval": "100ms", "timeout": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1, "http": {"path": "/echo"}});
    let health = objects::on_route("BackendTrafficPolicy", "r", json!({"healthCheck": {"active": active}}));
    let gateway = serve(json!([{"backendRefs": [objects::to_backend("both")]}]), [&a, &b], [both, health]).await;
    let servers = || async {
        let mut servers = HashSet::new();
        for _ in 0..24 {
            servers.insert(Call::get("/").header("x-sim-echo", "1").send(gateway.http()).await.server().to_owned());
        }
        servers
    };
    b.faults().set([Fault::new(FaultKind::Status(500)).path("/echo")]);
    let left_out = async { while servers().await.contains("b") {} };
    wait::within("the unhealthy one is left out", left_out).await;
    b.faults().clear();
    let back = async { while !servers().await.contains("b") {} };
    wait::within("it is taken back", back).await;
}
