//! The operator's view: ports, signals, health, logs, metrics, and never a credential.

use std::{io::Write as _, path::Path};

use pailou_e2e::client::{CHAT, Call, Connection};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::wire::{Server, Wire};
use pailou_e2e::{objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, Sim};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{engine, events, everything_to, instant, pool_of};

fn qwen(sim: &Sim) -> Vec<Value> {
    let rules = json!([{"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_pool("qwen")]}]);
    let mut list = vec![objects::gateway(), objects::route("models", rules)];
    list.extend(pool_of("qwen", &[sim]));
    list
}

/// An engine that takes 10 ms a token.
async fn slow() -> Sim {
    let cost = CostModel { step_us: 10_000.0, ..CostModel::instant() };
    engine(Config { cost, ..Config::new("a", ["qwen"]) }).await
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    for port in [8080, 15000] {
        let setup = Setup::with([objects::gateway()]);
        let _taken = TcpListener::bind((setup.address(), port)).await.unwrap();
        let address = format!("{}:{port}", setup.address());
        let mut gateway = setup.spawn();
        assert_eq!(gateway.ended().await.code(), Some(2), "{}", gateway.stderr());
        wait::eventually("the error is printed", || gateway.stderr().contains(&address)).await;
        assert!(gateway.stderr().contains("the port is taken"), "{}", gateway.stderr());
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let mut gateway = Setup::new().args(["-f", "/nowhere/at-all.yaml"]).spawn();
    assert_eq!(gateway.ended().await.code(), Some(2));
    wait::eventually("the error is printed", || gateway.stderr().contains("/nowhere/at-all.yaml")).await;
}

#[tokio::test]
async fn a_signal_drains_what_is_under_way() {
    let sim = slow().await;
    let mut gateway = Setup::with(qwen(&sim)).serve().await;
    let mut stream = Call::chat_stream("qwen", "hello", 100).open(gateway.http()).await;
    stream.next().await.unwrap().unwrap();
    gateway.signal("TERM");
    let refused = async { while tokio::net::TcpStream::connect(gateway.http()).await.is_ok() {} };
    wait::within("new connections are refused", refused).await;
    let (text, error) = stream.rest().await;
    assert!(error.is_none() && text.ends_with("data: [DONE]\n\n"), "{error:?} {text}");
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.stderr());
    let line = gateway.logged("the drained request", |line| line["path"] == CHAT).await;
    assert_eq!(line["flag"], Value::Null, "{line}");
}

#[tokio::test]
async fn a_second_interrupt_ends_at_once() {
    let sim = slow().await;
    let mut gateway = Setup::with(qwen(&sim)).serve().await;
    let mut stream = Call::chat_stream("qwen", "hello", 5000).open(gateway.http()).await;
    stream.next().await.unwrap().unwrap();
    gateway.signal("INT");
    wait::eventually("the first drains", || gateway.stderr().contains("finishing requests")).await;
    assert!(gateway.has_ended().is_none(), "the first only drains");
    gateway.signal("INT");
    gateway.ended().await;
    wait::eventually("the engine hears", || sim.stats().running == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_has_an_end_and_those_cut_off_by_it_hear_so() {
    let sim = slow().await;
    let mut gateway = Setup::with(qwen(&sim)).args(["--drain", "1"]).serve().await;
    let http2 = Connection::http2(gateway.http()).await.unwrap();
    let call = || Call::chat_stream("qwen", "hello", 20_000);
    let mut streams = vec![call().open(gateway.http()).await, http2.share().open(call()).await.unwrap()];
    for stream in &mut streams {
        stream.next().await.unwrap().unwrap();
    }
    // Not streamed: the answer has not begun as the drain ends.
    let body =
        r#"{"model":"qwen","messages":[{"role":"user","content":"x"}],"max_tokens":20000,"min_tokens":20000,"ignore_eos":true}"#;
    let (to, mut share) = (gateway.http(), http2.share());
    let whole = tokio::spawn(async move { Call::json(CHAT, body).send(to).await });
    let shared = tokio::spawn(async move { share.send(Call::json(CHAT, body)).await });
    wait::eventually("all are under way", || sim.stats().running == 4).await;
    gateway.signal("TERM");
    gateway.ended().await;
    for mut stream in streams {
        let (text, error) = stream.rest().await;
        assert!(error.is_some() && !text.contains("[DONE]"), "a stream that was cut does not look whole");
        let last = events(&text).pop().unwrap();
        assert_eq!(last["error"]["message"], "the gateway stopped before the response was through", "{last}");
    }
    for reply in [whole.await.unwrap(), shared.await.unwrap().unwrap()] {
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "1"), "{}", reply.text());
        assert!(reply.text().contains("the gateway stopped"), "{}", reply.text());
    }
    let lines = gateway.access_log();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines.iter().all(|line| line["flag"] == "ST"), "{lines:?}");
}

#[tokio::test]
async fn an_upgraded_connection_that_the_drain_cuts_off_has_its_line() {
    let server = Server::start(|mut wire| async move {
        wire.head().await;
        wire.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await?;
        wire.closed().await;
        Ok(())
    })
    .await;
    let route = objects::route("r", everything_to(objects::to_backend("b")));
    let list = [objects::gateway(), route, objects::backend("b", &[server.address])];
    let mut gateway = Setup::with(list).args(["--drain", "0"]).serve().await;
    let mut wire = Wire::connect(gateway.http()).await;
    wire.write("GET /v1/realtime HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await.unwrap();
    assert!(wire.head().await.starts_with("HTTP/1.1 101 "));
    gateway.signal("TERM");
    gateway.ended().await;
    let line = gateway.logged("the connection", |line| line["path"] == "/v1/realtime").await;
    assert_eq!((&line["status"], &line["flag"]), (&json!(101), &json!("ST")));
}

#[tokio::test]
async fn signals_that_mean_a_renamed_log_open_a_new_one_and_end_nothing() {
    let sim = instant("a", "qwen").await;
    let setup = Setup::with(qwen(&sim));
    let log = setup.aside("access.log", "");
    let gateway = setup.args(["--access-log".as_ref(), log.as_os_str()]).serve().await;
    let written = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    for (round, signal) in ["USR1", "HUP"].into_iter().enumerate() {
        let former = log.with_extension(round.to_string());
        assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
        wait::eventually("the line is written", || written(&log) == 1).await;
        std::fs::rename(&log, &former).unwrap();
        gateway.signal(signal);
        wait::eventually("the log is opened again", || log.exists()).await;
        assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
        wait::eventually("the new file has the line", || written(&log) == 1).await;
        assert_eq!(written(&former), 1);
        std::fs::remove_file(&log).unwrap();
        gateway.signal(signal);
        wait::eventually("the log is opened again", || log.exists()).await;
    }
    gateway.signal("USR2");
    wait::eventually("the process has heard it", || gateway.stderr().contains("SIGUSR2")).await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
}

#[tokio::test]
async fn health_readiness_and_metrics_are_told() {
    let sim = slow().await;
    let gateway = Setup::with(qwen(&sim)).serve().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(Call::get(path).send(gateway.admin()).await.status, 200, "{path}");
    }
    for _ in 0..3 {
        Call::chat_stream("qwen", "hello", 5).send(gateway.http()).await;
    }
    Call::chat("unknown", "hello").send(gateway.http()).await;
    let metrics = Call::get("/metrics").host("localhost").send(gateway.admin()).await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    let text = metrics.text();
    assert!(text.ends_with("# EOF\n"));
    let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(
        families.len() > 5 && families.iter().all(|family| ["pailou_", "gen_ai_"].iter().any(|known| family.starts_with(known))),
        "{families:?}"
    );
    assert!(!gateway.stderr().contains("ERROR"), "nothing is wrong:\n{}", gateway.stderr());
    let status = Call::get("/status").host("localhost").send(gateway.admin()).await;
    assert!(status.json().to_string().contains("Accepted"));
}

#[tokio::test]
async fn the_access_log_tells_a_requests_story() {
    let sim = slow().await;
    let gateway = Setup::with(qwen(&sim)).serve().await;
    // Engines count a stream's tokens aloud only for those who ask.
    let body = r#"{"model":"qwen","messages":[{"role":"user","content":"你好"}],"stream":true,"stream_options":{"include_usage":true},
        "max_tokens":10,"min_tokens":10,"ignore_eos":true}"#;
    let call = Call::json(CHAT, body).header("x-request-id", "id-\"7\"");
    let body_length = call.body_length();
    let reply = call.send(gateway.http()).await;
    let line = gateway.logged("the request", |line| line["path"] == CHAT).await;
    let text = |key: &str| line[key].as_str().unwrap_or_else(|| panic!("no {key} in {line}")).to_owned();
    let number = |key: &str| line[key].as_f64().unwrap_or_else(|| panic!("no {key} in {line}"));
    assert_eq!((text("method"), text("host"), text("model")), ("POST".into(), "gateway.test".into(), "qwen".into()));
    assert_eq!(text("request_id"), "id-\"7\"");
    assert!(text("route").contains("models") && text("backend").contains("qwen"), "{line}");
    assert!(text("listener").contains("gw"), "{line}");
    assert_eq!(text("endpoint"), "qwen-0", "the pod: {line}");
    assert_eq!((number("status"), number("attempts"), number("output_tokens")), (200.0, 1.0, 10.0));
    assert_eq!((number("request_bytes"), number("response_bytes")), (body_length as f64, reply.body.len() as f64));
    assert!(number("input_tokens") > 0.0);
    let (first, all) = (number("ttft_ms"), number("duration_ms"));
    assert!(number("response_head_ms") <= first && first + 50.0 < all, "ten tokens at 10 ms: {line}");
}

#[tokio::test]
async fn flags_say_why_the_gateway_answered() {
    let sim = instant("a", "qwen").await;
    for shown in [true, false] {
        let gateway = Setup::with(qwen(&sim)).args(shown.then_some("--response-flags")).serve().await;
        let reply = Call::chat("unknown", "hello").send(gateway.http()).await;
        assert_eq!(reply.header("x-pailou-response-flag"), if shown { "NR" } else { "" });
        let line = gateway.logged("the request", |line| line["status"] == 404).await;
        assert_eq!((&line["flag"], &line["model"]), (&json!("NR"), &json!("unknown")));
    }
}

#[tokio::test]
async fn objects_can_come_from_standard_input() {
    let sim = instant("a", "qwen").await;
    let text = objects::documents(qwen(&sim));
    let (setup, mut input) = Setup::new().args(["-f", "-"]).with_input();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let gateway = setup.serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
}

/// Everything that the gateway shows to anyone.
async fn shown(gateway: &Gateway) -> String {
    let mut all = gateway.stdout() + &gateway.stderr();
    for path in ["/metrics", "/status", "/"] {
        all += &Call::get(path).host("localhost").send(gateway.admin()).await.text();
    }
    all
}

#[tokio::test]
async fn credentials_appear_nowhere() {
    const OURS: &str = "sk-ours-8d1f";
    const THEIRS: &str = "sk-theirs-77aa";
    let sim = instant("a", "qwen").await;
    let spec = json!({"credentialInjection": {"overwrite": true, "credential": {"valueRef": {"name": "key"}}}});
    let filter = objects::object("gateway.envoyproxy.io/v1alpha1", "HTTPRouteFilter", "inject", spec);
    let reference = json!([{"type": "ExtensionRef", "extensionRef": {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter", "name": "inject"}}]);
    let rules = json!([{"filters": reference, "backendRefs": [objects::to_backend("a")]}]);
    // The log also names errors in a Secret, but not its content.
    let mut broken = objects::secret("broken", "credential", OURS);
    broken["data"] = json!({"credential": format!("not base64 {OURS}")});
    let list = [
        objects::gateway(),
        objects::route("r", rules),
        objects::backend("a", &[sim.addr()]),
        filter,
        objects::secret("key", "credential", &format!("Bearer {OURS}")),
        broken,
    ];
    let gateway = Setup::with(list.clone()).args(["--log", "trace"]).serve().await;
    let call = || Call::chat("qwen", "hello").header("authorization", &format!("Bearer {THEIRS}")).header("x-api-key", THEIRS);
    let reply = call().send(gateway.http()).await;
    assert_eq!(reply.status, 200);
    sim.faults().set([pailou_sim::FaultKind::Reset(None).into()]);
    let failed = call().send(gateway.http()).await;
    let mut wire = Wire::connect(gateway.http()).await;
    wire.write(format!("GET / HTTP/1.1\r\nauthorization: Bearer {THEIRS}\r\nhost: a\0\r\n\r\n")).await.unwrap();
    wire.closed().await;
    let mut wrong = list.to_vec();
    wrong[4]["stringData"]["credential"] = json!([OURS]);
    gateway.save_objects(wrong);
    wait::eventually("the broken secret is told", || gateway.stderr().contains("Secret")).await;
    gateway.logged("the failed request", |line| line["status"] == failed.status.as_u16()).await;
    let mut all = shown(&gateway).await;
    for reply in [&reply, &failed] {
        all += &format!("{:?}{}", reply.headers, reply.text());
    }
    for secret in [OURS, THEIRS] {
        let at = all.find(secret).map(|at| all[at.saturating_sub(300)..(at + 50).min(all.len())].to_owned());
        assert_eq!(at, None);
    }
}

#[tokio::test]
async fn memory_does_not_grow_with_what_has_passed() {
    let sim = instant("a", "m").await;
    let list =
        [objects::gateway(), objects::route("r", everything_to(objects::to_backend("a"))), objects::backend("a", &[sim.addr()])];
    let gateway = Setup::with(list).args(["--access-log", "off"]).serve().await;
    let batch = |from: u32| {
        let to = gateway.http();
        async move {
            for index in from..from + 600 {
                let call =
                    Call::chat("m", "x").host(&format!("host-{index}.test")).header("x-request-id", &format!("request-{index}"));
                assert_eq!(call.echo().send(to).await.status, 200);
            }
        }
    };
    batch(0).await;
    let before = gateway.memory();
    batch(1000).await;
    batch(2000).await;
    let grown = gateway.memory().saturating_sub(before) >> 10;
    assert!(grown < 4096, "{grown} KiB after 1,200 requests to as many hosts");
}
