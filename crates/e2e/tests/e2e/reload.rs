//! Saved files, live at once and without a failed request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pailou_e2e::client::{Call, Connection};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, Sim};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{engine, everything_to, instant, pool_of};

/// Clients that ask without pause, half of them over new connections each time, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    fn start(to: SocketAddr, clients: usize, call: impl Fn() -> Call + Send + Sync + 'static) -> Self {
        let (stop, answered, call) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(call));
        let mut set = JoinSet::new();
        for index in 0..clients {
            let (stop, answered, call) = (stop.clone(), answered.clone(), call.clone());
            set.spawn(async move {
                let mut failures = Vec::new();
                let mut connection = Connection::http1(to).await.expect("the gateway accepts");
                while !stop.load(Ordering::Relaxed) && failures.len() < 10 {
                    let sent = if index % 2 == 0 { call().try_send(to).await } else { connection.send(call()).await };
                    match sent {
                        Ok(reply) if reply.status == 200 => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Ok(reply) => failures.push(format!("{} {}", reply.status, reply.text())),
                        Err(error) => {
                            failures.push(format!("{error:?}"));
                            connection = Connection::http1(to).await.expect("the gateway accepts");
                        }
                    }
                }
                failures
            });
        }
        Self { stop, answered, clients: set }
    }

    /// Ends the load. Not one request may have failed.
    async fn end(mut self) -> usize {
        let mut failures = Vec::new();
        // A fast machine is through with a reload before the clients have done much.
        wait::within("there are enough requests", async {
            while self.answered.load(Ordering::Relaxed) <= 50 && !self.clients.is_empty() {
                if let Some(client) = self.clients.try_join_next() {
                    failures.extend(client.expect("a client does not panic"));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = wait::within("the clients end", self.clients.join_next()).await {
            failures.extend(client.expect("a client does not panic"));
        }
        let answered = self.answered.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {answered} failed: {failures:#?}", failures.len());
        assert!(answered > 50, "only {answered} requests were made");
        answered
    }
}

/// A gateway whose only route leads to the Backend `current`, at this engine.
fn leading_to(sim: &Sim) -> Vec<Value> {
    vec![
        objects::gateway(),
        objects::route("r", everything_to(objects::to_backend("current"))),
        objects::backend("current", &[sim.addr()]),
    ]
}

async fn until_served_by(gateway: &Gateway, name: &str) -> Duration {
    let began = Instant::now();
    let served = async { while Call::get("/").echo().send(gateway.http()).await.server() != name {} };
    wait::within("the saved file is live", served).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_file_is_live_at_once_under_load_and_no_request_fails() {
    let sims = [instant("a", "m").await, instant("b", "m").await];
    let gateway = Setup::with(leading_to(&sims[0])).serve().await;
    let load = Load::start(gateway.http(), 4, || Call::chat("m", "hello"));
    let mut took = Vec::new();
    for turn in 1..=10 {
        let sim = &sims[turn % 2];
        gateway.save_objects(leading_to(sim));
        took.push(until_served_by(&gateway, ["a", "b"][turn % 2]).await);
    }
    let answered = load.end().await;
    took.sort();
    println!("saved files were live after {:?} (median), {:?} at most; {answered} requests meanwhile", took[5], took[9]);
    assert!(took[5] < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_changes_a_second_fail_no_request() {
    let sims = [instant("a", "m").await, instant("b", "m").await];
    let gateway = Setup::with(leading_to(&sims[0])).serve().await;
    let load = Load::start(gateway.http(), 4, || Call::chat("m", "hello"));
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for turn in 0..200 {
        ticks.tick().await;
        let mut list = leading_to(&sims[turn % 2]);
        let more =
            json!([{"matches": [objects::by_prefix(&format!("/turn/{turn}"))], "backendRefs": [objects::to_backend("current")]}]);
        list.push(objects::route(&format!("extra-{turn}"), more));
        gateway.save_objects(list);
    }
    gateway.save_objects(leading_to(&sims[1]));
    until_served_by(&gateway, "b").await;
    println!("{} requests during 200 changes", load.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_go_take_no_request_with_them() {
    let cost = CostModel { step_us: 2_000.0, ..CostModel::instant() };
    let replica = |name: &str| engine(Config { cost, output_tokens: (5, 10), ..Config::new(name, ["qwen"]) });
    let sims = [replica("a").await, replica("b").await, replica("c").await];
    let with = |engines: &[&Sim]| {
        let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
        list.extend(pool_of("qwen", engines));
        list
    };
    let gateway = Setup::with(with(&[&sims[0], &sims[1]])).serve().await;
    let load = Load::start(gateway.http(), 6, || Call::chat("qwen", "hello"));
    for turn in 0..20 {
        gateway.save_objects(with(&[&sims[turn % 3], &sims[(turn + 1) % 3]]));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    load.end().await;
}

#[tokio::test]
async fn a_stream_outlives_the_route_that_began_it() {
    let cost = CostModel { step_us: 10_000.0, ..CostModel::instant() };
    let sim = engine(Config { cost, ..Config::new("a", ["qwen"]) }).await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&sim]));
    let gateway = Setup::with(list).serve().await;
    let mut stream = Call::chat_stream("qwen", "hello", 100).open(gateway.http()).await;
    stream.next().await.unwrap().unwrap();
    let other = instant("b", "m").await;
    gateway.save_objects(leading_to(&other));
    until_served_by(&gateway, "b").await;
    let (text, error) = stream.rest().await;
    assert!(error.is_none() && text.ends_with("data: [DONE]\n\n"), "{error:?} {text}");
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_state_and_names_what_is_wrong() {
    let [a, b] = [instant("a", "m").await, instant("b", "m").await];
    let gateway = Setup::with(leading_to(&a)).serve().await;
    until_served_by(&gateway, "a").await;

    let mut wrong = leading_to(&b);
    wrong[2]["spec"]["endpoints"][0]["ip"]["port"] = "eighty".into();
    wrong.push(objects::backend("other", &[b.addr()]));
    wrong.push(objects::route(
        "other",
        json!([{"matches": [objects::by_prefix("/other")], "backendRefs": [objects::to_backend("other")]}]),
    ));
    gateway.save_objects(wrong);
    let others = async { while Call::get("/other").echo().send(gateway.http()).await.server() != "b" {} };
    wait::within("the rest of the file applies", others).await;
    assert_eq!(Call::get("/").echo().send(gateway.http()).await.server(), "a", "the last good state");
    wait::eventually("the log says what is wrong", || {
        let log = gateway.stderr();
        log.lines().any(|line| line.contains("current") && line.contains("spec.endpoints[0].ip.port"))
    })
    .await;

    gateway.save("objects.yaml", "kind: [unclosed\n  - : :");
    wait::eventually("the log names the file", || {
        gateway.stderr().lines().filter(|line| line.contains("objects.yaml")).count() >= 2
    })
    .await;
    assert_eq!(Call::get("/").echo().send(gateway.http()).await.server(), "a");
    gateway.save_objects(leading_to(&b));
    until_served_by(&gateway, "b").await;
}

#[tokio::test]
async fn files_can_be_added_and_removed() {
    let [a, b] = [instant("a", "m").await, instant("b", "m").await];
    let gateway = Setup::with(leading_to(&a)).serve().await;
    let more = json!([{"matches": [objects::by_prefix("/more")], "backendRefs": [objects::to_backend("more")]}]);
    let json =
        json!({"apiVersion": "v1", "kind": "List", "items": [objects::backend("more", &[b.addr()]), objects::route("more", more)]});
    gateway.save("more.json", &json.to_string());
    let added = async { while Call::get("/more").echo().send(gateway.http()).await.server() != "b" {} };
    wait::within("the new file is live", added).await;
    gateway.remove("more.json");
    let removed = async { while Call::get("/more").echo().send(gateway.http()).await.server() != "a" {} };
    wait::within("the removed one is not", removed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_and_go_without_harm_to_the_others() {
    let sim = instant("a", "m").await;
    let gateway = Setup::with(leading_to(&sim)).serve().await;
    let load = Load::start(gateway.http(), 2, || Call::chat("m", "hello"));
    let mut with_second = leading_to(&sim);
    with_second[0] = objects::listeners(json!([
        {"name": "http", "protocol": "HTTP", "port": 8080},
        {"name": "second", "protocol": "HTTP", "port": 8090},
    ]));
    for _ in 0..3 {
        gateway.save_objects(with_second.clone());
        let opened =
            async { while !Call::get("/").echo().try_send(gateway.port(8090)).await.is_ok_and(|reply| reply.status == 200) {} };
        wait::within("the second port is served", opened).await;
        gateway.save_objects(leading_to(&sim));
        let closed = async { while tokio::net::TcpStream::connect(gateway.port(8090)).await.is_ok() {} };
        wait::within("it is closed", closed).await;
    }
    load.end().await;
}
