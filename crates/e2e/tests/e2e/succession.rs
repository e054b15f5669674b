//! One process after the other on the same sockets, under load.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pailou_e2e::{
    client::{Call, Connection},
    gateway::{Gateway, Setup},
    objects, wait,
};
use pailou_sim::{Config, Sim, engine::CostModel};
use serde_json::{Value, json};
use tokio::{net::UdpSocket, task::JoinSet};

use crate::support::{engine, everything_to, instant};

/// A Gateway that leads to an engine, and whose answers say by which process they came.
fn leading_to(sim: &Sim, process: &str) -> Vec<Value> {
    let set =
        json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-process", "value": process}]}});
    let rules = json!([{"backendRefs": [objects::to_backend("b")], "filters": [set]}]);
    vec![objects::gateway(), objects::route("r", rules), objects::backend("b", &[sim.addr()])]
}

fn path() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    std::env::temp_dir().join(format!("pailou-e2e-handover-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Asks without pause over new connections and kept ones; gives back what failed, and how many were answered.
struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<(Vec<String>, usize)>,
}

impl Load {
    fn start(to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for index in 0..6 {
            let stop = stop.clone();
            clients.spawn(async move {
                let (mut failures, mut answered, mut kept) = (Vec::new(), 0, None);
                while !stop.load(Ordering::Relaxed) && failures.len() < 5 {
                    match ask(to, index % 2 == 0, &mut kept).await {
                        Ok(()) => answered += 1,
                        Err(failure) => failures.push(failure),
                    }
                }
                (failures, answered)
            });
        }
        Self { stop, clients }
    }

    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let (mut failures, mut answered) = (Vec::new(), 0);
        while let Some(client) = wait::within("the clients end", self.clients.join_next()).await {
            let (failed, count) = client.expect("a client does not panic");
            failures.extend(failed);
            answered += count;
        }
        assert!(failures.is_empty(), "{} of {answered} failed: {failures:#?}", failures.len());
        answered
    }
}

async fn ask(to: SocketAddr, keeps: bool, kept: &mut Option<Connection>) -> Result<(), String> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::http1(to).await.map_err(|error| format!("connecting: {error}"))?,
    };
    let reply = connection.send(Call::chat("m", "hello")).await.map_err(|error| format!("asking: {error:?}"))?;
    if reply.status != 200 {
        return Err(format!("{} {}", reply.status, reply.text()));
    }
    if keeps && reply.header("connection") != "close" {
        *kept = Some(connection);
    }
    Ok(())
}

async fn until_served_by(to: SocketAddr, process: &str) {
    let served = async { while Call::get("/").echo().send(to).await.header("x-process") != process {} };
    wait::within("the successor serves", served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_succeed_each_other_without_a_refused_connection_or_a_failed_request() {
    let sim = instant("a", "m").await;
    let path = path();
    let handover = ["--handover".as_ref(), path.as_os_str()];
    let mut serving: Gateway = Setup::with(leading_to(&sim, "0")).args(handover).serve().await;
    let load = Load::start(serving.http());
    for turn in 1..=5 {
        let next = Setup::in_place_of(&serving, leading_to(&sim, &turn.to_string())).args(handover).spawn();
        let status = serving.ended().await;
        assert!(status.success(), "{status}: {}", serving.stderr());
        until_served_by(next.http(), &turn.to_string()).await;
        // The admin endpoint is the successor's as well.
        assert_eq!(Call::get("/readyz").send(next.admin()).await.status, 200);
        serving = next;
    }
    println!("{} requests during 5 successions", load.end().await);
    serving.signal("TERM");
    assert!(serving.ended().await.success());
    assert!(!path.exists(), "the last one tidies up");
}

#[tokio::test]
async fn a_stream_ends_with_the_process_that_began_it_and_datagrams_go_on() {
    let cost = CostModel { step_us: 20_000.0, ..CostModel::instant() };
    let sim = engine(Config { cost, ..Config::new("a", ["m"]) }).await;
    let echo = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    let mut list = vec![
        objects::listeners(json!([
            {"name": "http", "protocol": "HTTP", "port": 8080}, {"name": "udp", "protocol": "UDP", "port": 5300},
        ])),
        objects::route("r", everything_to(objects::to_backend("b"))),
        objects::backend("b", &[sim.addr()]),
        objects::backend("u", &[echo.local_addr().expect("it is bound")]),
    ];
    let spec = json!({"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": [objects::to_backend("u")]}]});
    list.push(objects::object("gateway.networking.k8s.io/v1", "UDPRoute", "u", spec));
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = echo.recv_from(&mut buffer).await {
            let _ = echo.send_to(&buffer[..length], from).await;
        }
    });
    let path = path();
    let handover = ["--handover".as_ref(), path.as_os_str()];
    let mut former = Setup::with(list.clone()).args(handover).serve().await;
    let mut stream = Call::chat_stream("m", "hello", 50).open(former.http()).await;
    stream.next().await.expect("it has begun").expect("well");
    let successor = Setup::in_place_of(&former, list).args(handover).spawn();
    wait::eventually("the former is told", || former.stderr().contains("in this one's place")).await;
    assert_eq!(Call::get("/").echo().send(successor.http()).await.status, 200);
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    client.connect(successor.port(5300)).await.expect("it has an address");
    let echoed = async {
        // Datagrams may get lost.
        let mut buffer = [0; 64];
        loop {
            client.send(b"hello").await.expect("it is sent");
            if tokio::time::timeout(Duration::from_secs(1), client.recv(&mut buffer)).await.is_ok() {
                return;
            }
        }
    };
    wait::within("an echo comes", echoed).await;
    let (text, error) = stream.rest().await;
    assert!(error.is_none() && text.ends_with("data: [DONE]\n\n"), "{error:?} {text}");
    assert!(former.ended().await.success());
}

#[tokio::test]
async fn a_successor_that_cannot_serve_leaves_the_former_as_it_was() {
    let sim = instant("a", "m").await;
    let path = path();
    let handover = ["--handover".as_ref(), path.as_os_str()];
    let former = Setup::with(leading_to(&sim, "0")).args(handover).serve().await;
    let mut list = leading_to(&sim, "1");
    // Nobody can listen on this address.
    list[0]["spec"]["addresses"] = json!([{"type": "IPAddress", "value": "203.0.113.1"}]);
    let mut failing = Setup::in_place_of(&former, list).args(handover).spawn();
    assert!(!failing.ended().await.success());
    assert!(failing.stderr().contains("203.0.113.1"), "{}", failing.stderr());
    wait::eventually("the former says so", || former.stderr().contains("a successor connected, but did not take over")).await;
    assert_eq!(Call::get("/").echo().send(former.http()).await.header("x-process"), "0");
    let mut former = former;
    let next = Setup::in_place_of(&former, leading_to(&sim, "2")).args(handover).spawn();
    assert!(former.ended().await.success(), "and another can");
    until_served_by(next.http(), "2").await;
}
