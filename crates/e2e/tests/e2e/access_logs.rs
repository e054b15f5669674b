//! Access logs of EnvoyProxies: lines in files, records at collectors, entries at Envoy's access log service, and requests that wait for none.

use std::path::PathBuf;

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::collector::{Collector, Mood};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::wire::{Wire, header};
use pailou_e2e::{objects, wait};
use pailou_sim::{Fault, FaultKind, Sim};
use serde_json::{Value, json};

use crate::support::{instant, pool_of};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A Gateway with this access log, and a route for `/v1` to engines of a pool.
fn logged(access_log: Value, engines: &[&Sim]) -> Vec<Value> {
    let mut gateway = objects::gateway();
    gateway["spec"]["infrastructure"] =
        json!({"parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "p"}});
    let spec = json!({"telemetry": {"accessLog": access_log}});
    let rule = json!({"matches": [objects::by_prefix("/v1")], "backendRefs": [objects::to_pool("qwen")]});
    let mut list = vec![gateway, objects::object("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "p", spec)];
    list.push(objects::route("chat", json!([rule])));
    list.extend(pool_of("qwen", engines));
    list
}

fn file(path: &str) -> Value {
    json!([{"type": "File", "file": {"path": path}}])
}

fn with_collector(mut list: Vec<Value>, collector: &Collector) -> Setup {
    list.push(objects::backend("collector", &[collector.address()]));
    Setup::with(list)
}

/// Lines of a file that is made later.
fn lines(path: &PathBuf) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn line(path: &PathBuf, wanted: &str) -> String {
    wait::eventually_some(wanted, || lines(path).into_iter().find(|line| line.contains(wanted))).await
}

async fn until_dropped(gateway: &Gateway, sink: &str, reason: &str) {
    let labels = [format!("sink=\"{sink}\""), format!("reason=\"{reason}\"")];
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    wait::within(&format!("{labels:?} are dropped"), async {
        while gateway.metric("pailou_access_log_dropped_total", &labels).await < 1.0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_names_no_settings_has_envoy_gateways_lines_on_standard_output() {
    let engine = instant("a", "qwen").await;
    let gateway = Setup::with(logged(json!({}), &[&engine])).serve().await;
    let call = Call::chat("qwen", "hello").header("x-request-id", "id-1").header("user-agent", "curl/8");
    assert_eq!(call.send(gateway.http()).await.status, 200);
    let line = gateway.logged("the request's line", |line| line["x-request-id"] == "id-1").await;
    let expected = json!({
        ":authority": "gateway.test", "method": "POST", "x-envoy-origin-path": CHAT, "protocol": "HTTP/1.1", "response_code": 200,
        "response_flags": "-", "response_code_details": "via_upstream", "connection_termination_details": null,
        "upstream_transport_failure_reason": null, "upstream_local_address": null,
        "user-agent": "curl/8", "x-request-id": "id-1", "requested_server_name": null, "route_name": "default/chat/0",
        "upstream_cluster": "pool/default/qwen", "upstream_host": engine.addr().to_string(),
        "downstream_local_address": gateway.http().to_string(),
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&line[name], value, "{name} of {line}");
    }
    for name in ["bytes_received", "bytes_sent", "duration"] {
        assert!(line[name].is_u64(), "{name} of {line}");
    }
    let service_time: u64 = line["x-envoy-upstream-service-time"].as_str().unwrap().parse().unwrap();
    assert!(service_time <= line["duration"].as_u64().unwrap(), "{line}");
    assert_eq!(line.as_object().unwrap().len(), 24, "{line}");
    assert!(line["downstream_remote_address"].as_str().unwrap().starts_with(line["x-forwarded-for"].as_str().unwrap()));
    assert!(line["start_time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(gateway.access_log().len(), 1, "the process's own line is not there beside it");
}

#[tokio::test]
async fn operators_conditions_and_rotation_make_the_lines_of_files() {
    let engine = instant("a", "qwen").await;
    let setup = Setup::new();
    let (plain, errors) = (setup.aside("plain.log", ""), setup.aside("errors.log", ""));
    let text = "%REQ(:METHOD)% %REQ(X-NONE?:PATH):3% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %REQ(X-NONE)% \
                %DYNAMIC_METADATA(pailou:model)% %DYNAMIC_METADATA(io.envoy.ai_gateway:llm_output_token)% %QUERY_PARAM(page)% %REQ(X-LOG)% \
                %RESP(CONTENT-TYPE)% 100%%";
    let log = json!({"settings": [
        {"format": {"type": "Text", "text": text}, "sinks": file(plain.to_str().unwrap())},
        {"format": {"type": "JSON", "json": {"code": "%RESPONSE_CODE%", "both": "%RESPONSE_CODE%/%REQ(X-LOG)%"}},
         "matches": ["response.code >= 400", "'x-log' in request.headers"], "sinks": file(errors.to_str().unwrap())},
    ]});
    let gateway = setup.file("objects.yaml", &objects::documents(logged(log, &[&engine]))).serve().await;
    let reply = Call::json(
        &format!("{CHAT}?page=7"),
        json!({"model": "qwen", "messages": [{"role": "user", "content": "hello"}]}).to_string(),
    );
    let reply = reply.header("x-log", "a\tb").send(gateway.http()).await;
    let tokens = &reply.json()["usage"]["completion_tokens"];
    assert_eq!(line(&plain, "POST").await, format!("POST /v1 200 - - - qwen {tokens} 7 a b application/json 100%"));
    assert_eq!(Call::get("/elsewhere").send(gateway.http()).await.status, 404);
    assert_eq!(line(&plain, "GET").await, "GET /el 404 NR NoRouteFound - - - - - text/plain; charset=utf-8 100%");
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    wait::eventually("all have a line", || lines(&plain).len() == 3).await;
    line(&errors, "404").await;
    assert_eq!(lines(&errors), [r#"{"both":"200/a b","code":200}"#, r#"{"both":"404/-","code":404}"#]);
    // As logrotate does, without a signal.
    let former = plain.with_extension("1");
    std::fs::rename(&plain, &former).unwrap();
    assert_eq!(Call::new("DELETE", "/v1/later").send(gateway.http()).await.status, 404);
    line(&plain, "DELETE").await;
    assert_eq!((lines(&former).len(), lines(&plain).len()), (3, 1));
}

#[tokio::test]
async fn no_line_record_or_entry_has_a_credential() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let setup = Setup::new().env("DB_URL", "postgres://u:s3cret@db/main");
    let path = setup.aside("all.log", "");
    let names = ["Authorization", "Cookie", "X-Api-Key", "X-Mine", "X-Own", "Referer"];
    let mut text: String = names.iter().map(|name| format!("%REQ({name})% ")).collect();
    text.push_str(
        "%REQ(:PATH)% %QUERY_PARAM(own)% %QUERY_PARAM(q)% %RESP(SET-COOKIE)% %REQ_WITHOUT_QUERY(X-NEXT)% %ENVIRONMENT(DB_URL)%",
    );
    let otel = json!({"type": "OpenTelemetry", "openTelemetry": {"backendRefs": [objects::to_backend("collector")]}});
    let headers: Vec<_> = names.iter().map(|name| name.to_lowercase()).collect();
    let als =
        json!({"type": "ALS", "als": {"backendRefs": [objects::to_backend("collector")], "http": {"requestHeaders": headers}}});
    let sink = json!({"type": "File", "file": {"path": path}});
    // Conditions find none either.
    let found = json!(["request.headers.exists(name, !(name in ['x-own', 'x-next']) && request.headers[name].contains('s3cret'))"]);
    let log = json!({"settings": [
        {"format": {"type": "Text", "text": text}, "sinks": [sink, otel, als]},
        {"format": {"type": "Text", "text": "found"}, "matches": found, "sinks": [sink]},
    ]});
    let mut list = logged(log, &[&engine]);
    list.push(objects::backend("collector", &[collector.address()]));
    list.push(objects::secret("keys", "team", "s3cret-own"));
    let keys = json!({"apiKeyAuth": {
        "credentialRefs": [{"name": "keys"}], "extractFrom": [{"headers": ["X-Own"]}, {"params": ["own"]}],
    }});
    list.push(objects::on_route("SecurityPolicy", "chat", keys));
    let gateway = setup.file("objects.yaml", &objects::documents(list)).serve().await;
    let body = json!({"model": "qwen", "messages": [{"role": "user", "content": "s3cret prompt"}]}).to_string();
    let mut call = Call::json(&format!("{CHAT}?own=s3cret-own&q=Bearer%20s3cret&key=s3cret"), body);
    for (name, value) in [
        ("authorization", "Bearer s3cret"),
        ("cookie", "session=s3cret"),
        ("x-api-key", "s3cret"),
        ("x-mine", "Basic s3cret"),
        ("x-own", "s3cret-own"),
        ("referer", "https://chat.test/c?access_token=s3cret#s3cret"),
        ("x-next", "/next?s3cret"),
    ] {
        call = call.header(name, value);
    }
    assert_eq!(call.send(gateway.http()).await.status, 200);
    let line = line(&path, "REDACTED").await;
    let of_request = format!("{} https://chat.test/c {CHAT}", ["REDACTED"; 5].join(" "));
    assert_eq!(line, format!("{of_request} REDACTED REDACTED - /next REDACTED"));
    collector.record("its record", |_| true).await;
    let entry = collector.entry("its entry", |_| true).await;
    assert_eq!(entry.request.unwrap().referer, "https://chat.test/c");
    for received in collector.received() {
        assert!(!String::from_utf8_lossy(&received.message).contains("s3cret"), "{received:?}");
    }
    assert_eq!(lines(&path).len(), 1, "no line for the condition");
}

#[tokio::test]
async fn a_collector_gets_records_with_body_or_attributes_and_the_trace() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let sink = json!([{"type": "OpenTelemetry", "openTelemetry": {
        "backendRefs": [objects::to_backend("collector")], "headers": [{"name": "authorization", "value": "Bearer collectors-key"}],
        "resources": {"zone": "a"}, "resourceAttributes": {"tier": "edge"},
    }}]);
    let log = json!({"settings": [
        {"format": {"type": "Text", "text": "%REQ(:METHOD)% %TRACE_ID%\n"}, "sinks": sink},
        {"format": {"type": "JSON", "json": {"status": "%RESPONSE_CODE%", "none": "%REQ(X-NONE)%"}}, "sinks": sink},
    ]});
    let setup = with_collector(logged(log, &[&engine]), &collector).env("POD_NAME", "gw-1").env("POD_NAMESPACE", "edge");
    let setup = setup.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let mut gateway = setup.serve().await;
    Call::chat("qwen", "hello").header("traceparent", PARENT).send(gateway.http()).await;
    let trace = &PARENT[3..35];
    let text = collector.record("the text's record", |record| record.body.is_string()).await;
    assert_eq!((text.body, text.trace_id.as_str()), (json!(format!("POST {trace}")), trace));
    assert!(text.time > 0 && text.observed >= text.time && text.span_id.len() == 16);
    assert_eq!(text.flags & 0xff, 1, "the trace is sampled");
    let members = collector.record("the members' record", |record| record.body.is_null()).await;
    let expected = json!({"status": "200", "none": "-", "k8s.pod.name": "gw-1", "k8s.namespace.name": "edge"});
    assert_eq!(members.attributes, serde_json::from_value(expected).unwrap());
    let named = ["zone", "tier", "log_name", "service.name"].map(|name| members.resource[name].as_str().unwrap().to_owned());
    assert_eq!(named, ["a", "edge", "otel_envoy_accesslog", "gw.default"]);
    let request = collector.received().into_iter().find(|it| it.path.ends_with("LogsService/Export")).unwrap();
    assert_eq!(request.headers["authorization"], "Bearer collectors-key");
    assert!(!gateway.stderr().contains("collectors-key"));
    // The last records go out at the end.
    Call::get("/last").send(gateway.http()).await;
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    collector.record("the last record", |record| record.body.as_str().is_some_and(|body| body.starts_with("GET"))).await;
}

#[tokio::test]
async fn an_access_log_service_gets_entries_of_requests_attempts_and_connections() {
    let (collector, other) = (Collector::start().await, instant("b", "qwen").await);
    let engine = instant("a", "qwen").await;
    for engine in [&engine, &other] {
        engine.faults().set([Fault::new(FaultKind::Status(503)).path("/v1/").times(1)]);
    }
    let als = |log: &str, kind: &str| {
        let mut als = json!({"logName": log, "type": kind, "backendRefs": [objects::to_backend("collector")]});
        if kind == "HTTP" {
            als["http"] = json!({"requestHeaders": ["X-Team"], "responseHeaders": ["content-type"]});
        }
        json!([{"type": "ALS", "als": als}])
    };
    let log = json!({"settings": [
        {"sinks": als("requests", "HTTP")},
        {"type": "Upstream", "sinks": als("attempts", "HTTP")},
        {"type": "Listener", "sinks": als("connections", "TCP")},
    ]});
    let setup = with_collector(logged(log, &[&engine, &other]), &collector).env("POD_NAME", "gw-1");
    let gateway = setup.serve().await;
    let call = Call::chat("qwen", "hello").header("x-team", "red").header("user-agent", "curl/8");
    assert_eq!(call.send(gateway.http()).await.status, 503);
    let streamed = |log: &str| {
        let mut all = collector.streamed();
        all.retain(|message| message.identifier.as_ref().is_some_and(|identifier| identifier.log_name == log));
        all
    };
    let http = |log: &str| -> Vec<_> {
        let all = streamed(log).into_iter().filter_map(|message| message.http_logs);
        all.flat_map(|logs| logs.entries).collect()
    };
    wait::eventually("both attempts have entries", || http("attempts").len() == 2).await;
    wait::eventually("the request has an entry", || http("requests").len() == 1).await;
    wait::eventually("the connection has an entry", || streamed("connections").iter().any(|it| it.tcp_logs.is_some())).await;
    let identifier = streamed("requests").remove(0).identifier.unwrap();
    assert_eq!(identifier.node.map(|node| (node.id, node.cluster)), Some(("gw-1".to_owned(), "gw.default".to_owned())));
    let entry = http("requests").remove(0);
    let (common, request, response) = (entry.common.unwrap(), entry.request.unwrap(), entry.response.unwrap());
    assert_eq!(
        (common.route_name.as_str(), common.upstream_cluster.as_str(), common.attempts),
        ("default/chat/0", "pool/default/qwen", 2)
    );
    assert_eq!((request.method, request.path.as_str(), request.user_agent.as_str(), entry.version), (3, CHAT, "curl/8", 2));
    assert_eq!((&request.headers["x-team"], request.authority.as_str()), (&"red".to_owned(), "gateway.test"));
    assert_eq!((response.code, response.details.as_str()), (Some(503), "via_upstream"));
    assert!(response.headers["content-type"].starts_with("application/json"), "{response:?}");
    let attempts: Vec<_> = http("attempts").into_iter().map(|entry| entry.common.unwrap().attempts).collect();
    assert_eq!(attempts, [1, 2]);
}

#[tokio::test]
async fn an_access_log_service_has_one_stream_and_another_once_that_ends() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let als = json!({"type": "ALS", "als": {"backendRefs": [objects::to_backend("collector")]}});
    let mut gateway = with_collector(logged(json!({"settings": [{"sinks": [als]}]}), &[&engine]), &collector).serve().await;
    let http = gateway.http();
    let send = async |collector: &Collector, path: &str| {
        Call::get(path).send(http).await;
        collector.entry(path, |entry| entry.request.as_ref().is_some_and(|request| request.path == path)).await;
    };
    for path in ["/1", "/2", "/3"] {
        send(&collector, path).await;
    }
    assert_eq!((collector.streams(), collector.streamed().len()), (1, 3));
    // As a server that limits the age of connections.
    collector.end_streams();
    send(&collector, "/4").await;
    assert_eq!((collector.streams(), collector.streamed().len()), (2, 4));
    // Once a stream has a second message it has not refused the first.
    send(&collector, "/again").await;
    let collector = Collector::at(collector.stop().await).await;
    send(&collector, "/5").await;
    send(&collector, "/6").await;
    assert_eq!(collector.streams(), 1);
    assert!(!gateway.stderr().contains("cannot be sent"), "{}", gateway.stderr());
    assert_eq!(gateway.metric("pailou_access_log_dropped_total", &["sink=\"als\""]).await, 0.0);
    // The last entries go out at the end, and nothing waits for an answer.
    Call::get("/last").send(http).await;
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    collector.entry("/last", |entry| entry.request.as_ref().is_some_and(|request| request.path == "/last")).await;
}

#[tokio::test]
async fn a_receiver_that_is_slow_away_or_unwilling_keeps_no_request_waiting() {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let otel = json!({"type": "OpenTelemetry", "openTelemetry": {"backendRefs": [objects::to_backend("collector")]}});
    let als = json!({"type": "ALS", "als": {"backendRefs": [objects::to_backend("collector")]}});
    let lost = json!({"type": "File", "file": {"path": "/nowhere/to/be/found.log"}});
    let log = json!({"settings": [{"sinks": [otel, als, lost]}]});
    collector.set(Mood::Grpc(3));
    let gateway = with_collector(logged(log, &[&engine]), &collector).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    until_dropped(&gateway, "otlp", "refused").await;
    until_dropped(&gateway, "als", "refused").await;
    until_dropped(&gateway, "file", "write").await;
    wait::eventually("the log says that refused entries are lost", || gateway.stderr().contains("they are dropped")).await;
    collector.set(Mood::Holds);
    // More than may wait.
    let mut wire = Wire::connect(gateway.http()).await;
    for _ in 0..30 {
        let many = "GET /elsewhere HTTP/1.1\r\nhost: gateway.test\r\n\r\n".repeat(100);
        wire.write(&many).await.unwrap();
        for _ in 0..100 {
            let head = wire.head().await;
            assert!(head.starts_with("HTTP/1.1 404"), "{head}");
            wire.exactly(header(&head, "content-length").unwrap().parse().unwrap()).await.unwrap();
        }
    }
    until_dropped(&gateway, "otlp", "queue_full").await;
    until_dropped(&gateway, "als", "queue_full").await;
    collector.set(Mood::Takes);
    assert!(gateway.stderr().contains("the access log cannot be written"), "{}", gateway.stderr());
}

#[tokio::test]
async fn a_named_pipe_without_a_reader_gets_no_lines_and_does_not_keep_the_process() {
    let engine = instant("a", "qwen").await;
    let setup = Setup::new();
    let pipe = setup.aside("pipe", "");
    std::fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let log = json!({"settings": [{"sinks": file(pipe.to_str().unwrap())}]});
    let mut gateway = setup.file("objects.yaml", &objects::documents(logged(log, &[&engine]))).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    until_dropped(&gateway, "file", "write").await;
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
    assert!(gateway.stderr().contains("no regular file"), "{}", gateway.stderr());
}

#[tokio::test]
async fn clients_that_get_to_no_request_have_lines_too_and_a_disabled_log_has_none() {
    let engine = instant("a", "qwen").await;
    let setup = Setup::new();
    let (all, routes) = (setup.aside("all.log", ""), setup.aside("routes.log", ""));
    let text = json!({"type": "Text", "text": "%RESPONSE_FLAGS% %PROTOCOL% %REQ(:METHOD)% %ACCESS_LOG_TYPE%"});
    let log = json!({"settings": [
        {"format": text, "sinks": file(all.to_str().unwrap())},
        {"type": "Route", "format": text, "sinks": file(routes.to_str().unwrap())},
    ]});
    let gateway = setup.file("objects.yaml", &objects::documents(logged(log, &[&engine]))).serve().await;
    let mut wire = Wire::connect(gateway.http()).await;
    wire.write("no request\r\n\r\n").await.unwrap();
    wire.closed().await;
    assert_eq!(line(&all, "DPE").await, "DPE HTTP/1.1 - NotSet");
    Call::get("/elsewhere").send(gateway.http()).await;
    line(&all, "NR").await;
    line(&routes, "NR").await;
    assert_eq!(lines(&routes), ["NR HTTP/1.1 GET DownstreamEnd"]);
    // Refused for its head, before any listener is asked.
    let refused = "PUT / HTTP/1.1\r\nhost: gateway.test\r\nhost: other.test\r\nconnection: close\r\n\r\n";
    let mut wire = Wire::connect(gateway.http()).await;
    wire.write(refused).await.unwrap();
    assert!(wire.head().await.starts_with("HTTP/1.1 400"));
    assert_eq!(line(&all, "PUT").await, "DPE HTTP/1.1 PUT DownstreamEnd");
    assert_eq!(line(&routes, "PUT").await, "DPE HTTP/1.1 PUT DownstreamEnd");
    gateway.save_objects(logged(json!({"disable": true}), &[&engine]));
    let silent = async {
        loop {
            let before = lines(&all).len();
            assert_eq!(Call::get("/elsewhere").send(gateway.http()).await.status, 404);
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            if lines(&all).len() == before {
                return;
            }
        }
    };
    wait::within("no more lines", silent).await;
    let mut wire = Wire::connect(gateway.http()).await;
    wire.write(refused).await.unwrap();
    wire.closed().await;
    assert!(gateway.access_log().is_empty(), "nor in the process's own log");
}
