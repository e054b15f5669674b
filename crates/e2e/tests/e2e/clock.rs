//! The wall clock jumps, by hours and days, forward and back: nothing that is under way notices, and what tells the time tells the new one.

use std::collections::HashSet;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::{Duration, Instant, SystemTime};

use jiff::{Timestamp, fmt::rfc2822};
use pailou_e2e::client::{Call, Connection, Reply};
use pailou_e2e::clock::WallClock;
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::wire::Wire;
use pailou_e2e::{objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, Fault, FaultKind};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{engine, events, everything_to, instant, pool_of};

/// Offsets of the clock, in hours from the right time.
const JUMPS: [i32; 8] = [5, -20, 1, 24 * 400, 0, -24 * 30, -3, 12];

/// A gateway whose clock is this one.
async fn serve(clock: &WallClock, list: impl IntoIterator<Item = Value>) -> Gateway {
    clock.of(Setup::with(list)).serve().await
}

/// How far a time is from the one that a clock so many hours off shows, in seconds.
fn astray(time: Timestamp, hours: i32) -> i64 {
    let now = Timestamp::try_from(SystemTime::now()).expect("the test's own clock is right");
    (time.as_second() - now.as_second() - i64::from(hours) * 3600).abs()
}

fn date(reply: &Reply) -> Timestamp {
    let date = reply.header("date");
    rfc2822::parse(date).unwrap_or_else(|error| panic!("{date:?}: {error}")).timestamp()
}

fn time(line: &Value) -> Timestamp {
    line["time"].as_str().and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("no time in {line}"))
}

/// Sets the clock about ten times a second, until `stop`.
async fn jump(clock: WallClock, stop: Arc<AtomicBool>) {
    for hours in JUMPS.into_iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        clock.set(hours);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends requests until `stop`. Returns the number of answers, or the failure.
async fn ask(gateway: std::net::SocketAddr, kind: usize, stop: Arc<AtomicBool>) -> Result<usize, String> {
    let (mut answered, mut kept) = (0, None);
    while !stop.load(Ordering::Relaxed) {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None if kind == 0 => Connection::http2(gateway).await.map_err(|error| error.to_string())?,
            None => Connection::http1(gateway).await.map_err(|error| error.to_string())?,
        };
        let reply = connection.send(Call::get("/plain").echo()).await.map_err(|error| error.to_string())?;
        if reply.status != 200 {
            return Err(format!("{} {}", reply.status, reply.text()));
        }
        answered += 1;
        // The last kind makes a connection for each.
        kept = (kind < 2).then_some(connection);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(answered)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_streams_go_on_and_the_time_that_is_told_is_the_new_one() {
    let Some(clock) = WallClock::new() else { return };
    let cost = CostModel { step_us: 40_000.0, ..CostModel::instant() };
    let slow = engine(Config { cost, ..Config::new("a", ["m"]) }).await;
    let other = instant("b", "m").await;
    let rules = json!([
        {"matches": [objects::by_model("m")], "backendRefs": [objects::to_pool("m")]},
        {"matches": [objects::by_prefix("/plain")], "backendRefs": [objects::to_backend("b")]},
    ]);
    let mut list = vec![objects::gateway(), objects::route("r", rules), objects::backend("b", &[other.addr()])];
    list.extend(pool_of("m", &[&slow]));
    let gateway = serve(&clock, list).await;
    let mut streams = JoinSet::new();
    for _ in 0..8 {
        let mut stream = Call::chat_stream("m", "hello", 100).open(gateway.http()).await;
        assert_eq!(stream.status, 200);
        streams.spawn(async move { stream.rest().await });
    }
    let stop = Arc::<AtomicBool>::default();
    let mut clients = JoinSet::new();
    for kind in 0..3 {
        clients.spawn(ask(gateway.http(), kind, stop.clone()));
    }
    for hours in JUMPS {
        clock.set(hours);
        // The engine's own answers have its date; one of the gateway's has the gateway's.
        let told = async { while astray(date(&Call::get("/nothing").send(gateway.http()).await), hours) > 60 {} };
        wait::within(&format!("the date is {hours} hours off"), told).await;
        gateway.logged("a line of that time", |line| astray(time(line), hours) < 60).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    while let Some(stream) = wait::within("the streams end", streams.join_next()).await {
        let (text, error) = stream.expect("the stream is read");
        assert!(error.is_none() && text.ends_with("data: [DONE]\n\n"), "{error:?} {text}");
        assert!(events(&text).len() > 100, "{text}");
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    while let Some(client) = wait::within("the clients end", clients.join_next()).await {
        answered += client.expect("a client does not panic").expect("no request fails");
    }
    println!("{answered} requests and 8 streams while the clock jumped {} times", JUMPS.len());
    // How long things took is not told by that clock.
    for line in gateway.access_log() {
        assert!(line["duration_ms"].as_f64().is_some_and(|took| took < 30_000.0), "{line}");
        assert!(line["flag"].is_null() || line["path"] == "/nothing", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_and_idle_clocks_run_as_long_as_they_should() {
    const LIMIT: Duration = Duration::from_secs(2);
    let Some(clock) = WallClock::new() else { return };
    let [silent, stalled, well] = [instant("a", "m").await, instant("b", "m").await, instant("c", "m").await];
    silent.faults().set([FaultKind::Stall(None).into()]);
    stalled.faults().set([FaultKind::Stall(Some(4)).into()]);
    let rules = ["a", "b", "c"].map(|name| {
        json!({"matches": [objects::by_prefix(&format!("/{name}"))], "backendRefs": [objects::to_backend(name)],
            "filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}],
            "timeouts": if name == "a" { json!({"request": "2s"}) } else { json!({}) }})
    });
    let idle = json!({"timeout": {"http": {"idleTimeout": "2s", "streamIdleTimeout": "2s"}}});
    let list = [
        objects::gateway(),
        objects::route("r", json!(rules)),
        objects::backend("a", &[silent.addr()]),
        objects::backend("b", &[stalled.addr()]),
        objects::backend("c", &[well.addr()]),
        objects::on_gateway("ClientTrafficPolicy", idle),
    ];
    let gateway = serve(&clock, list).await;
    let stop = Arc::<AtomicBool>::default();
    let jumping = tokio::spawn(jump(clock, stop.clone()));
    let began = Instant::now();
    let to = gateway.http();
    let late = async {
        let reply = Call::get("/a").send(to).await;
        assert_eq!(reply.status, 504, "{}", reply.text());
        began.elapsed()
    };
    let cut = async {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"max_tokens":50,"min_tokens":50,"ignore_eos":true}"#;
        let mut stream = Call::json("/b/v1/chat/completions", body).open(to).await;
        let (text, error) = stream.rest().await;
        assert!(error.is_some(), "{text}");
        began.elapsed()
    };
    let left = async {
        let mut wire = Wire::connect(to).await;
        wire.write("GET /c/v1/models HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(wire.head().await.starts_with("HTTP/1.1 200 "));
        wire.closed().await;
        began.elapsed()
    };
    let (late, cut, left) = tokio::join!(late, cut, left);
    stop.store(true, Ordering::Relaxed);
    jumping.await.expect("the clock can be set");
    for (what, after) in [("the request's timeout", late), ("the stream's idle clock", cut), ("the connection's", left)] {
        // None may be early; that none is late is what the test's own patience shows, which is far shorter than any jump.
        assert!(after + Duration::from_millis(10) >= LIMIT, "{what} ended after {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ejected_endpoint_comes_back_when_it_should() {
    let Some(clock) = WallClock::new() else { return };
    let [a, b] = [instant("a", "m").await, instant("b", "m").await];
    a.faults().set([Fault::new(FaultKind::Status(500)).times(1)]);
    let passive = json!({"consecutive5XxErrors": 1, "interval": "1s", "baseEjectionTime": "2s", "maxEjectionPercent": 100});
    let list = [
        objects::gateway(),
        objects::route("r", everything_to(objects::to_backend("both"))),
        objects::backend("both", &[a.addr(), b.addr()]),
        objects::on_gateway("BackendTrafficPolicy", json!({"healthCheck": {"passive": passive}})),
    ];
    let gateway = serve(&clock, list).await;
    let stop = Arc::<AtomicBool>::default();
    let jumping = tokio::spawn(jump(clock, stop.clone()));
    let asked = async || Call::get("/v1/models").send(gateway.http()).await;
    let ejected = async {
        loop {
            let sent = Instant::now();
            if asked().await.status == 500 {
                return sent;
            }
        }
    };
    let ejected = wait::within("an endpoint fails", ejected).await;
    let back = async { while asked().await.server() != "a" {} };
    wait::within("it comes back", back).await;
    let after = ejected.elapsed();
    stop.store(true, Ordering::Relaxed);
    jumping.await.expect("the clock can be set");
    assert!(after + Duration::from_millis(10) >= Duration::from_secs(2), "it was ejected for {after:?}");
}

/// Waits until both endpoints answer, or only the healthy one.
async fn served_by(gateway: &Gateway, both: bool) {
    let answered = async {
        loop {
            let mut seen = HashSet::new();
            for _ in 0..24 {
                seen.insert(Call::get("/plain").echo().send(gateway.http()).await.server().to_owned());
            }
            if seen.contains("b") == both {
                return;
            }
        }
    };
    wait::within(if both { "both serve" } else { "only the healthy one serves" }, answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_scrapes_go_on() {
    let Some(clock) = WallClock::new() else { return };
    let cost = CostModel { step_us: 10_000.0, ..CostModel::instant() };
    let [a, b, slow] = [instant("a", "m").await, instant("b", "m").await, engine(Config { cost, ..Config::new("c", ["m"]) }).await];
    let active = json!({
        "type": "HTTP", "interval": "100ms", "timeout": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1, "http": {"path": "/echo"},
    });
    let rules = json!([
        {"matches": [objects::by_model("m")], "backendRefs": [objects::to_pool("m")]},
        {"matches": [objects::by_prefix("/plain")], "backendRefs": [objects::to_backend("both")]},
    ]);
    let mut list = vec![
        objects::gateway(),
        objects::route("r", rules),
        objects::backend("both", &[a.addr(), b.addr()]),
        objects::on_gateway("BackendTrafficPolicy", json!({"healthCheck": {"active": active}})),
    ];
    list.extend(pool_of("m", &[&slow]));
    let gateway = serve(&clock, list).await;
    for hours in [-20, 24 * 400, -24 * 400] {
        clock.set(hours);
        b.faults().set([Fault::new(FaultKind::Status(503)).path("/echo")]);
        served_by(&gateway, false).await;
        b.faults().clear();
        served_by(&gateway, true).await;
        // The gateway goes on reading the engine's metrics: they show a stream, and then none.
        let is_running = async |expected| {
            let told = async { while gateway.metric("pailou_engine_requests_running", &[]).await != expected {} };
            wait::within(&format!("{expected} streams run, {hours} hours off"), told).await;
        };
        let stream = Call::chat_stream("m", "hello", 10_000).open(gateway.http()).await;
        is_running(1.0).await;
        drop(stream);
        is_running(0.0).await;
        assert_eq!(gateway.metric("pailou_engine_metrics_fresh", &[]).await, 1.0);
    }
}
