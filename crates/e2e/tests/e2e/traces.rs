//! Traces: spans that a collector gets, the context that backends get, and requests that wait for neither.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;

use pailou_e2e::client::{CHAT, Call, Reply};
use pailou_e2e::collector::{Collector, Mood, Span};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::python::Python;
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::{Config, Fault, FaultKind, Sim};
use serde_json::{Value, json};

use crate::support::{engine, events, instant, pool_of};

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A gateway that sends its spans at once.
pub(crate) fn traced(objects: Vec<Value>, url: &str) -> Setup {
    let setup = Setup::with(objects).env("OTEL_BSP_SCHEDULE_DELAY", "0");
    setup.env("OTEL_EXPORTER_OTLP_ENDPOINT", url).env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
}

fn chat_route(backend: Value) -> Vec<Value> {
    vec![objects::gateway(), objects::route("chat", json!([{"matches": [objects::by_prefix("/v1")], "backendRefs": [backend]}]))]
}

pub(crate) fn to_engine(engine: &Sim) -> Vec<Value> {
    let mut list = chat_route(objects::to_backend("engine"));
    list.push(objects::backend("engine", &[engine.addr()]));
    list
}

pub(crate) fn to_pool(engines: &[&Sim]) -> Vec<Value> {
    let mut list = chat_route(objects::to_pool("qwen"));
    list.extend(pool_of("qwen", engines));
    list
}

/// The spans of a trace once its server span is there.
pub(crate) async fn trace(collector: &Collector, trace_id: &str) -> (Span, Vec<Span>) {
    let server = collector.span("the request's span", |span| span.trace_id == trace_id && span.kind == 2).await;
    let mut clients = collector.spans();
    clients.retain(|span| span.trace_id == trace_id && span.kind == 3);
    (server, clients)
}

/// Attributes without those whose values a test cannot know, which are checked to be there.
fn known(span: &Span, unknown: &[&str]) -> BTreeMap<String, Value> {
    let mut attributes = span.attributes.clone();
    for name in unknown {
        assert!(attributes.remove(*name).is_some(), "{name} of {span:?}");
    }
    attributes
}

fn object(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).unwrap()
}

pub(crate) async fn chat(gateway: &Gateway, parent: &str) -> Reply {
    Call::chat("qwen", "hello").header("traceparent", parent).send(gateway.http()).await
}

async fn until_metric(gateway: &Gateway, name: &str, labels: &[&str], enough: impl Fn(f64) -> bool) {
    wait::within(&format!("{name} {labels:?}"), async {
        while !enough(gateway.metric(name, labels).await) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_model_call_has_a_span_of_the_gateway_and_one_of_its_attempt() {
    for protocol in ["grpc", "http/protobuf"] {
        let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
        let setup = traced(to_pool(&[&engine]), &collector.url()).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let gateway = setup.env("OTEL_SERVICE_NAME", "edge").env("POD_NAME", "edge-1").serve().await;
        let body = json!({
            "model": "qwen", "stream": true, "max_tokens": 5, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "hello"}],
        });
        let call = Call::json(&format!("{CHAT}?key=hidden"), body.to_string()).header("traceparent", PARENT);
        let reply = call.header("x-request-id", "id-1").send(gateway.http()).await;
        let (server, clients) = trace(&collector, TRACE).await;
        assert_eq!((server.name.as_str(), server.parent.as_str(), server.is_error), ("POST /v1/*", "b7ad6b7169203331", false));
        let (host, port) = (gateway.http().ip().to_string(), gateway.http().port());
        let expected = json!({
            "http.request.method": "POST", "url.scheme": "http", "url.path": CHAT, "http.route": "/v1/*",
            "server.address": "gateway.test", "server.port": port, "network.protocol.version": "1.1",
            "http.response.status_code": 200, "pailou.listener": "default/gw/http", "pailou.route": "HTTPRoute/default/chat/0",
            "pailou.request_id": "id-1", "gen_ai.request.model": "qwen", "pailou.attempts": 1,
        });
        let unknown = ["client.address", "network.peer.address", "network.peer.port"];
        assert_eq!(known(&server, &unknown), object(expected), "{protocol}, from {host}");
        let [client] = <[Span; 1]>::try_from(clients).unwrap();
        assert_eq!((client.name.as_str(), &client.parent), ("chat qwen", &server.span_id));
        let events = events(&reply.text());
        let usage =
            events.iter().map(|event| &event["usage"]).find(|usage| usage.is_object()).expect("the stream ends with its usage");
        let reason = events.iter().map(|event| &event["choices"][0]["finish_reason"]).find(|reason| reason.is_string());
        let engine = engine.addr();
        let expected = json!({
            "http.request.method": "POST", "server.address": engine.ip(), "server.port": engine.port(),
            "url.full": format!("http://{engine}{CHAT}"), "http.response.status_code": 200,
            "pailou.endpoint": "qwen-0", "pailou.backend": "pool/default/qwen",
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "qwen",
            "gen_ai.request.stream": true, "gen_ai.request.max_tokens": 5,
            "gen_ai.response.model": "qwen", "gen_ai.response.finish_reasons": [reason],
            "gen_ai.usage.input_tokens": usage["prompt_tokens"], "gen_ai.usage.output_tokens": usage["completion_tokens"],
            "gen_ai.usage.cache_read.input_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        });
        assert_eq!(known(&client, &["gen_ai.response.time_to_first_chunk"]), object(expected), "{protocol}");
        assert!(server.start <= client.start && client.start <= client.end && client.end <= server.end);
        let (name, pick) = &server.events[0];
        assert_eq!((name.as_str(), &pick["pailou.pool"]), ("pailou.pick", &json!("pool/default/qwen")));
        assert_eq!((&pick["pailou.endpoint"], &pick["pailou.queue.wait"]), (&json!("qwen-0"), &json!(0.0)));
        let resource = ["service.name", "k8s.pod.name", "telemetry.sdk.language"].map(|name| server.resource[name].clone());
        assert_eq!(resource, ["edge", "edge-1", "rust"].map(Value::from));
        let path = if protocol == "grpc" { "/opentelemetry.proto.collector.trace.v1.TraceService/Export" } else { "/v1/traces" };
        assert!(collector.received().iter().all(|request| request.path == path));
    }
}

/// The receiver has the official messages of OpenTelemetry's project.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_messages_are_understood() {
    let Some(python) = Python::with(&["opentelemetry.proto.collector.trace.v1.trace_service_pb2"]) else { return };
    let (engine, address) = (instant("a", "qwen").await, loopback().to_string());
    let mut receiver = python.script("otlp_receiver.py");
    let mut receiver = receiver.args([&address, "4318"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(receiver.stdout.take().unwrap()).lines();
    let setup = traced(to_pool(&[&engine]), &format!("http://{address}:4318")).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let gateway = setup.serve().await;
    chat(&gateway, PARENT).await;
    let read = tokio::task::spawn_blocking(move || {
        lines.take(2).map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()).collect::<Vec<_>>()
    });
    let spans = wait::within("both spans are printed", read).await.unwrap();
    receiver.kill().unwrap();
    receiver.wait().unwrap();
    let [server, client] = <[Value; 2]>::try_from(spans).unwrap();
    let shown = |span: &Value| ["name", "kind", "trace", "parent"].map(|field| span[field].as_str().unwrap().to_owned());
    assert_eq!(shown(&server), ["POST /v1/*", "SPAN_KIND_SERVER", TRACE, "b7ad6b7169203331"]);
    assert_eq!(shown(&client), ["chat qwen", "SPAN_KIND_CLIENT", TRACE, server["span"].as_str().unwrap()]);
    assert_eq!(client["attributes"]["gen_ai.response.finish_reasons"], json!(["stop"]));
    assert_eq!(server["events"][0]["pailou.endpoint"], "qwen-0");
}

#[tokio::test]
async fn a_whole_answer_tells_its_model_and_reason_too() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let gateway = traced(to_engine(&engine), &collector.url()).serve().await;
    let reply = chat(&gateway, PARENT).await;
    let (_, clients) = trace(&collector, TRACE).await;
    let attributes = &clients[0].attributes;
    assert_eq!(attributes["gen_ai.response.model"], "qwen");
    assert_eq!(attributes["gen_ai.response.finish_reasons"][0], reply.json()["choices"][0]["finish_reason"]);
    assert_eq!(attributes["gen_ai.usage.output_tokens"], reply.json()["usage"]["completion_tokens"]);
    assert_eq!(attributes.get("gen_ai.response.time_to_first_chunk"), None, "no chunks, no first one");
}

#[tokio::test]
async fn the_backend_gets_the_attempts_span_as_its_parent() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let gateway = traced(to_engine(&engine), &collector.url()).serve().await;
    let call = Call::chat("qwen", "hello").echo().header("traceparent", PARENT);
    let echo = call.header("tracestate", "vendor=1").header("baggage", "user=1").send(gateway.http()).await;
    let (server, clients) = trace(&collector, TRACE).await;
    assert_eq!(echo.received("traceparent"), format!("00-{TRACE}-{}-01", clients[0].span_id));
    assert_eq!((echo.received("tracestate"), echo.received("baggage")), ("vendor=1".into(), "user=1".into()));
    assert_eq!(server.trace_state, "vendor=1");
    // An invalid parent begins a trace anew, and its state is nobody's.
    let call = Call::chat("qwen", "hello").echo().header("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01");
    let echo = call.header("tracestate", "vendor=1").send(gateway.http()).await;
    let parent = echo.received("traceparent");
    assert!(parent.len() == 55 && !parent.contains("00000000000000000000") && echo.received("tracestate").is_empty(), "{parent}");
    let (server, clients) = trace(&collector, &parent[3..35]).await;
    assert_eq!((server.parent.as_str(), clients[0].span_id.as_str()), ("", &parent[36..52]));
}

#[tokio::test]
async fn a_parent_that_is_not_kept_keeps_the_gateways_spans_from_being_kept() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let gateway = traced(to_engine(&engine), &collector.url()).serve().await;
    let echo = Call::chat("qwen", "hello").echo().header("traceparent", UNSAMPLED).send(gateway.http()).await;
    let parent = echo.received("traceparent");
    assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-00") && parent != UNSAMPLED, "{parent}");
    // One that is kept comes after it, and all of its batch is there with it.
    Call::get("/v1/models").send(gateway.http()).await;
    collector.span("the next request's span", |span| span.kind == 2).await;
    assert!(collector.spans().iter().all(|span| span.trace_id != TRACE));
}

#[tokio::test]
async fn b3_is_read_and_written_where_it_is_asked_for() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let gateway = traced(to_engine(&engine), &collector.url()).env("OTEL_PROPAGATORS", "b3,b3multi").serve().await;
    let b3 = format!("{TRACE}-b7ad6b7169203331-1");
    let call = Call::chat("qwen", "hello").echo().header("b3", &b3).header("traceparent", "as-it-is");
    let echo = call.send(gateway.http()).await;
    let (server, clients) = trace(&collector, TRACE).await;
    let span = &clients[0].span_id;
    assert_eq!(echo.received("b3"), format!("{TRACE}-{span}-1-{}", server.span_id));
    assert_eq!((&echo.received("x-b3-spanid"), echo.received("x-b3-sampled")), (span, "1".into()));
    assert_eq!(echo.received("traceparent"), "as-it-is");
}

#[tokio::test]
async fn a_route_that_edits_a_context_has_its_way() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let edit = json!({"remove": ["traceparent", "tracestate"], "set": [{"name": "x-b3-traceid", "value": "own"}]});
    let mut list = to_engine(&engine);
    list[1]["spec"]["rules"][0]["filters"] = json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": edit}]);
    let setup = traced(list, &collector.url()).env("OTEL_PROPAGATORS", "tracecontext,b3,b3multi");
    let gateway = setup.serve().await;
    let call = Call::chat("qwen", "hello").echo().header("traceparent", PARENT).header("tracestate", "a=1");
    let echo = call.send(gateway.http()).await;
    let received = ["traceparent", "tracestate", "x-b3-traceid", "x-b3-spanid"].map(|name| echo.received(name));
    assert_eq!(received, ["", "", "own", ""]);
    let (server, clients) = trace(&collector, TRACE).await;
    assert_eq!(echo.received("b3"), format!("{TRACE}-{}-1-{}", clients[0].span_id, server.span_id));
}

#[tokio::test]
async fn without_traces_a_clients_context_goes_on_as_it_is() {
    let engine = instant("a", "qwen").await;
    let gateway = Setup::with(to_engine(&engine)).serve().await;
    let lines = [("traceparent", "00-zz"), ("tracestate", "a=1,a=1"), ("b3", "0"), ("x-b3-flags", "1"), ("baggage", "a=1")];
    let call = lines.iter().fold(Call::chat("qwen", "hello").echo(), |call, (name, value)| call.header(name, value));
    let echo = call.send(gateway.http()).await;
    for (name, value) in lines {
        assert_eq!(echo.received(name), value, "{name}");
    }
    assert_eq!(gateway.metric("pailou_spans_exported_total", &[]).await, 0.0);
}

#[tokio::test]
async fn each_attempt_has_a_span() {
    let collector = Collector::start().await;
    let engines = [instant("a", "qwen").await, instant("b", "qwen").await];
    for engine in &engines {
        engine.faults().set([Fault::new(FaultKind::Status(503)).path("/v1/").times(1)]);
    }
    let gateway = traced(to_pool(&[&engines[0], &engines[1]]), &collector.url()).serve().await;
    assert_eq!(chat(&gateway, PARENT).await.status, 503);
    let (server, clients) = trace(&collector, TRACE).await;
    assert_eq!((server.attributes["error.type"].as_str(), server.is_error), (Some("503"), true));
    assert_eq!((clients.len(), server.events.len(), &server.attributes["pailou.attempts"]), (2, 2, &json!(2)));
    for (number, client) in clients.iter().enumerate() {
        let resent = client.attributes.get("http.request.resend_count").and_then(Value::as_u64).unwrap_or(0);
        assert_eq!((resent, client.attributes["error.type"].as_str()), (number as u64, Some("503")));
        assert!(client.is_error && client.parent == server.span_id);
    }
    let addresses: Vec<_> = clients.iter().map(|client| client.attributes["server.address"].clone()).collect();
    assert_ne!(addresses[0], addresses[1]);
    assert_ne!(clients[0].span_id, clients[1].span_id);
}

#[tokio::test]
async fn what_the_gateway_answers_itself_says_why() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let gateway = traced(to_engine(&engine), &collector.url()).serve().await;
    assert_eq!(Call::get("/elsewhere").header("traceparent", PARENT).send(gateway.http()).await.status, 404);
    let (server, clients) = trace(&collector, TRACE).await;
    assert_eq!((server.name.as_str(), server.is_error, clients.len()), ("GET", false, 0));
    assert_eq!((&server.attributes["error.type"], server.attributes.get("http.route")), (&json!("NR"), None));
    engine.kill().await;
    let other = PARENT.replace("0af7", "1af7");
    assert_eq!(chat(&gateway, &other).await.status, 503);
    let (server, clients) = trace(&collector, &other[3..35]).await;
    assert_eq!((&server.attributes["error.type"], server.is_error), (&json!("UF"), true));
    assert_eq!((&clients[0].attributes["error.type"], clients[0].is_error), (&json!("UF"), true));
    assert_eq!(clients[0].attributes.get("http.response.status_code"), None);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_no_error() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let gateway = traced(to_engine(&engine), &collector.url()).serve().await;
    engine.faults().set([FaultKind::Stall(None).into()]);
    let call = chat(&gateway, PARENT);
    let reached = wait::eventually("the engine has the request", || engine.stats().requests > 0);
    tokio::select! { _ = call => unreachable!("it is not answered"), () = reached => {} }
    let (server, clients) = trace(&collector, TRACE).await;
    for span in [&server, &clients[0]] {
        assert_eq!((&span.attributes["error.type"], span.is_error), (&json!("DC"), false), "{span:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_passed_on_keeps_its_own_error() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    engine.faults().set([Fault::new(FaultKind::Status(502)).path("/v1/")]);
    let mut list = to_engine(&engine);
    let rule = &mut list[1]["spec"]["rules"][0];
    // The pause is longer than the request may take, and so is never begun.
    rule["timeouts"] = json!({"request": "10s"});
    rule["retry"] = json!({"codes": [502], "attempts": 1, "backoff": "9999h"});
    let gateway = traced(list, &collector.url()).serve().await;
    assert_eq!(chat(&gateway, PARENT).await.status, 504);
    let (server, clients) = trace(&collector, TRACE).await;
    assert_eq!((&server.attributes["error.type"], &clients[0].attributes["error.type"]), (&json!("UT"), &json!("502")));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error() {
    let collector = Collector::start().await;
    let engine = engine(Config::new("a", ["qwen"]).instant()).await;
    engine.faults().set([Fault::new(FaultKind::Reset(Some(4))).path("/v1/")]);
    let gateway = traced(to_engine(&engine), &collector.url()).serve().await;
    let call = Call::chat_stream("qwen", "hello", 50).header("traceparent", PARENT);
    let mut open = call.open(gateway.http()).await;
    open.rest().await;
    let (server, clients) = trace(&collector, TRACE).await;
    for span in [&server, &clients[0]] {
        assert_eq!((&span.attributes["error.type"], span.is_error), (&json!("UC"), true), "{span:?}");
        assert_eq!(span.attributes["http.response.status_code"], 200);
    }
}

#[tokio::test]
async fn a_sampler_of_the_environment_keeps_its_part() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let setup = traced(to_engine(&engine), &collector.url()).env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
    let gateway = setup.env("OTEL_TRACES_SAMPLER_ARG", "0").serve().await;
    for _ in 0..5 {
        Call::chat("qwen", "hello").send(gateway.http()).await;
    }
    chat(&gateway, PARENT).await;
    trace(&collector, TRACE).await;
    assert!(collector.spans().iter().all(|span| span.trace_id == TRACE));
}

#[tokio::test]
async fn requests_to_the_collector_are_compressed_and_bear_its_headers() {
    for protocol in ["grpc", "http/protobuf"] {
        let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
        let setup = traced(to_engine(&engine), &collector.url()).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let setup = setup.env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        let gateway = setup.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collectors-key").serve().await;
        chat(&gateway, PARENT).await;
        trace(&collector, TRACE).await;
        let headers = &collector.received()[0].headers;
        assert_eq!(headers["authorization"], "Bearer collectors-key");
        let coding = if protocol == "grpc" { "grpc-encoding" } else { "content-encoding" };
        assert_eq!(headers[coding], "gzip");
        assert!(!gateway.stderr().contains("collectors-key"));
        // Its answers are in the same coding, and are read.
        until_metric(&gateway, "pailou_spans_exported_total", &[], |count| count == 2.0).await;
        collector.set(Mood::Rejects(1));
        chat(&gateway, PARENT).await;
        until_metric(&gateway, "pailou_spans_dropped_total", &["reason=\"refused\""], |count| count > 0.0).await;
        let counts =
            [gateway.metric("pailou_spans_exported_total", &[]).await, gateway.metric("pailou_spans_dropped_total", &[]).await];
        assert!(counts[1] < counts[0], "{protocol}: {counts:?}");
    }
}

#[tokio::test]
async fn a_collector_that_asks_for_it_gets_a_batch_again() {
    for mood in [Mood::Answers(503, Some(("retry-after", "0"))), Mood::Answers(429, None), Mood::Grpc(14)] {
        let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
        let protocol = if matches!(mood, Mood::Grpc(_)) { "grpc" } else { "http/protobuf" };
        collector.set(mood.clone());
        let setup = traced(to_engine(&engine), &collector.url()).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let gateway = setup.serve().await;
        chat(&gateway, PARENT).await;
        wait::eventually("it was asked", || !collector.received().is_empty()).await;
        collector.set(Mood::Takes);
        trace(&collector, TRACE).await;
        until_metric(&gateway, "pailou_spans_exported_total", &[], |count| count == 2.0).await;
        assert_eq!(gateway.metric("pailou_spans_dropped_total", &[]).await, 0.0, "{mood:?}");
        assert!(gateway.stderr().contains("spans cannot be sent"), "{}", gateway.stderr());
    }
}

#[tokio::test]
async fn what_a_collector_refuses_is_dropped_and_counted() {
    for (mood, protocol, dropped) in [
        (Mood::Answers(400, None), "http/protobuf", 2.0),
        (Mood::Grpc(16), "grpc", 2.0),
        (Mood::Rejects(1), "grpc", 1.0),
        (Mood::Rejects(1), "http/protobuf", 1.0),
    ] {
        let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
        collector.set(mood.clone());
        let setup = traced(to_engine(&engine), &collector.url()).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let gateway = setup.serve().await;
        chat(&gateway, PARENT).await;
        let refused = ["reason=\"refused\""];
        until_metric(&gateway, "pailou_spans_dropped_total", &refused, |count| count == dropped).await;
        assert_eq!((collector.received().len(), gateway.metric("pailou_spans_exported_total", &[]).await), (1, 2.0 - dropped));
    }
}

#[tokio::test]
async fn no_request_waits_for_a_collector_that_is_slow_or_away() {
    let (slow, engine) = (Collector::start().await, instant("a", "qwen").await);
    slow.set(Mood::Holds);
    let nobody = SocketAddr::from((loopback(), 4317));
    for url in [slow.url(), format!("http://{nobody}")] {
        let setup = traced(to_engine(&engine), &url).env("OTEL_BSP_MAX_QUEUE_SIZE", "10");
        let gateway = setup.env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4").serve().await;
        for _ in 0..40 {
            assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
        }
        // 80 spans: 10 wait at most, a batch of 4 is under way.
        until_metric(&gateway, "pailou_spans_dropped_total", &["reason=\"queue_full\""], |count| count >= 60.0).await;
        assert_eq!(gateway.metric("pailou_spans_exported_total", &[]).await, 0.0);
    }
}

#[tokio::test]
async fn a_batch_that_nobody_takes_for_too_long_is_dropped() {
    let engine = instant("a", "qwen").await;
    let nobody = SocketAddr::from((loopback(), 4317));
    let setup = traced(to_engine(&engine), &format!("http://{nobody}")).env("OTEL_BSP_EXPORT_TIMEOUT", "100");
    let gateway = setup.serve().await;
    chat(&gateway, PARENT).await;
    until_metric(&gateway, "pailou_spans_dropped_total", &["reason=\"unreachable\""], |count| count == 2.0).await;
    let collector = Collector::at(nobody).await;
    chat(&gateway, PARENT).await;
    trace(&collector, TRACE).await;
    wait::eventually("the log says so", || gateway.stderr().contains("takes spans again")).await;
}

#[tokio::test]
async fn the_end_of_the_process_sends_what_waits() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let setup = traced(to_engine(&engine), &collector.url()).env("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let mut gateway = setup.serve().await;
    chat(&gateway, PARENT).await;
    assert!(collector.received().is_empty(), "it waits for more");
    gateway.signal("TERM");
    gateway.ended().await;
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test]
async fn a_collector_that_wants_nothing_for_a_while_gets_nothing() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    collector.set(Mood::Answers(429, Some(("retry-after", "3600"))));
    let setup = traced(to_engine(&engine), &collector.url()).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let mut gateway = setup.serve().await;
    chat(&gateway, PARENT).await;
    until_metric(&gateway, "pailou_spans_dropped_total", &["reason=\"unreachable\""], |count| count == 2.0).await;
    chat(&gateway, PARENT).await;
    gateway.signal("TERM");
    gateway.ended().await;
    assert_eq!(collector.received().len(), 1, "its end sends what waits, but to this one");
    assert!(gateway.stderr().contains("ends before the collector has all spans"), "{}", gateway.stderr());
}

#[tokio::test]
async fn the_end_of_the_process_does_not_wait_for_long() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    collector.set(Mood::Holds);
    let mut gateway = traced(to_engine(&engine), &collector.url()).serve().await;
    chat(&gateway, PARENT).await;
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    // The batch that the collector holds is among them.
    let line = "ends before the collector has all spans";
    assert!(gateway.stderr().lines().any(|it| it.contains(line) && !it.contains("waiting=0")), "{}", gateway.stderr());
}

#[tokio::test]
async fn no_prompt_credential_or_header_is_in_a_span() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let mut list = to_engine(&engine);
    list.push(objects::secret("keys", "client", "s3cret-of-a-key"));
    let auth = json!({"apiKeyAuth": {"credentialRefs": [{"name": "keys"}], "extractFrom": [{"headers": ["x-api-key"]}]}});
    list.push(objects::on_route("SecurityPolicy", "chat", auth));
    let gateway = traced(list, &collector.url()).serve().await;
    let call = Call::chat("qwen", "s3cret-of-a-prompt").header("x-api-key", "s3cret-of-a-key");
    let call = call.header("authorization", "Bearer s3cret-of-a-token").header("cookie", "a=s3cret-of-a-cookie");
    let call = call.header("x-tenant", "s3cret-of-a-tenant").header("baggage", "a=s3cret-of-baggage").header("traceparent", PARENT);
    let reply = call.send(gateway.http()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let refused = PARENT.replace("0af7", "1af7");
    let call = Call::chat("qwen", "s3cret-of-a-prompt").header("x-api-key", "s3cret-of-another").header("traceparent", &refused);
    assert_eq!(call.send(gateway.http()).await.status, 401);
    trace(&collector, TRACE).await;
    let (server, _) = trace(&collector, &refused[3..35]).await;
    assert_eq!(server.attributes["error.type"], "UAEX");
    let answer = reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    for request in collector.received() {
        let text = String::from_utf8_lossy(&request.message).into_owned();
        assert!(!text.contains("s3cret") && !text.contains(&answer), "{text}");
    }
}

/// An EnvoyProxy of the Gateway `gw`, whose spans go to a Backend.
pub(crate) fn envoy_proxy(collector: &Collector, service: &str, more: Value) -> Vec<Value> {
    let mut gateway = objects::gateway();
    gateway["spec"]["infrastructure"] =
        json!({"parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "p"}});
    let otel =
        json!({"headers": [{"name": "authorization", "value": "Bearer collectors-key"}], "resourceAttributes": {"zone": "a"}});
    let mut provider = json!({"type": "OpenTelemetry", "serviceName": service, "openTelemetry": otel});
    provider["backendRefs"] = json!([objects::to_backend("collector")]);
    let mut tracing = json!({"provider": provider});
    more.as_object().unwrap().iter().for_each(|(key, value)| tracing[key] = value.clone());
    let proxy = objects::object("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "p", json!({"telemetry": {"tracing": tracing}}));
    vec![gateway, proxy, objects::backend("collector", &[collector.address()])]
}

#[tokio::test]
async fn an_envoy_proxy_names_a_collector_of_its_gateway() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let with = |service: &str, more: Value| {
        let routes = to_engine(&engine).into_iter().skip(1);
        envoy_proxy(&collector, service, more).into_iter().chain(routes).collect::<Vec<_>>()
    };
    let mut gateway = Setup::with(with("edge", json!({"samplingRate": 0}))).serve().await;
    // None but that of a client that keeps its own.
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    chat(&gateway, PARENT).await;
    let (server, clients) = trace(&collector, TRACE).await;
    assert_eq!((&server.resource["service.name"], &server.resource["zone"]), (&json!("edge"), &json!("a")));
    assert_eq!(clients[0].name, "chat");
    assert!(collector.spans().iter().all(|span| span.trace_id == TRACE));
    assert_eq!(collector.received()[0].headers["authorization"], "Bearer collectors-key");
    // Other settings have another tracer, and what waits for the one before is sent.
    let other = PARENT.replace("0af7", "1af7");
    chat(&gateway, &other).await;
    gateway.save_objects(with("other", json!({"samplingRate": 100})));
    let moved = async {
        loop {
            Call::chat("qwen", "hello").send(gateway.http()).await;
            if collector.spans().iter().any(|span| span.resource["service.name"] == "other") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    wait::within("the other settings are in force", moved).await;
    let (server, _) = trace(&collector, &other[3..35]).await;
    assert_eq!(server.resource["service.name"], "edge");
    assert!(!gateway.stderr().contains("collectors-key"));
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn a_policy_of_a_route_decides_which_of_its_requests_are_kept() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let rule = |path: &str| json!({"matches": [objects::by_prefix(path)], "backendRefs": [objects::to_backend("engine")]});
    let fraction = |numerator: u32| json!({"telemetry": {"tracing": {"samplingFraction": {"numerator": numerator}}}});
    let list = vec![
        objects::gateway(),
        objects::backend("engine", &[engine.addr()]),
        objects::route("none", json!([rule("/none")])),
        objects::route("all", json!([rule("/all")])),
        objects::on_route("BackendTrafficPolicy", "none", fraction(0)),
        objects::on_route("BackendTrafficPolicy", "all", fraction(100)),
    ];
    for (sampler, path, is_kept) in [("always_on", "/none", false), ("parentbased_always_off", "/all", true)] {
        let gateway = traced(list.clone(), &collector.url()).env("OTEL_TRACES_SAMPLER", sampler).serve().await;
        let ask = async |path: &str| Call::get(&format!("{path}/echo")).echo().send(gateway.http()).await.received("traceparent");
        let parent = ask(path).await;
        assert!(parent.ends_with(if is_kept { "-01" } else { "-00" }), "{parent}");
        if is_kept {
            let (server, clients) = trace(&collector, &parent[3..35]).await;
            assert_eq!((server.name.as_str(), &server.attributes["url.scheme"], clients.len()), ("GET /all/*", &json!("http"), 1));
            assert_eq!(server.attributes["server.port"], gateway.http().port());
        }
    }
    assert!(collector.spans().iter().all(|span| span.attributes.get("url.path") != Some(&json!("/none/echo"))));
}

#[tokio::test]
async fn a_gateway_that_names_a_collector_that_cannot_be_had_has_no_traces() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let zipkin = json!({"provider": {"type": "Zipkin", "backendRefs": [objects::to_backend("collector")]}});
    let gone = json!({"provider": {"type": "OpenTelemetry", "backendRefs": [objects::to_backend("gone")]}});
    for more in [zipkin, gone] {
        let routes = to_engine(&engine).into_iter().skip(1);
        let list: Vec<Value> = envoy_proxy(&collector, "edge", more).into_iter().chain(routes).collect();
        // The environment names another, which is not what the Gateway's operator asked for.
        let gateway = traced(list, &collector.url()).serve().await;
        let echo = Call::chat("qwen", "hello").echo().header("traceparent", PARENT).send(gateway.http()).await;
        assert_eq!(echo.received("traceparent"), PARENT);
    }
}

/// A backend that refuses each request with an event, as if it had begun to answer.
async fn refusing_engine() -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind((loopback(), 8000)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"no\"}}]}\n\n";
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/event-stream\r\nconnection: close\r\ncontent-length";
    let answer = format!("{head}: {}\r\n\r\n{event}", event.len());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_error_has_no_time_to_a_first_chunk() {
    let collector = Collector::start().await;
    let mut list = chat_route(objects::to_backend("engine"));
    list.push(objects::backend("engine", &[refusing_engine().await]));
    let gateway = traced(list, &collector.url()).serve().await;
    let reply = chat(&gateway, PARENT).await;
    assert_eq!((reply.status.as_u16(), reply.text().contains("no")), (400, true));
    let (_, clients) = trace(&collector, TRACE).await;
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0].attributes.get("gen_ai.response.time_to_first_chunk"), None, "{clients:?}");
}
