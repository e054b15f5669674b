//! Requests that wait in the gateway while a pool is saturated. Each engine has room for one request.

use std::net::SocketAddr;

use pailou_e2e::client::{CHAT, Call, Open, Reply};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::picker::Picker;
use pailou_e2e::{objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, Fault, FaultKind, Sim};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{engine, everything_to, pool_of};

const REASON: &str = "x-llm-d-request-dropped-reason";
const OBJECTIVE: &str = "x-gateway-inference-objective";
const FAIRNESS_ID: &str = "x-llm-d-inference-fairness-id";
const TTL: &str = "x-llm-d-inference-ttl";

/// An engine that runs one request at a time, a token in 10 ms.
async fn slow() -> Sim {
    let cost = CostModel { step_us: 10_000.0, ..CostModel::instant() };
    engine(Config { cost, max_num_seqs: 1, ..Config::new("a", ["qwen"]) }).await
}

/// The pool `qwen` of these engines, whose requests wait on these terms.
fn queueing_pool(engines: &[&Sim], terms: &[(&str, &str)]) -> Vec<Value> {
    let mut list = pool_of("qwen", engines);
    list[0]["metadata"]["annotations"] = json!({"pailou.dev/queueing": "true", "pailou.dev/queue-max-concurrency": "1"});
    for (name, value) in terms {
        list[0]["metadata"]["annotations"][format!("pailou.dev/{name}")] = (*value).into();
    }
    list.extend([("urgent", 10), ("batch", -5)].map(|(name, priority)| {
        let spec = json!({"priority": priority, "poolRef": {"name": "qwen"}});
        objects::object("inference.networking.x-k8s.io/v1alpha2", "InferenceObjective", name, spec)
    }));
    list
}

fn objects_of(engines: &[&Sim], terms: &[(&str, &str)]) -> Vec<Value> {
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(queueing_pool(engines, terms));
    list
}

async fn serve(engines: &[&Sim], terms: &[(&str, &str)]) -> Gateway {
    Setup::with(objects_of(engines, terms)).serve().await
}

/// Holds the only place of an engine until it is dropped.
async fn hold(to: SocketAddr) -> Open {
    let open = Call::chat_stream("qwen", "hold the engine", 2000).open(to).await;
    assert_eq!(open.status, 200);
    open
}

/// A short request with this text.
fn short(text: &str) -> Call {
    let messages = json!([{"role": "user", "content": text}]);
    Call::json(CHAT, json!({"model": "qwen", "max_tokens": 1, "messages": messages}).to_string())
}

async fn waiting(gateway: &Gateway) -> f64 {
    gateway.metric("pailou_queue_requests", &[]).await
}

async fn waits(gateway: &Gateway, number: usize) {
    let so_many = async { while waiting(gateway).await != number as f64 {} };
    wait::within(&format!("{number} wait"), so_many).await;
}

async fn outcomes(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metric("pailou_queue_outcomes_total", &[&format!("outcome=\"{outcome}\"")]).await
}

/// Sends requests, each once the one before waits.
async fn enqueue(gateway: &Gateway, calls: impl IntoIterator<Item = Call>) -> Vec<JoinHandle<Reply>> {
    let mut sent = Vec::new();
    let before = waiting(gateway).await as usize;
    for call in calls {
        sent.push(tokio::spawn(call.send(gateway.http())));
        waits(gateway, before + sent.len()).await;
    }
    sent
}

async fn all_succeed(sent: Vec<JoinHandle<Reply>>) {
    for reply in sent {
        let reply = wait::within("an answer", reply).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// Ids of those that have waited, as they ended.
fn order(gateway: &Gateway) -> Vec<String> {
    let waited = gateway.access_log().into_iter().filter(|line| line["queue_ms"].is_number());
    waited.map(|line| line["request_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_higher_priority_goes_first() {
    let sim = slow().await;
    let gateway = serve(&[&sim], &[]).await;
    let held = hold(gateway.http()).await;
    let call = |id: &str, objective: &str| {
        let call = short(id).header("x-request-id", id);
        if objective.is_empty() { call } else { call.header(OBJECTIVE, objective) }
    };
    let calls = [("batch", "batch"), ("standard", ""), ("urgent", "urgent"), ("urgent-too", "urgent")];
    let sent = enqueue(&gateway, calls.map(|(id, objective)| call(id, objective))).await;
    assert_eq!((sim.stats().running, sim.stats().waiting), (1, 0), "none waits at the engine");
    assert_eq!(gateway.metric("pailou_queue_requests", &["priority=\"10\""]).await, 2.0);
    assert!(gateway.metric("pailou_queue_oldest_wait_seconds", &["priority=\"-5\""]).await > 0.0);
    drop(held);
    all_succeed(sent).await;
    gateway.logged("the last", |line| line["request_id"] == "batch").await;
    let ids = |line: &Value| ["batch", "standard", "urgent", "urgent-too"].contains(&line["request_id"].as_str().unwrap_or(""));
    let order: Vec<_> = gateway.access_log().into_iter().filter(ids).map(|line| line["request_id"].clone()).collect();
    assert_eq!(order, ["urgent", "urgent-too", "standard", "batch"]);
    assert_eq!(outcomes(&gateway, "dispatched").await, 4.0);
    assert_eq!(gateway.metric("pailou_queue_wait_seconds_count", &[]).await, 4.0);
    assert_eq!(waiting(&gateway).await, 0.0);
}

#[tokio::test]
async fn a_flow_of_large_requests_does_not_hold_up_one_of_small_ones() {
    let sim = slow().await;
    let gateway = serve(&[&sim], &[]).await;
    let held = hold(gateway.http()).await;
    let large = (0..4)
        .map(|number| short(&"word ".repeat(2000)).header(FAIRNESS_ID, "large").header("x-request-id", &format!("large-{number}")));
    let small = (0..8).map(|number| short("hi").header(FAIRNESS_ID, "small").header("x-request-id", &format!("small-{number}")));
    let sent = enqueue(&gateway, large.chain(small)).await;
    assert_eq!(gateway.metric("pailou_queue_flows", &[]).await, 2.0);
    drop(held);
    all_succeed(sent).await;
    let all = || order(&gateway).len() == 12;
    wait::eventually("all are logged", all).await;
    let order = order(&gateway);
    let place = |id: &str| order.iter().position(|it| it == id).unwrap();
    assert!((0..8).all(|number| place(&format!("small-{number}")) < place("large-1")), "{order:?}");
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_costs_nothing() {
    let sim = slow().await;
    let gateway = serve(&[&sim], &[]).await;
    let held = hold(gateway.http()).await;
    let sent = enqueue(&gateway, (0..3).map(|_| short("hello"))).await;
    sent.iter().take(2).for_each(JoinHandle::abort);
    waits(&gateway, 1).await;
    let line = gateway.logged("one that left", |line| line["flag"] == "DC" && line["queue_ms"].is_number()).await;
    assert!(line["endpoint"].is_null(), "{line}");
    assert_eq!(outcomes(&gateway, "rejected-context-cancelled").await, 2.0);
    drop(held);
    let [_, _, last] = <[_; 3]>::try_from(sent).unwrap();
    assert_eq!(wait::within("the other's answer", last).await.unwrap().status, 200);
    assert_eq!(gateway.metric("pailou_endpoint_requests_active", &[]).await, 0.0);
}

#[tokio::test]
async fn a_client_that_authenticates_takes_one_turn_however_many_ids_it_invents() {
    let sim = slow().await;
    let mut list = objects_of(&[&sim], &[]);
    let auth = json!({"credentialRefs": [{"name": "keys"}], "extractFrom": [{"headers": ["x-api-key"]}]});
    list.push(objects::on_route("SecurityPolicy", "r", json!({"apiKeyAuth": auth})));
    let mut keys = objects::secret("keys", "greedy", "key-1");
    keys["stringData"] = json!({"greedy": "key-1", "modest": "key-2"});
    list.push(keys);
    let gateway = Setup::with(list).serve().await;
    let with_key = |call: Call, key: &str| call.header("x-api-key", key);
    let held = with_key(Call::chat_stream("qwen", "hold the engine", 2000), "key-1").open(gateway.http()).await;
    let greedy = (0..8).map(|number| {
        let id = format!("greedy-{number}");
        with_key(short("hello"), "key-1").header(FAIRNESS_ID, &id).header("x-request-id", &id)
    });
    let modest = (0..2).map(|number| with_key(short("hello"), "key-2").header("x-request-id", &format!("modest-{number}")));
    let sent = enqueue(&gateway, greedy.chain(modest)).await;
    assert_eq!(gateway.metric("pailou_queue_flows", &[]).await, 2.0);
    drop(held);
    all_succeed(sent).await;
    wait::eventually("all are logged", || order(&gateway).len() == 10).await;
}

#[tokio::test]
async fn a_user_with_a_password_takes_one_turn_however_many_ids_it_invents() {
    let sim = slow().await;
    let mut list = objects_of(&[&sim], &[]);
    list.push(objects::on_route("SecurityPolicy", "r", json!({"basicAuth": {"users": {"name": "users"}}})));
    // The SHA-1 of "password".
    list.push(objects::secret("users", ".htpasswd", "greedy:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"));
    let gateway = Setup::with(list).serve().await;
    // "greedy:password"
    let login = |call: Call| call.header("authorization", "Basic Z3JlZWR5OnBhc3N3b3Jk");
    let held = login(Call::chat_stream("qwen", "hold the engine", 2000)).open(gateway.http()).await;
    let calls = (0..4).map(|number| login(short("hello")).header(FAIRNESS_ID, &number.to_string()));
    let sent = enqueue(&gateway, calls).await;
    assert_eq!(gateway.metric("pailou_queue_flows", &[]).await, 1.0);
    drop(held);
    all_succeed(sent).await;
}

#[tokio::test]
async fn a_retry_at_a_pool_that_it_has_not_been_to_waits_behind_those_that_do() {
    let (sim, broken) = (slow().await, slow().await);
    broken.faults().set([Fault::new(FaultKind::Status(502)).path("/v1/")]);
    let weighted = |mut backend: Value, weight: u32| {
        backend["weight"] = weight.into();
        backend
    };
    // Nearly every request goes to the broken one first.
    let backends = json!([weighted(objects::to_backend("broken"), 100_000), weighted(objects::to_pool("qwen"), 1)]);
    let rules = json!([{"backendRefs": backends, "retry": {"codes": [502], "attempts": 1, "backoff": "1ms"}}]);
    let mut list = vec![objects::gateway(), objects::route("r", rules), objects::backend("broken", &[broken.addr()])];
    list.extend(queueing_pool(&[&sim], &[]));
    let gateway = Setup::with(list).serve().await;
    let held = hold(gateway.http()).await;
    let sent = enqueue(&gateway, (0..4).map(|_| short("hello"))).await;
    drop(held);
    all_succeed(sent).await;
    assert!(broken.stats().requests >= 1);
}

/// Checks a refusal, and that it is in the words of the API that was called.
fn is_refused(reply: &Reply, status: u16, reason: &str) {
    assert_eq!((reply.status.as_u16(), reply.header(REASON)), (status, reason), "{}", reply.text());
    assert!(reply.json()["error"]["message"].is_string());
    if status == 429 {
        assert!((1..=60).contains(&reply.header("retry-after").parse::<u32>().unwrap()));
    }
}

#[tokio::test]
async fn what_waits_too_long_or_finds_no_room_is_refused_with_the_reason() {
    let sim = slow().await;
    let gateway = serve(&[&sim], &[("queue-max-requests", "1"), ("queue-max-bytes", "1Ki")]).await;
    let _held = hold(gateway.http()).await;
    is_refused(&short("hello").header(TTL, "40").send(gateway.http()).await, 429, "rejected-ttl-expired");
    let line = gateway.logged("it", |line| line["flag"] == "SH").await;
    assert!(line["queue_ms"].as_f64().unwrap() >= 40.0, "{line}");
    is_refused(&short(&"long ".repeat(300)).send(gateway.http()).await, 429, "rejected-saturated");
    let _waits = enqueue(&gateway, [short("hello")]).await;
    is_refused(&short("hello").send(gateway.http()).await, 429, "rejected-saturated");
    let other = short("hello").header(OBJECTIVE, "batch").header(TTL, "0").send(gateway.http()).await;
    is_refused(&other, 429, "rejected-ttl-expired");
}

#[tokio::test]
async fn a_routes_timeout_ends_the_wait_and_is_no_client_that_left() {
    let sim = slow().await;
    let backends = json!([objects::to_pool("qwen")]);
    let hasty = json!({"headers": [{"name": "x-hasty", "value": "1"}]});
    let rules = json!([{"matches": [hasty], "backendRefs": backends, "timeouts": {"request": "50ms"}}, {"backendRefs": backends}]);
    let mut list = vec![objects::gateway(), objects::route("r", rules)];
    list.extend(queueing_pool(&[&sim], &[]));
    let gateway = Setup::with(list).serve().await;
    let _held = hold(gateway.http()).await;
    is_refused(&short("hello").header("x-hasty", "1").send(gateway.http()).await, 504, "rejected-request-timeout");
    assert_eq!(outcomes(&gateway, "rejected-request-timeout").await, 1.0);
    assert_eq!(outcomes(&gateway, "rejected-context-cancelled").await, 0.0);
}

#[tokio::test]
async fn a_pools_timeout_holds_for_clients_that_would_wait_longer() {
    let sim = slow().await;
    let gateway = serve(&[&sim], &[("queue-timeout", "50ms")]).await;
    let _held = hold(gateway.http()).await;
    is_refused(&short("hello").header(TTL, "1h").send(gateway.http()).await, 429, "rejected-ttl-expired");
}

#[tokio::test]
async fn an_empty_pool_is_waited_for() {
    let sim = slow().await;
    let gateway = serve(&[], &[]).await;
    is_refused(&short("hello").header(TTL, "20ms").send(gateway.http()).await, 503, "rejected-no-endpoints");
    let sent = enqueue(&gateway, [short("hello")]).await;
    gateway.save_objects(objects_of(&[&sim], &[]));
    all_succeed(sent).await;
}

#[tokio::test]
async fn requests_go_although_an_engine_never_tells_its_load() {
    let sim = slow().await;
    sim.faults().set([Fault::new(FaultKind::Stall(None)).path("/metrics")]);
    let gateway = serve(&[&sim], &[]).await;
    let held = hold(gateway.http()).await;
    let sent = enqueue(&gateway, (0..20).map(|_| short("hello"))).await;
    drop(held);
    all_succeed(sent).await;
    assert_eq!(gateway.metric("pailou_engine_metrics_fresh", &[]).await, 0.0);
    assert_eq!(sim.stats().waiting, 0);
}

#[tokio::test]
async fn a_reload_keeps_those_that_wait() {
    let sim = slow().await;
    let gateway = serve(&[&sim], &[]).await;
    let held = hold(gateway.http()).await;
    let sent = enqueue(&gateway, (0..3).map(|_| short("hello"))).await;
    let mut changed = objects_of(&[&sim], &[("queue-max-requests", "3")]);
    changed.push(objects::host_route("marker", &["marker.test"], everything_to(objects::to_pool("qwen"))));
    gateway.save_objects(changed);
    // The new bound is in force.
    let refused =
        async { while short("hello").header(TTL, "1ms").send(gateway.http()).await.header(REASON) != "rejected-saturated" {} };
    wait::within("the new settings", refused).await;
    assert_eq!(waiting(&gateway).await, 3.0);
    drop(held);
    all_succeed(sent).await;
}

#[tokio::test]
async fn the_end_of_a_drain_refuses_those_that_wait() {
    let sim = slow().await;
    let mut gateway = Setup::with(objects_of(&[&sim], &[])).args(["--drain", "1"]).serve().await;
    let _held = hold(gateway.http()).await;
    let [sent] = <[_; 1]>::try_from(enqueue(&gateway, [short("hello")]).await).unwrap();
    gateway.signal("TERM");
    is_refused(&wait::within("its refusal", sent).await.unwrap(), 503, "rejected-shutting-down");
    gateway.ended().await;
}

#[tokio::test]
async fn a_picker_for_other_gateways_queues_alike() {
    let sim = slow().await;
    let picker = Picker::serve("qwen", queueing_pool(&[&sim], &[]), &[]).await;
    let gateway = crate::picker::gateway(&[&sim], &picker, "FailClose", []).await;
    let held = hold(gateway.http()).await;
    is_refused(&short("hello").header(TTL, "20ms").send(gateway.http()).await, 429, "rejected-ttl-expired");
    let send = |call: Call| tokio::spawn(call.send(gateway.http()));
    let so_many = async |number: f64| while picker.metric("pailou_queue_requests", &[]).await != number {};
    let left = send(short("hello"));
    wait::within("it waits", so_many(1.0)).await;
    left.abort();
    wait::within("the client that left waits no more", so_many(0.0)).await;
    let sent = send(short("hello").header(OBJECTIVE, "urgent"));
    wait::within("another waits", so_many(1.0)).await;
    assert_eq!(picker.metric("pailou_queue_requests", &["priority=\"10\""]).await, 1.0);
    drop(held);
    all_succeed(vec![sent]).await;
    assert_eq!(picker.metric("pailou_queue_outcomes_total", &["outcome=\"dispatched\""]).await, 1.0);
}

#[tokio::test]
async fn a_circuit_breaker_counts_requests_once_they_leave_the_queue() {
    let sim = slow().await;
    let mut list = objects_of(&[&sim], &[]);
    list.push(objects::on_route("BackendTrafficPolicy", "r", json!({"circuitBreaker": {"maxParallelRequests": 1}})));
    let gateway = Setup::with(list).serve().await;
    let held = hold(gateway.http()).await;
    let sent = enqueue(&gateway, (0..3).map(|_| short("hello"))).await;
    drop(held);
    all_succeed(sent).await;
}

/// The gateway cannot know that this picker has a queue: it may as well hang.
#[tokio::test]
async fn a_circuit_breaker_bounds_requests_at_a_picker_that_is_not_said_to_queue() {
    let sim = slow().await;
    let picker = Picker::serve("qwen", queueing_pool(&[&sim], &[]), &[]).await;
    let breaker = objects::on_route("BackendTrafficPolicy", "r", json!({"circuitBreaker": {"maxParallelRequests": 2}}));
    let gateway = crate::picker::gateway(&[&sim], &picker, "FailClose", [breaker]).await;
    let held = hold(gateway.http()).await;
    let sent = tokio::spawn(short("hello").send(gateway.http()));
    let waits = async { while picker.metric("pailou_queue_requests", &[]).await != 1.0 {} };
    wait::within("it waits at the picker", waits).await;
    let refused = wait::within("its refusal", short("hello").send(gateway.http())).await;
    assert_eq!((refused.status.as_u16(), refused.header("x-envoy-overloaded")), (503, "true"), "{}", refused.text());
    drop(held);
    all_succeed(vec![sent]).await;
}

#[tokio::test]
async fn a_user_with_a_password_has_one_flow_in_a_picker_for_other_gateways_too() {
    let sim = slow().await;
    let picker = Picker::serve("qwen", queueing_pool(&[&sim], &[]), &[]).await;
    let auth = json!({"basicAuth": {"users": {"name": "users"}, "forwardUsernameHeader": FAIRNESS_ID}});
    let policy = objects::on_route("SecurityPolicy", "r", auth);
    // The SHA-1 of "password".
    let passwords = "greedy:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nmodest:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n";
    let users = objects::secret("users", ".htpasswd", passwords);
    let gateway = crate::picker::gateway(&[&sim], &picker, "FailClose", [policy, users]).await;
    // "greedy:password", "modest:password"
    let [greedy, modest] = ["Z3JlZWR5OnBhc3N3b3Jk", "bW9kZXN0OnBhc3N3b3Jk"].map(|login| format!("Basic {login}"));
    let held = Call::chat_stream("qwen", "hold the engine", 2000).header("authorization", &greedy).open(gateway.http()).await;
    assert_eq!(held.status, 200);
    let so_many = async |number: usize| while picker.metric("pailou_queue_requests", &[]).await != number as f64 {};
    let mut sent = Vec::new();
    for (login, invented) in [(&greedy, "1"), (&greedy, "2"), (&greedy, "modest"), (&modest, "greedy")] {
        let call = short("hello").header("authorization", login).header(FAIRNESS_ID, invented);
        sent.push(tokio::spawn(call.send(gateway.http())));
        wait::within("it waits", so_many(sent.len())).await;
        let flows = if sent.len() < 4 { 1.0 } else { 2.0 };
        assert_eq!(picker.metric("pailou_queue_flows", &[]).await, flows, "after {}", sent.len());
    }
    drop(held);
    all_succeed(sent).await;
}

#[tokio::test]
async fn the_overview_shows_who_waits() {
    let sim = slow().await;
    let gateway = serve(&[&sim], &[]).await;
    let held = hold(gateway.http()).await;
    let call = |flow: &str, objective: &str| short("hello").header(FAIRNESS_ID, flow).header(OBJECTIVE, objective);
    let calls = [call("a", "urgent"), call("b", "batch"), call("b", "batch"), call("c", "batch")];
    let sent = enqueue(&gateway, calls).await;
    let overview = Call::get("/overview").host("localhost").send(gateway.admin()).await.json();
    let levels = overview["pools"][0]["queue"]["levels"].as_array().unwrap();
    assert_eq!((&levels[0]["priority"], &levels[1]["requests"]), (&json!(10), &json!(3)));
    let flows: Vec<_> = levels[1]["flows"].as_array().unwrap().iter().map(|flow| (&flow["name"], &flow["requests"])).collect();
    assert_eq!(flows, [(&json!("b"), &json!(2)), (&json!("c"), &json!(1))]);
    assert!(levels[1]["oldestWaitSeconds"].as_f64().unwrap() > 0.0 && levels[1]["flowsOmitted"] == 0);
    drop(held);
    all_succeed(sent).await;
}
