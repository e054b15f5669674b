//! Traces by settings of an EnvoyProxy and of a BackendTrafficPolicy: which are kept, and under which names.

use pailou_e2e::client::Call;
use pailou_e2e::collector::Collector;
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::objects;
use serde_json::{Value, json};

use crate::support::instant;
use crate::traces::{PARENT, envoy_proxy, to_engine, traced};

/// Whether the trace of a request with these headers is kept, as its backend hears.
async fn is_kept(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> bool {
    let call = headers.iter().fold(Call::get(path).echo(), |call, (name, value)| call.header(name, value));
    let parent = call.send(gateway.http()).await.received("traceparent");
    match parent.rsplit_once('-') {
        Some((_, "01")) => true,
        Some((_, "00")) => false,
        _ => panic!("{parent:?} has flags"),
    }
}

const FORCED: &[(&str, &str)] = &[("x-client-trace-id", "any")];
const SAMPLED: &[(&str, &str)] = &[("traceparent", PARENT)];

#[tokio::test]
async fn clients_force_no_more_than_they_may_and_the_overall_part_bounds_all() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let cases = [
        (json!({"samplingRate": 0}), [false, false, true]),
        (json!({"samplingRate": 0, "clientSamplingFraction": {"numerator": 100}}), [false, true, true]),
        (json!({"clientSamplingFraction": {"numerator": 100}, "overallSamplingFraction": {"numerator": 0}}), [false, false, false]),
    ];
    for (more, expected) in cases {
        let routes = to_engine(&engine).into_iter().skip(1);
        let list: Vec<Value> = envoy_proxy(&collector, "edge", more.clone()).into_iter().chain(routes).collect();
        let gateway = Setup::with(list).serve().await;
        for (headers, expected) in [&[], FORCED, SAMPLED].into_iter().zip(expected) {
            assert_eq!(is_kept(&gateway, "/v1/echo", headers).await, expected, "{more}: {headers:?}");
        }
    }
}

#[tokio::test]
async fn a_route_has_parts_of_its_own_and_leaves_the_others_as_they_are() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let rule = |path: &str| json!({"matches": [objects::by_prefix(path)], "backendRefs": [objects::to_backend("engine")]});
    let mut list = vec![objects::gateway(), objects::backend("engine", &[engine.addr()])];
    for (name, tracing) in [
        ("forced", json!({"samplingFraction": {"numerator": 0}, "clientSamplingFraction": {"numerator": 1, "denominator": 1}})),
        ("bound", json!({"overallSamplingFraction": {"numerator": 0}})),
    ] {
        list.push(objects::route(name, json!([rule(&format!("/{name}"))])));
        list.push(objects::on_route("BackendTrafficPolicy", name, json!({"telemetry": {"tracing": tracing}})));
    }
    let gateway = traced(list, &collector.url()).serve().await;
    for (path, expected) in [("/forced/echo", [false, true, true]), ("/bound/echo", [false, false, false])] {
        for (headers, expected) in [&[], FORCED, SAMPLED].into_iter().zip(expected) {
            assert_eq!(is_kept(&gateway, path, headers).await, expected, "{path}: {headers:?}");
        }
    }
}
