//! Engines: their metrics in three dialects, their ports, and requests that may wait.

use pailou_e2e::client::Call;
use pailou_e2e::gateway::Setup;
use pailou_e2e::{objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, MetricsDialect, Sim};
use serde_json::{Value, json};

use crate::support::{engine, everything_to, instant, ip, pool_of};

/// An engine whose queue grows soon.
fn small(name: &str, metrics: MetricsDialect) -> Config {
    let cost = CostModel { step_us: 20_000.0, ..CostModel::instant() };
    Config { cost, max_num_seqs: 2, metrics, ..Config::new(name, ["qwen"]) }
}

/// Streams straight to an engine, past the gateway, until dropped.
async fn occupy(sim: &Sim, streams: usize) -> tokio::task::JoinSet<()> {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let to = sim.addr();
        set.spawn(async move { drop(Call::chat_stream("qwen", "from elsewhere", 5000).open(to).await.rest().await) });
    }
    wait::eventually("the engine is busy", || sim.stats().waiting + 2 >= streams).await;
    set
}

fn with_runtime(mut list: Vec<Value>, runtime: Option<&str>) -> Vec<Value> {
    if let Some(runtime) = runtime {
        list[0]["metadata"]["annotations"] = json!({"inference.networking.x-k8s.io/model-server-runtime": runtime});
    }
    list
}

#[tokio::test]
async fn load_that_came_from_elsewhere_is_seen_in_every_dialect() {
    let dialects =
        [(MetricsDialect::Vllm, None), (MetricsDialect::Sglang, Some("sglang")), (MetricsDialect::Trtllm, Some("trt-llm"))];
    for (dialect, runtime) in dialects {
        let (a, b) = (engine(small("a", dialect)).await, engine(small("b", dialect)).await);
        let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
        list.extend(with_runtime(pool_of("qwen", &[&a, &b]), runtime));
        let _busy = occupy(&a, 30).await;
        let gateway = Setup::with(list).serve().await;
        let ask = |index: u32| Call::chat_stream("qwen", &format!("question {index}"), 2).send(gateway.http());
        // The first figures take a scrape to arrive.
        let seen = async {
            let mut in_a_row = 0;
            let mut index = 0;
            while in_a_row < 8 {
                index += 1;
                match tokio::time::timeout(std::time::Duration::from_millis(500), ask(index)).await {
                    Ok(reply) if reply.server() == "b" => in_a_row += 1,
                    _ => in_a_row = 0,
                }
            }
        };
        wait::within(&format!("{dialect:?}: the busy replica is passed over"), seen).await;
    }
}

#[tokio::test]
async fn every_port_of_a_pool_is_an_engine() {
    let a = instant("a", "qwen").await;
    let second = Config { listen: (ip(&a), 8001).into(), ..Config::new("b", ["qwen"]).instant() };
    let _b = Sim::start(second).await.unwrap();
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&a]));
    list[2]["spec"]["targetPorts"] = json!([{"number": 8000}, {"number": 8001}]);
    let gateway = Setup::with(list).serve().await;
    let mut servers = std::collections::HashSet::new();
    for index in 0..40 {
        servers.insert(Call::chat("qwen", &format!("question {index}")).send(gateway.http()).await.server().to_owned());
    }
    assert_eq!(servers.len(), 2, "{servers:?}");
}

#[tokio::test]
async fn an_objective_says_who_can_wait() {
    let sim = engine(Config { max_num_seqs: 1, ..small("a", MetricsDialect::Vllm) }).await;
    let objective = |name: &str, priority: i32| {
        let spec = json!({"priority": priority, "poolRef": {"name": "qwen"}});
        objects::object("inference.networking.x-k8s.io/v1alpha2", "InferenceObjective", name, spec)
    };
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend([objective("batch", -1), objective("urgent", 10)]);
    list.extend(pool_of("qwen", &[&sim]));
    let gateway = Setup::with(list).serve().await;
    let _busy = occupy(&sim, 30).await;
    let ask = |objective: &'static str| {
        let call = Call::chat("qwen", "hello").header("x-gateway-inference-objective", objective);
        tokio::time::timeout(std::time::Duration::from_secs(1), call.try_send(gateway.http()))
    };
    let shed = async { while !ask("batch").await.is_ok_and(|reply| reply.unwrap().status == 429) {} };
    wait::within("what can wait is shed", shed).await;
    let before = sim.stats().requests;
    assert!(ask("urgent").await.is_err(), "it waits in the engine's queue");
    assert!(sim.stats().requests > before);
}
