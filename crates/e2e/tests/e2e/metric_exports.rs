//! Metrics for collectors, on a timer: the same that Prometheus gets.

use pailou_e2e::client::Call;
use pailou_e2e::collector::{Collector, Mood};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::python::program;
use pailou_e2e::{objects, wait};
use pailou_sim::Sim;
use serde_json::{Value, json};

use crate::support::{everything_to, instant, pool_of};

fn to_pool(engine: &Sim) -> Vec<Value> {
    let mut list = vec![objects::gateway(), objects::route("chat", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[engine]));
    list
}

async fn chat(gateway: &Gateway) {
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
}

#[tokio::test]
async fn the_environments_collector_gets_the_metrics_that_prometheus_gets() {
    for (protocol, temporality) in [("grpc", "cumulative"), ("http/protobuf", "delta")] {
        let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
        let setup = Setup::with(to_pool(&engine)).env("OTEL_METRICS_EXPORTER", "otlp").env("OTEL_SERVICE_NAME", "edge");
        let setup = setup.env("OTEL_TRACES_EXPORTER", "none").env("OTEL_METRIC_EXPORT_INTERVAL", "100");
        let setup = setup.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let mut gateway = setup.env("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", temporality).serve().await;
        for _ in 0..3 {
            chat(&gateway).await;
        }
        let name = "gen_ai.server.request.duration";
        let durations = || collector.points().into_iter().filter(|point| point.metric == name);
        let is_delta = temporality == "delta";
        // Each counts once: as a part of the sum, or in all that follow.
        let total = || {
            if is_delta { durations().map(|point| point.count).sum() } else { durations().map(|it| it.count).max().unwrap_or(0) }
        };
        wait::eventually("all three are told", || total() == 3).await;
        let point = durations().next_back().unwrap();
        assert_eq!((point.unit.as_str(), point.temporality), ("s", if is_delta { 1 } else { 2 }));
        assert_eq!((&point.attributes["gen_ai.request.model"], &point.resource["service.name"]), (&json!("qwen"), &json!("edge")));
        assert_eq!((point.buckets.iter().sum::<u64>(), point.buckets.len()), (point.count, point.bounds.len() + 1), "{point:?}");
        let gauge = collector.point("a gauge", |point| point.metric == "pailou_request_body_bytes").await;
        assert_eq!((gauge.temporality, gauge.unit.as_str()), (0, "By"));
        // The last are told at the end.
        chat(&gateway).await;
        gateway.signal("TERM");
        assert!(gateway.ended().await.success());
        assert_eq!(total(), 4);
    }
}

#[tokio::test]
async fn an_envoy_proxy_names_collectors_of_metrics_and_hides_them_from_prometheus() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let sink = json!({"type": "OpenTelemetry", "openTelemetry": {
        "backendRefs": [objects::to_backend("collector")], "reportCountersAsDeltas": true,
        "headers": [{"name": "authorization", "value": "Bearer collectors-key"}], "resourceAttributes": {"zone": "a"},
    }});
    let with = |metrics: Value| {
        let mut list = to_pool(&engine);
        list[0]["spec"]["infrastructure"] =
            json!({"parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "p"}});
        let spec = json!({"telemetry": {"metrics": metrics}});
        list.push(objects::object("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "p", spec));
        list.push(objects::backend("collector", &[collector.address()]));
        list
    };
    let mut other = sink.clone();
    other["openTelemetry"]["resourceAttributes"]["zone"] = json!("b");
    let gateway = Setup::with(with(json!({"sinks": [sink]}))).serve().await;
    chat(&gateway).await;
    assert_eq!(gateway.metric("pailou_metrics_dropped_total", &[]).await, 0.0);
    // The timer is a minute's, but the end of a sink is an export, too.
    gateway.save_objects(with(json!({"sinks": [other], "prometheus": {"disable": true}})));
    let point = collector.point("a counter", |point| point.metric == "pailou_requests" && point.value > 0.0).await;
    assert_eq!((point.temporality, point.value, &point.resource["zone"]), (1, 1.0, &json!("a")));
    assert_eq!(point.resource["service.name"], "gw.default");
    assert_eq!(collector.received()[0].headers["authorization"], "Bearer collectors-key");
    wait::within("the endpoint shows none", async {
        while Call::get("/metrics").host("localhost").send(gateway.admin()).await.text().trim() != "# EOF" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_envoy_proxy_has_the_endpoint_for_prometheus_compressed() {
    let Some(curl) = program("curl") else { return };
    let engine = instant("a", "qwen").await;
    for (kind, coding) in [("Gzip", "gzip"), ("Brotli", "br"), ("Zstd", "zstd")] {
        let mut list = to_pool(&engine);
        list[0]["spec"]["infrastructure"] =
            json!({"parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "p"}});
        let spec = json!({"telemetry": {"metrics": {"prometheus": {"compression": {"type": kind}}}}});
        list.push(objects::object("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "p", spec));
        let gateway = Setup::with(list).serve().await;
        let ask = async |accept: &str| {
            let call = Call::get("/metrics").host("localhost").header("accept-encoding", accept);
            call.send(gateway.admin()).await
        };
        let (plain, other) = (ask("identity").await, ask("snappy").await);
        assert_eq!((plain.header("content-encoding"), other.header("content-encoding")), ("", ""), "{kind}");
        let coded = ask("gzip, br, zstd").await;
        assert_eq!((coded.header("content-encoding"), coded.header("vary")), (coding, "accept-encoding"));
        assert!(coded.body.len() < plain.body.len() / 3, "{kind}: {} of {}", coded.body.len(), plain.body.len());
        let url = format!("http://{}/metrics", gateway.admin());
        let read = std::process::Command::new(&curl).args(["--silent", "--fail", "--compressed", &url]).output().unwrap();
        let text = String::from_utf8(read.stdout).unwrap();
        assert!(text.contains("pailou_requests_active") && text.ends_with("# EOF\n"), "{kind}: {text}");
    }
}

#[tokio::test]
async fn a_collector_of_metrics_that_refuses_keeps_nobody_waiting() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    collector.set(Mood::Grpc(3));
    let setup = Setup::with(to_pool(&engine)).env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", collector.url());
    let setup = setup.env("OTEL_METRIC_EXPORT_INTERVAL", "50").env("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc");
    let gateway = setup.serve().await;
    wait::within("metrics are dropped", async {
        while gateway.metric("pailou_metrics_dropped_total", &["reason=\"refused\""]).await < 1.0 {
            chat(&gateway).await;
        }
    })
    .await;
    collector.set(Mood::Takes);
    collector.point("a point once it takes them", |point| point.metric == "pailou_requests").await;
}
