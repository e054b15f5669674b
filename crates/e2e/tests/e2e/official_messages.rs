//! Spans, log records and metrics, read by the official messages of OpenTelemetry's project.

use std::io::Write as _;
use std::process::Stdio;

use pailou_e2e::client::Call;
use pailou_e2e::collector::Collector;
use pailou_e2e::gateway::Setup;
use pailou_e2e::objects;
use pailou_e2e::python::Python;
use serde_json::{Value, json};

use crate::support::instant;
use crate::traces::{PARENT, TRACE, envoy_proxy, to_pool, trace};

/// Members of this name, at any depth.
fn members<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(all) => all.iter().for_each(|(key, value)| {
            if key == name {
                found.push(value);
            }
            members(value, name, found);
        }),
        Value::Array(all) => all.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

#[tokio::test]
async fn all_signals_are_what_the_official_messages_are() {
    let modules = ["trace.v1.trace_service_pb2", "logs.v1.logs_service_pb2", "metrics.v1.metrics_service_pb2"];
    let modules = modules.map(|module| format!("opentelemetry.proto.collector.{module}"));
    let Some(python) = Python::with(&modules.each_ref().map(String::as_str)) else { return };
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let mut list = envoy_proxy(&collector, "edge", json!({"tags": {"zone": "a"}}));
    let sink = json!({"backendRefs": [objects::to_backend("collector")], "resourceAttributes": {"zone": "a"}});
    let otlp = json!([{"type": "OpenTelemetry", "openTelemetry": sink}]);
    list[1]["spec"]["telemetry"]["metrics"] = json!({"sinks": otlp});
    list[1]["spec"]["telemetry"]["accessLog"] = json!({"settings": [
        {"format": {"type": "Text", "text": "%REQ(:PATH)% %RESPONSE_CODE%"}, "sinks": otlp},
        {"format": {"type": "JSON", "json": {"status": "%RESPONSE_CODE%"}}, "sinks": otlp},
    ]});
    list.extend(to_pool(&[&engine]).into_iter().skip(1));
    let setup = Setup::with(list).env("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true");
    let mut gateway = setup.serve().await;
    Call::chat("qwen", "hello").header("traceparent", PARENT).send(gateway.http()).await;
    Call::get("/none").header("traceparent", PARENT).send(gateway.http()).await;
    trace(&collector, TRACE).await;
    // The end of the process sends what waits, and the metrics once more.
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    let mut reader = python.script("otlp_check.py");
    let mut reader = reader.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = reader.stdin.take().unwrap();
    let lines: String = collector
        .received()
        .iter()
        .map(|request| {
            let digits: String = request.message.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} {digits}\n", request.path)
        })
        .collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success() && writer.join().unwrap().is_ok());
    let read: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (kind, name, expected) in [
        ("Trace", "name", json!("POST /v1/*")),
        ("Trace", "stringValue", json!("a")),
        ("Logs", "stringValue", json!("/v1/chat/completions 200")),
        ("Logs", "key", json!("status")),
        ("Metrics", "name", json!("gen_ai.client.token.usage")),
        ("Metrics", "name", json!("pailou_requests")),
    ] {
        let mut found = Vec::new();
        read.iter().filter(|line| line["kind"] == kind).for_each(|line| members(&line["message"], name, &mut found));
        assert!(found.contains(&&expected), "{kind}: {name} {expected} in {found:?}");
    }
}
