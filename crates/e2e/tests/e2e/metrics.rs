//! Metrics: one series for each thing that they tell of, in a form that Prometheus can read.

use pailou_e2e::client::{Call, Connection};
use pailou_e2e::exposition::{self, Format, Sample};
use pailou_e2e::gateway::Setup;
use pailou_e2e::picker::Picker;
use pailou_e2e::{objects, wait};
use pailou_sim::Sim;
use serde_json::{Value, json};

use crate::support::{everything_to, instant, pool_of};

/// The pool `qwen` of this engine, which serves on two ports as far as the pool knows.
fn two_ports(engine: &Sim) -> Vec<Value> {
    let mut pool = pool_of("qwen", &[engine]);
    pool[0]["spec"]["targetPorts"] = json!([{"number": 8000}, {"number": 8001}]);
    pool
}

fn named<'a>(samples: &'a [Sample], name: &'a str) -> impl Iterator<Item = &'a Sample> {
    samples.iter().filter(move |sample| sample.name == name)
}

#[tokio::test]
async fn each_endpoint_route_and_kind_has_series_of_its_own() {
    let engine = instant("a", "qwen").await;
    let grpc = json!({"parentRefs": [{"name": "gw"}], "rules": [
        {"matches": [{"method": {"service": "x.Y"}}], "backendRefs": [objects::to_pool("qwen")]},
    ]});
    let mut list = vec![
        objects::gateway(),
        objects::route("r", everything_to(objects::to_pool("qwen"))),
        objects::object("gateway.networking.k8s.io/v1", "GRPCRoute", "r", grpc),
        // A second cluster of the pool, with policies of its own.
        objects::host_route("checked", &["checked.test"], everything_to(objects::to_pool("qwen"))),
        objects::on_route("BackendTrafficPolicy", "checked", json!({"healthCheck": {"passive": {"consecutive5XxErrors": 3}}})),
        objects::on_route("BackendTrafficPolicy", "r", json!({"circuitBreaker": {"maxParallelRequests": 9}})),
    ];
    list.extend(two_ports(&engine));
    let gateway = Setup::with(list).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    let call = Call::post("/x.Y/Z", "\0\0\0\0\0").header("content-type", "application/grpc").header("te", "trailers");
    wait::within("the call", Connection::http2(gateway.http()).await.unwrap().send(call)).await.unwrap();
    let text = exposition::of(gateway.admin()).await;
    let samples = exposition::parse(Format::OpenMetrics, &text).unwrap();

    for metric in ["pailou_endpoint_requests_active", "pailou_engine_requests_waiting"] {
        let addresses: Vec<_> =
            named(&samples, metric).map(|sample| sample.labels["address"].rsplit(':').next().unwrap()).collect();
        assert_eq!(addresses, ["8000", "8001"], "one for each port, however many clusters there are");
    }
    let kinds: Vec<_> = named(&samples, "pailou_request_duration_seconds_count").map(|sample| &*sample.labels["kind"]).collect();
    assert_eq!(kinds, ["GRPCRoute", "HTTPRoute"]);
}

#[tokio::test]
async fn the_picker_and_the_simulator_keep_to_the_format_too() {
    let engine = instant("a", "qwen").await;
    let picker = Picker::serve("qwen", two_ports(&engine), &[]).await;
    let text = exposition::of(picker.admin()).await;
    let samples = exposition::parse(Format::OpenMetrics, &text).unwrap();
    assert_eq!(named(&samples, "pailou_engine_requests_waiting").count(), 2);
    Call::chat_stream("qwen", "hello", 5).send(engine.addr()).await;
    let text = Call::get("/metrics").send(engine.addr()).await.text();
    exposition::parse(Format::Prometheus, &text).unwrap();
}
