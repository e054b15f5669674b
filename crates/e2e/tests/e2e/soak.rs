//! Every kind of load at once, for a while, under a configuration that never rests: nothing may fail, and nothing may grow.
//!
//! `PAILOU_SOAK_SECONDS` says for how long, ten unless given; `PAILOU_SOAK_PAUSE_MS` how long each client rests after a request.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use pailou_e2e::{
    client::{Call, Connection},
    gateway::{Gateway, Setup},
    objects, wait,
    wire::Wire,
};
use pailou_sim::Sim;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{instant, pool_of};

/// Actions of clients, each over and over.
const KINDS: [Kind; 8] =
    [Kind::Kept, Kind::New, Kind::Streamed, Kind::Left, Kind::Http2, Kind::Long, Kind::Unknown, Kind::Malformed];

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Over a connection that is kept.
    Kept,
    /// Over one that is not.
    New,
    /// A stream, read to its end ...
    Streamed,
    /// ... or left after its first piece.
    Left,
    Http2,
    /// With a prompt of 64 KiB.
    Long,
    /// Of a model that nobody serves.
    Unknown,
    /// No HTTP.
    Malformed,
}

/// How much is used.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory: u64,
    descriptors: usize,
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("it is a number"))
}

/// Routes to a pool whose pods change, and to backends whose names never come again.
fn configuration(turn: usize, sims: &[Sim; 3]) -> Vec<Value> {
    let mut listeners = vec![json!({"name": "http", "protocol": "HTTP", "port": 8080})];
    if turn % 8 == 3 {
        listeners.push(json!({"name": "second", "protocol": "HTTP", "port": 8090}));
    }
    let rules = json!([{"matches": [objects::by_model("m")], "backendRefs": [objects::to_pool("m")]}]);
    let mut list = vec![objects::listeners(json!(listeners)), objects::route("r", rules)];
    list.extend(pool_of("m", &[&sims[turn % 3], &sims[(turn + 1) % 3]]));
    for index in turn..turn + 5 {
        let backend = format!("extra-{index}");
        let rules =
            json!([{"matches": [objects::by_prefix(&format!("/extra/{index}"))], "backendRefs": [objects::to_backend(&backend)]}]);
        list.push(objects::route(&format!("extra-{index}"), rules));
        list.push(objects::backend(&backend, &[sims[index % 3].addr()]));
    }
    list
}

async fn ask(to: SocketAddr, kind: Kind, kept: &mut Option<Connection>) -> Result<(), String> {
    let long = "x".repeat(64 << 10);
    let call = match kind {
        Kind::Long => Call::chat("m", &long),
        Kind::Unknown => Call::chat("nobody", "hello"),
        Kind::Streamed | Kind::Left => Call::chat_stream("m", "hello", 20),
        Kind::Malformed => return malformed(to).await,
        Kind::Kept | Kind::New | Kind::Http2 => Call::chat("m", "hello"),
    };
    let wanted = if matches!(kind, Kind::Unknown) { 404 } else { 200 };
    if matches!(kind, Kind::Streamed | Kind::Left) {
        let mut stream = call.open(to).await;
        if stream.status != wanted {
            return Err(format!("{kind:?}: {}", stream.status));
        }
        if matches!(kind, Kind::Left) {
            return stream.next().await.transpose().map(drop).map_err(|error| format!("{kind:?}: {error:?}"));
        }
        let (text, error) = stream.rest().await;
        return if error.is_none() && text.ends_with("data: [DONE]\n\n") {
            Ok(())
        } else {
            Err(format!("{kind:?}: {error:?} {text}"))
        };
    }
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None if matches!(kind, Kind::Http2) => Connection::http2(to).await.map_err(|error| error.to_string())?,
        None => Connection::http1(to).await.map_err(|error| error.to_string())?,
    };
    let reply = connection.send(call).await.map_err(|error| format!("{kind:?}: {error:?}"))?;
    if !matches!(kind, Kind::New) {
        *kept = Some(connection);
    }
    if reply.status == wanted { Ok(()) } else { Err(format!("{kind:?}: {} {}", reply.status, reply.text())) }
}

async fn malformed(to: SocketAddr) -> Result<(), String> {
    let mut wire = Wire::connect(to).await;
    let _ = wire.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let (answer, _) = wire.rest().await;
    if answer.starts_with("HTTP/1.1 400 ") { Ok(()) } else { Err(format!("malformed: {answer}")) }
}

/// The clients. They give back what failed.
fn load(to: SocketAddr, stop: &Arc<AtomicBool>, answered: &Arc<AtomicUsize>) -> JoinSet<Vec<String>> {
    let pause = Duration::from_millis(setting("PAILOU_SOAK_PAUSE_MS", 0));
    let mut clients = JoinSet::new();
    for kind in KINDS {
        let (stop, answered) = (stop.clone(), answered.clone());
        clients.spawn(async move {
            let (mut failures, mut kept) = (Vec::new(), None);
            while !stop.load(Ordering::Relaxed) && failures.len() < 5 {
                match ask(to, kind, &mut kept).await {
                    Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                    Err(failure) => failures.push(failure),
                }
                tokio::time::sleep(pause).await;
            }
            failures
        });
    }
    clients
}

/// The mean of what a quarter of the samples used.
fn mean(samples: &[Sample], quarter: usize) -> (f64, f64) {
    let part = &samples[samples.len() * quarter / 4..samples.len() * (quarter + 1) / 4];
    let of = |value: fn(&Sample) -> f64| part.iter().map(value).sum::<f64>() / part.len() as f64;
    (of(|sample| sample.memory as f64), of(|sample| sample.descriptors as f64))
}

/// Gauges that must be 0 once no client sends requests.
async fn assert_nothing_is_left(gateway: &Gateway) {
    // Connections to backends are kept, and count.
    for (name, labels) in [
        ("pailou_requests_active", ""),
        ("pailou_endpoint_requests_active", ""),
        ("pailou_breaker_active", "resource=\"requests\""),
        ("pailou_breaker_active", "resource=\"pending\""),
        ("pailou_request_body_bytes", ""),
    ] {
        let gone = async { while gateway.metric(name, &[labels]).await != 0.0 {} };
        wait::within(&format!("{name} {labels} falls to nothing"), gone).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_and_change_nothing_fails_and_nothing_grows() {
    let sims = [instant("a", "m").await, instant("b", "m").await, instant("c", "m").await];
    let gateway = Setup::with(configuration(0, &sims)).args(["--access-log", "off"]).serve().await;
    let (stop, answered) = (Arc::default(), Arc::default());
    let mut clients = load(gateway.http(), &stop, &answered);
    let length = Duration::from_secs(setting("PAILOU_SOAK_SECONDS", 10));
    let (began, mut samples, mut turn, mut told) = (Instant::now(), Vec::new(), 0, 0);
    while began.elapsed() < length {
        turn += 1;
        gateway.save_objects(configuration(turn, &sims));
        tokio::time::sleep(Duration::from_millis(50)).await;
        samples.push(Sample { memory: gateway.memory(), descriptors: gateway.descriptors() });
        if began.elapsed().as_secs() / 60 > told {
            told += 1;
            let Sample { memory, descriptors } = samples[samples.len() - 1];
            println!("{told} min: {} KiB, {descriptors} descriptors, {} answers", memory >> 10, answered.load(Ordering::Relaxed));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut failures = Vec::new();
    while let Some(client) = wait::within("the clients end", clients.join_next()).await {
        failures.extend(client.expect("a client does not panic"));
    }
    let answered = answered.load(Ordering::Relaxed);
    assert!(failures.is_empty(), "{} of {answered} failed: {failures:#?}", failures.len());
    let ((memory, descriptors), (memory_at_last, descriptors_at_last)) = (mean(&samples, 1), mean(&samples, 3));
    println!("{answered} answers, {turn} changes; from the second quarter to the last: {memory:.0} to {memory_at_last:.0} bytes, ");
    println!("{descriptors:.1} to {descriptors_at_last:.1} descriptors");
    assert!(memory_at_last < memory * 1.2 + f64::from(16 << 20), "{memory:.0} bytes became {memory_at_last:.0}");
    assert!(descriptors_at_last < descriptors * 1.2 + 32.0, "{descriptors:.1} descriptors became {descriptors_at_last:.1}");
    assert_nothing_is_left(&gateway).await;
}
