//! InferencePools: which replica gets a request, under which name, and what happens when it cannot take it.

use std::collections::HashMap;
use std::time::Duration;

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, Fault, FaultKind, Sim};
use serde_json::{Value, json};

use crate::support::{engine, everything_to, instant, pool_of};

/// The pool `qwen` of these engines behind everything, with further objects.
async fn serve(engines: &[&Sim], more: impl IntoIterator<Item = Value>) -> Gateway {
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", engines));
    list.extend(more);
    Setup::with(list).serve().await
}

async fn two() -> [Sim; 2] {
    [instant("a", "qwen").await, instant("b", "qwen").await]
}

/// How many of `number` requests each engine answered.
async fn spread(gateway: &Gateway, number: usize, call: impl Fn(usize) -> Call) -> HashMap<String, usize> {
    let mut spread = HashMap::new();
    for index in 0..number {
        let reply = call(index).send(gateway.http()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        *spread.entry(reply.server().to_owned()).or_default() += 1;
    }
    spread
}

#[tokio::test]
async fn idle_replicas_share_the_work() {
    let [a, b] = two().await;
    let gateway = serve(&[&a, &b], []).await;
    let spread = spread(&gateway, 60, |index| Call::chat("qwen", &format!("question {index}"))).await;
    assert!(spread.values().all(|&count| count >= 12) && spread.len() == 2, "{spread:?}");
}

#[tokio::test]
async fn a_busy_replica_is_passed_over() {
    let slow = CostModel { step_us: 50_000.0, ..CostModel::instant() };
    let replica = |name: &str| engine(Config { cost: slow, ..Config::new(name, ["qwen"]) });
    let (a, b) = (replica("a").await, replica("b").await);
    let gateway = serve(&[&a, &b], []).await;
    let first = Call::chat_stream("qwen", "keep one busy", 2000).open(gateway.http()).await;
    let busy = first.headers["x-sim-server"].to_str().unwrap().to_owned();
    for index in 0..6 {
        let reply = Call::json(
            CHAT,
            json!({"model": "qwen", "max_tokens": 1, "messages": [{"role": "user", "content": index.to_string()}]}).to_string(),
        );
        let reply = reply.send(gateway.http()).await;
        assert_ne!(reply.server(), busy, "request {index}");
    }
}

#[tokio::test]
async fn a_refused_connection_or_a_503_moves_on_within_the_request() {
    let [a, b] = two().await;
    let gateway = serve(&[&a, &b], []).await;
    let chat = |index: usize| Call::chat("qwen", &format!("question {index}"));
    b.faults().set([Fault::new(FaultKind::Status(503)).path("/v1/")]);
    assert_eq!(spread(&gateway, 20, chat).await, HashMap::from([("a".to_owned(), 20)]), "503");
    b.kill().await;
    assert_eq!(spread(&gateway, 20, chat).await, HashMap::from([("a".to_owned(), 20)]), "refused");
    let log = gateway.logged("a request that took two attempts", |line| line["attempts"] == 2).await;
    assert_eq!(log["status"], 200);
}

#[tokio::test]
async fn a_replica_that_fails_its_health_check_is_not_picked_unless_all_do() {
    let [a, b] = two().await;
    let active = json!({"type": "HTTP", "interval": "100ms", "timeout": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1, "http": {"path": "/echo"}});
    let health = objects::on_route("BackendTrafficPolicy", "r", json!({"healthCheck": {"active": active}}));
    let gateway = serve(&[&a, &b], [health]).await;
    let both = async || spread(&gateway, 24, |index| Call::chat("qwen", &format!("question {index}"))).await;
    let fails = || [Fault::new(FaultKind::Status(500)).path("/echo")];
    b.faults().set(fails());
    wait::within("the unhealthy one is left out", async { while both().await.contains_key("b") {} }).await;
    a.faults().set(fails());
    wait::within("both are used where neither is healthy", async { while both().await.len() < 2 {} }).await;
    for engine in [&a, &b] {
        engine.faults().clear();
    }
    wait::within("both are taken back", async { while both().await.len() < 2 {} }).await;
}

#[tokio::test]
async fn a_stream_that_dies_before_its_content_comes_from_elsewhere() {
    let [a, b] = two().await;
    let gateway = serve(&[&a, &b], []).await;
    // One chunk is the role; the first content would have come with the next.
    b.faults().set([Fault::new(FaultKind::Reset(Some(1))).path("/v1/")]);
    for index in 0..16 {
        let reply = Call::chat_stream("qwen", &format!("question {index}"), 5).send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, "a"));
        assert_eq!(reply.text().matches("\"role\":\"assistant\"").count(), 1, "begun once");
        assert!(reply.text().ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn when_every_replica_says_503_the_client_hears_it() {
    let [a, b] = two().await;
    let gateway = serve(&[&a, &b], []).await;
    for sim in [&a, &b] {
        sim.faults().set([Fault::new(FaultKind::Status(503)).path("/v1/")]);
    }
    let reply = Call::chat("qwen", "hello").send(gateway.http()).await;
    assert_eq!(reply.status, 503);
    assert!(["a", "b"].contains(&reply.server()), "an engine's own words");
}

#[tokio::test]
async fn an_empty_pool_answers_503() {
    let gateway = serve(&[], []).await;
    let reply = Call::chat("qwen", "hello").send(gateway.http()).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.json()["error"]["message"].is_string());
    let mut unready = objects::pod("qwen-0", "qwen", loopback());
    unready["status"]["conditions"][0]["status"] = "False".into();
    let mut terminating = objects::pod("qwen-1", "qwen", loopback());
    terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let gateway = serve(&[], [unready, terminating]).await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 503, "neither counts");
}

#[tokio::test]
async fn pods_come_and_go_while_it_serves() {
    let [a, b] = two().await;
    let gateway = serve(&[&a], []).await;
    let chat = |index: usize| Call::chat("qwen", &format!("question {index}"));
    assert_eq!(spread(&gateway, 5, chat).await.len(), 1);
    let with = |engines: &[&Sim]| {
        let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
        list.extend(pool_of("qwen", engines));
        list
    };
    gateway.save_objects(with(&[&a, &b]));
    let joined = async { while spread(&gateway, 20, chat).await.len() < 2 {} };
    wait::within("the new pod is used", joined).await;
    gateway.save_objects(with(&[&b]));
    let left = async { while spread(&gateway, 20, chat).await.contains_key("a") {} };
    wait::within("the old pod is not", left).await;
}

#[tokio::test]
async fn saturated_pools_shed_what_can_wait_and_serve_what_is_critical() {
    let cost = CostModel { step_us: 30_000.0, ..CostModel::instant() };
    let small = Config { cost, max_num_seqs: 1, models: vec!["critical".into(), "batch".into()], ..Config::new("a", ["qwen"]) };
    let sim = engine(small).await;
    let model = |name: &str, criticality: &str| {
        let spec = json!({"modelName": name, "criticality": criticality, "poolRef": {"name": "qwen"}});
        objects::object("inference.networking.x-k8s.io/v1alpha2", "InferenceModel", name, spec)
    };
    let gateway = serve(&[&sim], [model("critical", "Critical"), model("batch", "Sheddable")]).await;
    let mut held = Vec::new();
    for _ in 0..24 {
        let to = gateway.http();
        held.push(tokio::spawn(async move { Call::chat_stream("critical", "hold the engine", 2000).open(to).await.rest().await }));
    }
    wait::eventually("the engine's queue is long", || sim.stats().waiting >= 20).await;
    let shed = async {
        loop {
            let reply = Call::chat("batch", "whenever").try_send(gateway.http());
            match tokio::time::timeout(Duration::from_secs(1), reply).await {
                Ok(reply) => return reply.unwrap(),
                // Not yet known to be saturated: it waits in the engine's queue.
                Err(_) => continue,
            }
        }
    };
    let reply = wait::within("what can wait is shed", shed).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert!(reply.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
    assert!(reply.json()["error"]["message"].is_string());
    // The requests that their clients gave up above have left.
    let at_the_engine = || sim.stats().running + sim.stats().waiting;
    wait::eventually("those that are held are all there is", || at_the_engine() == 24).await;
    let to = gateway.http();
    held.push(tokio::spawn(async move { Call::chat_stream("critical", "now", 5).open(to).await.rest().await }));
    wait::eventually("what is critical joins the queue", || at_the_engine() == 25).await;
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn target_models_are_named_by_weight_and_nothing_else_changes() {
    let sim = instant("a", "qwen").await;
    let targets = json!([{"name": "qwen-v1", "weight": 90}, {"name": "qwen-\"v2\"", "weight": 10}]);
    let spec = json!({"modelName": "chat", "criticality": "Standard", "targetModels": targets, "poolRef": {"name": "qwen"}});
    let model = objects::object("inference.networking.x-k8s.io/v1alpha2", "InferenceModel", "chat", spec);
    let gateway = serve(&[&sim], [model]).await;
    let (head, tail) =
        ("{ \"n\":1e2,\"x\":\"\\u00e9\",\n\"model\"\t: ", ",\"model_\":\"chat\",\"messages\":[{\"model\":\"chat\"}] }");
    let mut second = 0;
    for _ in 0..500 {
        let echo = Call::json(CHAT, format!("{head}\"ch\\u0061t\"{tail}")).echo().send(gateway.http()).await.json();
        let body = echo["body"].as_str().unwrap();
        let name = body.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail)).unwrap_or_else(|| panic!("{body}"));
        second += usize::from(name == r#""qwen-\"v2\"""#);
        assert!([r#""qwen-v1""#, r#""qwen-\"v2\"""#].contains(&name), "{body}");
    }
    // 50 expected, standard deviation 6.7.
    assert!((20..=85).contains(&second), "{second} of 500");
}

#[tokio::test]
async fn the_answer_names_the_model_as_the_engine_does() {
    let sim = instant("a", "qwen-v2").await;
    let spec = json!({"modelName": "chat", "targetModels": [{"name": "qwen-v2"}], "poolRef": {"name": "qwen"}});
    let model = objects::object("inference.networking.x-k8s.io/v1alpha2", "InferenceModel", "chat", spec);
    let gateway = serve(&[&sim], [model]).await;
    let reply = Call::chat("chat", "hello").send(gateway.http()).await;
    assert_eq!(reply.json()["model"], "qwen-v2");
    let line = gateway.logged("the request", |line| line["model"] == "chat").await;
    assert_eq!(line["target_model"], "qwen-v2");
}

#[tokio::test]
async fn a_rewrite_renames_a_model_and_the_answer_has_the_clients_name() {
    let sim = instant("a", "qwen-v2").await;
    let rules = json!([{"matches": [{"model": {"type": "Exact", "value": "chat"}}], "targets": [{"weight": 1, "modelRewrite": "qwen-v2"}]}]);
    let spec = json!({"poolRef": {"name": "qwen"}, "rules": rules});
    let rewrite = objects::object("inference.networking.x-k8s.io/v1alpha2", "InferenceModelRewrite", "chat", spec);
    let gateway = serve(&[&sim], [rewrite]).await;
    assert_eq!(Call::chat("chat", "hello").send(gateway.http()).await.json()["model"], "chat");
    let line = gateway.logged("the request", |line| line["model"] == "chat").await;
    assert_eq!(line["target_model"], "qwen-v2");
    let stream = Call::chat_stream("chat", "hello", 4).send(gateway.http()).await.text();
    assert!(stream.contains(r#""model":"chat""#) && !stream.contains("qwen-v2"), "{stream}");
    assert_eq!(Call::chat("qwen-v2", "hello").send(gateway.http()).await.json()["model"], "qwen-v2");
}

#[tokio::test]
async fn prompts_that_begin_alike_go_to_the_replica_that_has_them() {
    let [a, b] = two().await;
    let gateway = serve(&[&a, &b], []).await;
    for conversation in 0..4 {
        let preamble = format!("System prompt number {conversation}. ").repeat(200);
        let mut homes = Vec::new();
        for turn in 0..6 {
            let reply = Call::chat("qwen", &format!("{preamble} question {turn}")).send(gateway.http()).await;
            homes.push(reply.server().to_owned());
            if turn > 0 {
                let cached = reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
                assert!(cached > 500, "turn {turn} of {conversation}: {cached} tokens were cached");
            }
        }
        assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
    }
}

#[tokio::test]
async fn a_pool_whose_picker_acks_controller_ran_is_served_without_it() {
    let [a, b] = two().await;
    let absent = json!({"name": "qwen-epp", "port": {"number": 9002}});
    for (class, status) in [("ack-gateway", 200), ("pailou", 500)] {
        let mut gateway = objects::gateway();
        gateway["spec"]["gatewayClassName"] = class.into();
        let mut list = vec![gateway, objects::route("r", everything_to(objects::to_pool("qwen")))];
        list.extend(pool_of("qwen", &[&a, &b]));
        list[2]["spec"]["endpointPickerRef"] = absent.clone();
        let gateway = Setup::with(list).serve().await;
        assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, status, "{class}");
    }
}

#[tokio::test]
async fn a_canary_of_two_pools_gets_its_share() {
    let [a, b] = two().await;
    let weighted = |name: &str, weight: u32| json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name, "weight": weight});
    let rules = json!([{"backendRefs": [weighted("stable", 90), weighted("canary", 10)]}]);
    let mut list = vec![objects::gateway(), objects::route("r", rules)];
    list.extend(pool_of("stable", &[&a]));
    list.extend(pool_of("canary", &[&b]));
    let gateway = Setup::with(list).serve().await;
    let spread = spread(&gateway, 500, |_| Call::chat("qwen", "hello").echo()).await;
    let canary = spread.get("b").copied().unwrap_or(0);
    assert!((20..=85).contains(&canary), "{canary} of 500");
}
