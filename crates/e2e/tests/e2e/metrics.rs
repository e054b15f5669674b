//! Metrics: one series for each thing that they tell of, in a form that Prometheus can read.

use pailou_e2e::client::{Call, Connection};
use pailou_e2e::collector::Collector;
use pailou_e2e::exposition::{self, Format, Sample};
use pailou_e2e::gateway::Setup;
use pailou_e2e::picker::Picker;
use pailou_e2e::python::Python;
use pailou_e2e::{limit_store, objects, wait};
use pailou_sim::{Config, Sim};
use serde_json::{Value, json};

use crate::support::{engine, everything_to, instant, pool_of};

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

/// The value of the only sample of this name with these labels.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |sample: &&Sample| labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|it| it == value));
    let found: Vec<_> = named(samples, name).filter(has).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    found[0].value
}

/// Metrics, once they are like this: a request is counted a moment after its client has the response.
async fn scraped(admin: std::net::SocketAddr, is_so: impl Fn(&[Sample]) -> bool) -> Vec<Sample> {
    let scrape = async {
        loop {
            let samples = exposition::parse(Format::OpenMetrics, &exposition::of(admin).await).unwrap();
            if is_so(&samples) {
                return samples;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    wait::within("the metrics", scrape).await
}

#[tokio::test]
async fn model_calls_have_the_names_of_the_conventions_and_of_other_pickers() {
    let engine = engine(Config::new("a", ["qwen"])).await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&engine]));
    let sets = ["--metric-names", "inference-pool,inference-objective,llm-d"];
    let gateway = Setup::with(list).args(sets).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    let streamed = Call::chat_stream("qwen", "hello", 5).send(gateway.http()).await;
    assert_eq!(streamed.status, 200);
    assert_eq!(Call::json("/v1/chat/completions", r#"{"model": "qwen"}"#).send(gateway.http()).await.status, 400);
    let running = Call::chat_stream("qwen", "hello", 2_000).open(gateway.http()).await;

    let is_settled = |samples: &[Sample]| {
        named(samples, "llm_d_epp_request_total").any(|sample| sample.value == 3.0)
            && named(samples, "llm_d_epp_request_running").any(|sample| sample.value == 1.0)
    };
    let samples = scraped(gateway.admin(), is_settled).await;
    let model = [("gen_ai_operation_name", "chat"), ("gen_ai_provider_name", "openai"), ("gen_ai_request_model", "qwen")];
    let of_model =
        |name: &str, label: &'static str, with: &'static str| value(&samples, name, &[&model[..], &[(label, with)]].concat());
    assert_eq!(of_model("gen_ai_server_request_duration_seconds_count", "error_type", ""), 2.0);
    assert_eq!(of_model("gen_ai_server_request_duration_seconds_count", "error_type", "4xx"), 1.0);
    assert_eq!(of_model("gen_ai_client_token_usage_count", "gen_ai_token_type", "output"), 1.0, "streams do not tell unless asked");
    assert_eq!(value(&samples, "gen_ai_server_time_per_output_token_seconds_count", &model), 1.0, "the streamed one");
    for names in ["inference_objective_", "llm_d_epp_"] {
        let names = |rest: &str| format!("{names}{rest}");
        assert_eq!(value(&samples, &names("request_total"), &[("model_name", "qwen"), ("target_model_name", "qwen")]), 3.0);
        assert_eq!(value(&samples, &names("request_error_total"), &[("model_name", "qwen"), ("error_code", "4xx")]), 1.0);
    }
    assert_eq!(value(&samples, "llm_d_epp_request_running", &[("model_name", "qwen")]), 1.0);
    assert_eq!(value(&samples, "inference_objective_running_requests", &[("model_name", "qwen")]), 1.0);
    assert_eq!(value(&samples, "inference_pool_ready_pods", &[("name", "qwen")]), 1.0);
    assert_eq!(value(&samples, "llm_d_epp_ready_endpoints", &[("name", "qwen")]), 1.0);
    assert_eq!(named(&samples, "inference_pool_per_pod_queue_size").count(), 1);
    drop(running);
    scraped(gateway.admin(), |samples| value(samples, "llm_d_epp_request_running", &[("model_name", "qwen")]) == 0.0).await;
}

#[tokio::test]
async fn the_picker_has_the_names_of_other_pickers() {
    let engine = instant("a", "qwen").await;
    let picker =
        Picker::serve("qwen", pool_of("qwen", &[&engine]), &["--metric-names", "inference-pool,inference-extension,llm-d"]).await;
    let text = exposition::of(picker.admin()).await;
    let samples = exposition::parse(Format::OpenMetrics, &text).unwrap();
    assert_eq!(value(&samples, "inference_pool_ready_pods", &[("name", "qwen")]), 1.0);
    for set in ["inference_extension", "llm_d_epp"] {
        assert_eq!(value(&samples, &format!("{set}_flow_control_pool_saturation"), &[("inference_pool", "qwen")]), 0.0);
        assert_eq!(value(&samples, &format!("{set}_prefix_indexer_size"), &[("inference_pool", "qwen")]), 0.0);
        assert_eq!(value(&samples, &format!("{set}_scheduler_e2e_duration_seconds_count"), &[]), 0.0);
    }
}

#[tokio::test]
async fn objectives_of_streams_are_counted() {
    let engine = instant("a", "qwen").await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&engine]));
    let gateway = Setup::with(list).serve().await;
    let call = Call::chat_stream("qwen", "hello", 5).header("x-slo-ttft-ms", "60000").header("x-llm-d-slo-tpot-ms", "0.000001");
    assert_eq!(call.send(gateway.http()).await.status, 200);
    let is_counted = |samples: &[Sample]| {
        let total = |objective: &str, result: &str| {
            let mut all = named(samples, "pailou_request_objectives_total");
            all.find(|sample| sample.labels["objective"] == objective && sample.labels["result"] == result).map(|it| it.value)
        };
        total("ttft", "kept") == Some(1.0) && total("tpot", "missed") == Some(1.0)
    };
    scraped(gateway.admin(), is_counted).await;
}

#[tokio::test]
async fn requests_and_attempts_have_the_names_of_the_conventions_for_http() {
    let engine = engine(Config::new("a", ["qwen"])).await;
    let rules = json!({"rules": [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}], "backendRefs": [objects::to_pool("qwen")]},
    ]});
    let mut list = vec![objects::gateway(), objects::host_route("r", &[], rules["rules"].clone())];
    list.extend(pool_of("qwen", &[&engine]));
    let gateway = Setup::with(list).args(["--metric-names", "http"]).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    assert_eq!(Call::json("/v1/chat/completions", r#"{"model": "qwen"}"#).send(gateway.http()).await.status, 400);
    assert_eq!(Call::get("/elsewhere").send(gateway.http()).await.status, 404);
    let _running = Call::chat_stream("qwen", "hello", 2_000).open(gateway.http()).await;

    let server = "http_server_request_duration_seconds_count";
    let samples = scraped(gateway.admin(), |samples| named(samples, server).map(|sample| sample.value).sum::<f64>() == 3.0).await;
    let of = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    let routed = [("http_request_method", "POST"), ("url_scheme", "http"), ("http_route", "/v1/*"), ("route", "default/r/0")];
    assert_eq!(of(server, &[&routed[..], &[("http_response_status_code", "200"), ("error_type", "")]].concat()), 1.0);
    assert_eq!(of(server, &[&routed[..], &[("http_response_status_code", "400"), ("error_type", "")]].concat()), 1.0);
    let unrouted = [("http_request_method", "GET"), ("http_route", ""), ("http_response_status_code", "404"), ("error_type", "NR")];
    assert_eq!(of(server, &unrouted), 1.0);
    let client = "http_client_request_duration_seconds_count";
    let attempt = [("http_request_method", "POST"), ("backend", "pool/default/qwen")];
    assert_eq!(of(client, &[&attempt[..], &[("http_response_status_code", "200"), ("error_type", "")]].concat()), 1.0);
    assert_eq!(of(client, &[&attempt[..], &[("http_response_status_code", "400"), ("error_type", "400")]].concat()), 1.0);
    assert_eq!(of("http_server_active_requests", &[("http_request_method", "POST"), ("url_scheme", "http")]), 1.0);
}

#[tokio::test]
async fn dashboards_of_envoy_gateway_and_of_ack_find_their_names() {
    let engine = engine(Config::new("a", ["qwen"])).await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&engine]));
    let gateway = Setup::with(list).args(["--metric-names", "envoy-gateway,ack"]).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    assert_eq!(Call::json("/v1/chat/completions", r#"{"model": "qwen"}"#).send(gateway.http()).await.status, 400);
    assert_eq!(Call::chat("other", "hello").send(gateway.http()).await.status, 404, "the engine serves no such model");
    let total = "envoy_http_downstream_rq_total";
    let samples = scraped(gateway.admin(), |samples| named(samples, total).any(|sample| sample.value == 3.0)).await;
    let http = [("envoy_http_conn_manager_prefix", "http-8080")];
    let cluster = [("envoy_cluster_name", "httproute/default/r/rule/0")];
    let of = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    assert_eq!(of("envoy_http_downstream_rq_xx", &[http[0], ("envoy_response_code_class", "4")]), 2.0);
    assert_eq!(of("envoy_http_downstream_rq_time_count", &http), 3.0);
    assert_eq!(of("envoy_http_downstream_cx_total", &http), 3.0);
    let address = format!("{}_8080", gateway.http().ip());
    named(&samples, "envoy_listener_downstream_cx_active").find(|it| it.labels["envoy_listener_address"] == address).unwrap();
    assert_eq!(of("envoy_cluster_upstream_rq_total", &cluster), 3.0);
    assert_eq!(of("envoy_cluster_upstream_rq_xx", &[cluster[0], ("envoy_response_code_class", "2")]), 1.0);
    assert_eq!(of("envoy_cluster_upstream_rq_time_count", &cluster), 3.0);
    assert!(
        of("envoy_cluster_upstream_cx_rx_bytes_total", &cluster) > 0.0 && of("envoy_cluster_upstream_cx_active", &cluster) > 0.0
    );
    assert!(of("envoy_cluster_upstream_cx_total", &cluster) >= 1.0);
    for (name, expected) in [("total", 1.0), ("healthy", 1.0), ("degraded", 0.0), ("excluded", 0.0)] {
        assert_eq!(of(&format!("envoy_cluster_membership_{name}"), &cluster), expected);
    }
    assert_eq!(of("envoy_cluster_outlier_detection_ejections_active", &cluster), 0.0);
    assert_eq!(of("envoy_server_live", &[]), 1.0);
    assert!(of("envoy_server_memory_allocated", &[]) > 1e6);
    let call = [("gen_ai_operation_name", "chat"), ("gen_ai_request_model", "qwen"), ("gen_ai_response_model", "qwen")];
    assert_eq!(of("gen_ai_client_operation_duration_count", &[&call[..], &[("gen_ai_error_type", "")]].concat()), 1.0);
    assert_eq!(of("gen_ai_client_operation_duration_count", &[&call[..], &[("gen_ai_error_type", "4xx")]].concat()), 1.0);
}

#[tokio::test]
async fn clusters_of_envoy_gateway_are_rules_that_forward_and_have_the_bytes_that_went_upstream() {
    let engine = engine(Config::new("a", ["qwen"])).await;
    let redirect = json!([{"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "elsewhere.test"}}]}]);
    let nobody = std::net::SocketAddr::from((pailou_e2e::address::loopback(), 1));
    let list = vec![
        objects::gateway(),
        objects::backend("engine", &[engine.addr()]),
        objects::backend("nobody", &[nobody]),
        objects::host_route("r", &["gateway.test"], everything_to(objects::to_backend("engine"))),
        objects::host_route("redirect", &["old.test"], redirect),
        objects::host_route("nobody", &["nobody.test"], everything_to(objects::to_backend("nobody"))),
    ];
    let gateway = Setup::with(list).args(["--metric-names", "envoy-gateway"]).serve().await;
    for (host, status) in [("gateway.test", 200), ("old.test", 302), ("nobody.test", 503), ("unknown.test", 404)] {
        assert_eq!(Call::chat("qwen", "hello").host(host).send(gateway.http()).await.status, status, "{host}");
    }
    let total = "envoy_http_downstream_rq_total";
    let samples = scraped(gateway.admin(), |samples| named(samples, total).any(|sample| sample.value == 4.0)).await;
    let name = |route: &str| format!("httproute/default/{route}/rule/0");
    for metric in samples.iter().map(|sample| &sample.name).filter(|name| name.starts_with("envoy_cluster_")) {
        let clusters: std::collections::BTreeSet<_> =
            named(&samples, metric).map(|it| it.labels["envoy_cluster_name"].clone()).collect();
        assert_eq!(Vec::from_iter(clusters), [name("nobody"), name("r")], "{metric}");
    }
    let bytes = |route: &str| {
        let of = |direction| format!("envoy_cluster_upstream_cx_{direction}_bytes_total");
        ["rx", "tx"].map(|it| value(&samples, &of(it), &[("envoy_cluster_name", &name(route))]))
    };
    assert!(bytes("r").iter().all(|bytes| *bytes > 0.0), "{:?}", bytes("r"));
    assert_eq!(bytes("nobody"), [0.0, 0.0], "no connection");
}

#[tokio::test]
async fn every_series_under_every_name_is_read_by_the_parser_of_prometheus_own_client() {
    let Some(python) = Python::with(&["prometheus_client.openmetrics.parser"]) else { return };
    let collector = Collector::start().await;
    let engine = engine(Config::new("a", ["qwen"])).await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&engine]));
    list[2]["metadata"]["annotations"] = json!({"pailou.dev/queueing": "true"});
    let names = ["--metric-names", "inference-pool,inference-objective,inference-extension,llm-d,http,envoy-gateway,ack"];
    let setup = Setup::with(list).args(names).env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    let gateway = setup.env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").serve().await;
    let traced = |call: Call| call.header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(traced(Call::chat_stream("qwen", "hello", 5)).send(gateway.http()).await.status, 200);
    assert_eq!(Call::chat("no \"model\" of \\ this } name", "hello").send(gateway.http()).await.status, 404);
    let ended = "pailou_request_duration_seconds_count";
    scraped(gateway.admin(), |samples| named(samples, ended).map(|it| it.value).sum::<f64>() == 2.0).await;

    let text = exposition::of(gateway.admin()).await;
    let directory = limit_store::directory();
    let file = directory.join("metrics");
    std::fs::write(&file, &text).unwrap();
    let read = python.run("openmetrics.py", &[file.to_str().unwrap()]).await;
    std::fs::remove_dir_all(directory).unwrap();
    let read: Vec<Value> = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ours = exposition::parse(Format::OpenMetrics, &text).unwrap();
    assert_eq!(read.len(), ours.len());
    for (sample, other) in ours.iter().zip(&read) {
        assert_eq!((json!(sample.name), json!(sample.labels)), (other["name"].clone(), other["labels"].clone()));
    }
    let with_trace = |name: &str| {
        let bucket = format!("{name}_bucket");
        let traces = ours.iter().filter(|it| it.name == bucket).filter_map(|it| Some((it.exemplar.clone()?, it.value)));
        traces.filter(|((trace, _), count)| trace == "0af7651916cd43dd8448eb211c80319c" && *count > 0.0).count()
    };
    for name in ["pailou_request_duration_seconds", "pailou_time_to_first_token_seconds"] {
        assert_eq!(with_trace(name), 1, "{name}");
    }
    for name in ["gen_ai_server_request_duration_seconds", "gen_ai_server_time_to_first_token_seconds"] {
        assert_eq!(with_trace(name), 1, "{name}");
    }
    assert_eq!(
        read.iter().filter(|sample| !sample["exemplar"].is_null()).count(),
        ours.iter().filter(|it| it.exemplar.is_some()).count()
    );
}

#[tokio::test]
async fn overhead_is_the_time_of_the_gateway_and_not_of_the_backend() {
    let engine = engine(Config { time_scale: 5.0, ..Config::new("a", ["qwen"]) }).await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&engine]));
    let gateway = Setup::with(list).serve().await;
    assert_eq!(Call::chat_stream("qwen", "hello", 20).send(gateway.http()).await.status, 200);
    assert_eq!(Call::get("/elsewhere").send(gateway.http()).await.status, 404);
    let count = "pailou_gateway_overhead_seconds_count";
    let samples = scraped(gateway.admin(), |samples| named(samples, count).any(|sample| sample.value == 2.0)).await;
    let sum = value(&samples, "pailou_gateway_overhead_seconds_sum", &[]);
    let total = named(&samples, "pailou_request_duration_seconds_sum").map(|sample| sample.value).sum::<f64>();
    assert!(sum > 0.0 && sum * 2.0 < total, "{sum} s of {total} s");
}
