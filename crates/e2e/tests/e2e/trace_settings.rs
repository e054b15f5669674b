//! Traces by settings of an EnvoyProxy and of a BackendTrafficPolicy: which are kept, and under which names.

use pailou_e2e::client::{Call, Connection};
use pailou_e2e::collector::Collector;
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::objects;
use serde_json::{Value, json};

use crate::protocols::grpc_server;
use crate::support::{everything_to, instant};
use crate::traces::{PARENT, TRACE, envoy_proxy, to_engine, trace, traced};

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

fn custom_tags() -> Value {
    let header = |name: &str| json!({"type": "RequestHeader", "requestHeader": {"name": name, "defaultValue": "none"}});
    json!({
        "zone": {"type": "Literal", "literal": {"value": "a"}},
        "team": header("x-team"), "project": header("x-project"), "credential": header("authorization"),
        "absent": {"type": "RequestHeader", "requestHeader": {"name": "x-absent"}},
        "place": {"type": "Environment", "environment": {"name": "PLACE"}},
        "pod": {"type": "Environment", "environment": {"name": "NO_SUCH_VARIABLE", "defaultValue": "pod"}},
        "taken": {"type": "Literal", "literal": {"value": "by tags"}},
    })
}

#[tokio::test]
async fn an_envoy_proxy_names_spans_and_gives_them_attributes() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let more = json!({
        "customTags": custom_tags(),
        "tags": {"taken": "%REQ(:METHOD)% %RESPONSE_CODE%", "nothing": "%REQ(X-ABSENT)%", "at": "%UPSTREAM_HOST%"},
        "spanName": {"client": "in %REQ(:PATH)%", "server": "to %UPSTREAM_HOST_NAME%"},
    });
    let routes = to_engine(&engine).into_iter().skip(1);
    let list: Vec<Value> = envoy_proxy(&collector, "edge", more).into_iter().chain(routes).collect();
    let gateway = Setup::with(list).env("PLACE", "rack 7").serve().await;
    let call = Call::chat("qwen", "hello").header("traceparent", PARENT).header("x-team", "red").header("x-team", "blue");
    call.header("authorization", "Bearer clients-key").send(gateway.http()).await;
    let (server, clients) = trace(&collector, TRACE).await;
    assert_eq!(server.name, "in /v1/chat/completions");
    assert!(clients[0].name.starts_with("to "), "{}", clients[0].name);
    for span in [&server, &clients[0]] {
        for (name, value) in [
            ("zone", "a"),
            ("team", "red,blue"),
            ("project", "none"),
            ("credential", "REDACTED"),
            ("place", "rack 7"),
            ("pod", "pod"),
            ("taken", "POST 200"),
        ] {
            assert_eq!(span.attributes.get(name), Some(&json!(value)), "{name} of {span:?}");
        }
        assert_eq!(span.attributes["at"], engine.addr().to_string());
        assert_eq!(["absent", "nothing"].map(|name| span.attributes.get(name)), [None, None]);
    }
}

#[tokio::test]
async fn a_routes_names_and_attributes_go_before_its_gateways() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let more = json!({"tags": {"zone": "gateway", "kept": "yes"}, "spanName": {"client": "gateway", "server": "gateway"}});
    let routes = to_engine(&engine).into_iter().skip(1);
    let mut list: Vec<Value> = envoy_proxy(&collector, "edge", more).into_iter().chain(routes).collect();
    let tracing = json!({"tags": {"zone": "%REQ(X-ZONE)%"}, "spanName": {"client": "", "server": "%REQ(X-ZONE)%"}});
    list.push(objects::on_route("BackendTrafficPolicy", "chat", json!({"telemetry": {"tracing": tracing}})));
    let gateway = Setup::with(list).serve().await;
    Call::chat("qwen", "hello").header("traceparent", PARENT).header("x-zone", "route").send(gateway.http()).await;
    let (server, clients) = trace(&collector, TRACE).await;
    assert_eq!((server.name.as_str(), clients[0].name.as_str()), ("gateway", "route"));
    for span in [&server, &clients[0]] {
        assert_eq!((&span.attributes["zone"], &span.attributes["kept"]), (&json!("route"), &json!("yes")));
    }
}

#[tokio::test]
async fn a_status_of_grpc_in_trailers_is_the_spans() {
    let collector = Collector::start().await;
    let mut backend = objects::backend("b", &[grpc_server().await]);
    backend["spec"]["appProtocols"] = json!(["gateway.envoyproxy.io/h2c"]);
    let list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_backend("b"))), backend];
    let gateway = traced(list, &collector.url()).serve().await;
    // The server answers 13, internal, where the client takes no trailers.
    for (number, te) in ["trailers", ""].into_iter().enumerate() {
        let parent = PARENT.replace("0af7", &format!("{number}af7"));
        let call = Call::post("/inference.Engine/Chat", "\0\0\0\0\x03abc").header("content-type", "application/grpc");
        let call = if te.is_empty() { call } else { call.header("te", te) };
        let call = call.header("traceparent", &parent);
        assert_eq!(Connection::http2(gateway.http()).await.unwrap().send(call).await.unwrap().status, 200);
        let (server, clients) = trace(&collector, &parent[3..35]).await;
        for span in [&server, &clients[0]] {
            assert_eq!(span.attributes["rpc.system"], "grpc");
            let expected = if te.is_empty() { (json!(13), Some("INTERNAL"), true) } else { (json!(0), None, false) };
            let error = span.attributes.get("error.type").and_then(Value::as_str);
            assert_eq!((span.attributes["rpc.grpc.status_code"].clone(), error, span.is_error), expected, "{span:?}");
        }
    }
}
