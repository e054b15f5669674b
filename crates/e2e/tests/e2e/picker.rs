//! `pailou picker`: asked by Envoy, and by our own gateway.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use pailou_e2e::client::{CHAT, Call, Connection, Reply};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::picker::{Envoy, EnvoyOptions, Picker};
use pailou_e2e::python::Python;
use pailou_e2e::{objects, wait};
use pailou_sim::{Config, CostModel, Fault, FaultKind, Sim};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{engine, events, everything_to, instant, ip, pool_of};

const DUPLEX: &str = "FULL_DUPLEX_STREAMED";

async fn two() -> [Sim; 2] {
    [instant("a", "qwen").await, instant("b", "qwen").await]
}

/// A picker of the pool `qwen` of these engines, and of what further objects say of it.
async fn picker(engines: &[&Sim], more: impl IntoIterator<Item = Value>) -> Picker {
    Picker::serve("qwen", pool_of("qwen", engines).into_iter().chain(more), &[]).await
}

/// An Envoy that goes wherever the picker says, or `None` where there is no Envoy.
async fn envoy(picker: &Picker, body_mode: &str) -> Option<Envoy> {
    envoy_with(picker, &EnvoyOptions { body_mode, engines: &[], hint: None }).await
}

async fn envoy_with(picker: &Picker, options: &EnvoyOptions<'_>) -> Option<Envoy> {
    let program = Python::with(&["envoy"])?.envoy();
    Some(Envoy::serve(program, picker.grpc(), options).await)
}

/// An InferenceModelRewrite of the pool `qwen`: every model becomes this one.
fn rewrite_to(model: &str) -> Value {
    let pool = json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "qwen"});
    let rules = json!([{"targets": [{"modelRewrite": model, "weight": 1}]}]);
    objects::object(
        "inference.networking.x-k8s.io/v1alpha2",
        "InferenceModelRewrite",
        "all",
        json!({"poolRef": pool, "rules": rules}),
    )
}

/// Our gateway before the pool `qwen`, whose endpoints this picker picks. Its Service says no protocol, thus TLS.
pub(crate) async fn gateway(
    engines: &[&Sim],
    picker: &Picker,
    failure_mode: &str,
    more: impl IntoIterator<Item = Value>,
) -> Gateway {
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    let mut pool = pool_of("qwen", engines);
    pool[0]["spec"]["endpointPickerRef"] = json!({"name": "epp", "port": {"number": 9002}, "failureMode": failure_mode});
    list.extend(pool);
    list.push(objects::object("v1", "Service", "epp", json!({"ports": [{"name": "grpc", "port": 9002}]})));
    list.push(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "epp-1", "labels": {"kubernetes.io/service-name": "epp"}},
        "ports": [{"name": "grpc", "port": 9002}], "endpoints": [{"addresses": [picker.grpc().ip()]}],
    }));
    list.extend(more);
    Setup::with(list).serve().await
}

#[tokio::test]
async fn envoy_sends_requests_where_the_picker_says() {
    let [a, b] = two().await;
    let picker = picker(&[&a, &b], []).await;
    let Some(envoy) = envoy(&picker, DUPLEX).await else { return };
    let mut spread: HashMap<String, usize> = HashMap::new();
    for index in 0..40 {
        let reply = Call::chat("qwen", &format!("question {index}")).send(envoy.http()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["object"], "chat.completion");
        *spread.entry(reply.server().to_owned()).or_default() += 1;
    }
    assert!(spread.len() == 2 && spread.values().all(|count| *count >= 6), "{spread:?}");
    let models = Call::get("/v1/models").send(envoy.http()).await;
    assert_eq!(models.status, 200, "a request without a body: {}", models.text());
    assert_eq!(picker.metric("pailou_picker_requests_total", &["outcome=\"picked\""]).await, 41.0);
}

#[tokio::test]
async fn a_prompt_that_comes_again_goes_where_it_was() {
    let [a, b] = two().await;
    let mut objects = pool_of("qwen", &[&a, &b]);
    objects[0]["metadata"]["annotations"] = json!({"inference.networking.x-k8s.io/routing-strategy": "PREFIX_CACHE"});
    let picker = Picker::serve("qwen", objects, &[]).await;
    let Some(envoy) = envoy(&picker, DUPLEX).await else { return };
    let prompt = "a prompt that is known ".repeat(400);
    let first = Call::chat("qwen", &prompt).send(envoy.http()).await;
    assert_eq!(first.status, 200, "{}", first.text());
    for _ in 0..20 {
        let reply = Call::chat("qwen", &prompt).send(envoy.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, first.server()), "{}", reply.text());
    }
}

/// Engines that serve a prompt which comes again and again, with a picker of these flags.
async fn servers_of_one_prompt(args: &[&str]) -> (HashSet<String>, Picker) {
    let [a, b] = two().await;
    let picker = Picker::serve("qwen", pool_of("qwen", &[&a, &b]), args).await;
    let gateway = gateway(&[&a, &b], &picker, "FailClose", []).await;
    let prompt = "a prompt that is known ".repeat(400);
    let mut servers = HashSet::new();
    for _ in 0..40 {
        let reply = Call::chat("qwen", &prompt).send(gateway.http()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        servers.insert(reply.server().to_owned());
    }
    (servers, picker)
}

#[tokio::test]
async fn scorers_of_a_configuration_file_choose_in_place_of_the_pickers_own() {
    const HEAD: &str = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";
    let by_queue = format!("{HEAD}plugins: [{{type: queue-scorer}}, {{type: session-affinity-scorer}}]\n");
    let (servers, picker) = servers_of_one_prompt(&["--config-text", &by_queue]).await;
    assert_eq!(servers.len(), 2, "queues are all empty, and prompts do not count");
    assert!(picker.stderr().contains("no effect: plugin session-affinity-scorer"), "{}", picker.stderr());
    let by_prefix = format!("{HEAD}plugins: [{{type: queue-scorer}}, {{type: prefix-cache-scorer}}]\n");
    for args in [&["--config-text", by_prefix.as_str()][..], &[]] {
        assert_eq!(servers_of_one_prompt(args).await.0.len(), 1, "{args:?}");
    }
}

#[tokio::test]
async fn streams_and_long_bodies_pass_through_envoy_unchanged() {
    let [a, b] = two().await;
    let picker = picker(&[&a, &b], []).await;
    let Some(envoy) = envoy(&picker, DUPLEX).await else { return };
    let reply = Call::chat_stream("qwen", "tell", 200).send(envoy.http()).await;
    let all = events(&reply.text());
    assert_eq!(all.last().unwrap(), "[DONE]", "{}", reply.text());
    assert!(all.len() > 100, "{} events", all.len());
    // Many messages there and back.
    let body = json!({"model": "qwen", "messages": [{"role": "user", "content": "x".repeat(400_000)}]}).to_string();
    let reply = Call::json(CHAT, body.clone()).echo().send(envoy.http()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["body_length"], body.len());
}

#[tokio::test]
async fn models_are_renamed_for_engines_and_back_in_either_mode() {
    let [a, b] = two().await;
    let picker = picker(&[&a, &b], [rewrite_to("qwen")]).await;
    for mode in [DUPLEX, "BUFFERED"] {
        let Some(envoy) = envoy(&picker, mode).await else { return };
        let reply = Call::chat("the-old-and-longer-name", "hello").send(envoy.http()).await;
        let (status, model) = (reply.status.as_u16(), reply.json()["model"].clone());
        assert_eq!((status, model.as_str()), (200, Some("the-old-and-longer-name")), "{mode}: {}", reply.text());
        let reply = Call::chat_stream("old", "hello", 4).send(envoy.http()).await;
        assert!(reply.text().contains(r#""model":"old""#) && !reply.text().contains(r#""qwen""#), "{mode}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_subset_that_envoy_hints_at_is_kept_to() {
    let [a, b] = two().await;
    let picker = picker(&[&a, &b], []).await;
    let engines = [a.addr(), b.addr()];
    let only_b = b.addr().to_string();
    let Some(envoy) = envoy_with(&picker, &EnvoyOptions { body_mode: DUPLEX, engines: &engines, hint: Some(&only_b) }).await else {
        return;
    };
    for index in 0..20 {
        let reply = Call::chat("qwen", &format!("question {index}")).send(envoy.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, "b"), "{}", reply.text());
    }
    let elsewhere = EnvoyOptions { body_mode: DUPLEX, engines: &engines, hint: Some("127.0.0.1:1") };
    let envoy = envoy_with(&picker, &elsewhere).await.expect("it was there before");
    let reply = Call::chat("qwen", "hello").send(envoy.http()).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.json()["error"]["message"], "no backend is ready to serve this request");
}

#[tokio::test]
async fn an_empty_pool_is_answered_503_until_it_has_endpoints() {
    let [a, b] = two().await;
    let picker = picker(&[], []).await;
    let Some(envoy) = envoy(&picker, DUPLEX).await else { return };
    let reply = Call::chat("qwen", "hello").send(envoy.http()).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (503, "application/json"), "{}", reply.text());
    picker.save(pool_of("qwen", &[&a, &b]));
    wait::eventually("the endpoints are read", || picker.stderr().contains("2 ready endpoints")).await;
    assert_eq!(Call::chat("qwen", "hello").send(envoy.http()).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let [a, b] = two().await;
    let picker = Picker::serve("qwen", pool_of("qwen", &[&a, &b]), &["--max-body", "1"]).await;
    let gateway = gateway(&[&a, &b], &picker, "FailClose", []).await;
    let body = json!({"model": "qwen", "prompt": "x".repeat(1 << 20)}).to_string();
    let reply = Call::json(CHAT, body).send(gateway.http()).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert_eq!(picker.metric("pailou_picker_requests_total", &["too_long"]).await, 1.0);
}

#[tokio::test]
async fn our_gateway_asks_it_by_tls_and_fails_over_by_its_list() {
    let [a, b] = two().await;
    let objects = pool_of("qwen", &[&a, &b]).into_iter().chain([rewrite_to("qwen")]);
    let picker = Picker::serve("qwen", objects, &["--max-endpoints", "2"]).await;
    let gateway = gateway(&[&a, &b], &picker, "FailClose", []).await;
    b.faults().set([Fault::new(FaultKind::Status(503)).path("/v1/")]);
    for index in 0..12 {
        let reply = Call::chat("an-old-name", &format!("question {index}")).send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, "a"), "{}", reply.text());
        assert_eq!(reply.json()["model"], "an-old-name");
    }
    let stream = Call::chat_stream("an-old-name", "tell", 50).send(gateway.http()).await;
    assert_eq!(events(&stream.text()).last().unwrap(), "[DONE]", "{}", stream.text());
    wait::within("no place is kept", async {
        while picker.metric("pailou_picker_conversations", &[]).await != 0.0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn requests_with_bodies_fail_as_the_failure_mode_says_when_the_picker_is_gone() {
    let [a, b] = two().await;
    let mut picker = picker(&[&a, &b], []).await;
    let open = gateway(&[&a, &b], &picker, "FailOpen", []).await;
    let closed = gateway(&[&a, &b], &picker, "FailClose", []).await;
    assert_eq!(Call::chat("qwen", "hello").send(closed.http()).await.status, 200);
    assert!(picker.terminate().await.success(), "it ends well: {}", picker.stderr());
    for _ in 0..3 {
        let reply = Call::chat("qwen", "hello").send(open.http()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(Call::chat("qwen", "hello").send(closed.http()).await.status, 503);
    }
}

/// Sends what can wait until it is refused.
async fn shed(to: SocketAddr) -> Reply {
    let shed = async {
        loop {
            // One that is not yet known to be too many waits in the engine's queue.
            if let Ok(reply) = timeout(Duration::from_secs(1), Call::chat("batch", "whenever").try_send(to)).await {
                return reply.unwrap();
            }
        }
    };
    wait::within("what can wait is shed", shed).await
}

#[tokio::test]
async fn what_can_wait_is_shed_by_whoever_asks() {
    let cost = CostModel { step_us: 30_000.0, ..CostModel::instant() };
    let sim =
        engine(Config { cost, max_num_seqs: 1, models: vec!["qwen".into(), "batch".into()], ..Config::new("a", ["qwen"]) }).await;
    let model = |name: &str, criticality: &str| {
        let spec = json!({"modelName": name, "criticality": criticality, "poolRef": {"name": "qwen"}});
        objects::object("inference.networking.x-k8s.io/v1alpha2", "InferenceModel", name, spec)
    };
    let picker = picker(&[&sim], [model("qwen", "Critical"), model("batch", "Sheddable")]).await;
    let gateway = gateway(&[&sim], &picker, "FailOpen", []).await;
    let to = gateway.http();
    let hold = || tokio::spawn(async move { Call::chat_stream("qwen", "hold the engine", 2000).open(to).await.rest().await });
    let held: Vec<_> = (0..24).map(|_| hold()).collect();
    wait::eventually("the engine's queue is long", || sim.stats().waiting >= 20).await;
    let envoy = envoy(&picker, DUPLEX).await;
    for to in [Some(to), envoy.as_ref().map(Envoy::http)].into_iter().flatten() {
        let reply = shed(to).await;
        assert_eq!(reply.status, 429, "{}", reply.text());
        assert!(reply.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{:?}", reply.headers);
        assert!(reply.json()["error"]["message"].is_string());
    }
    assert!(picker.metric("pailou_picker_requests_total", &["shed"]).await >= 1.0);
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_grpc_client_is_refused_in_terms_of_its_own_by_whoever_asks() {
    let picker = picker(&[], []).await;
    let gateway = gateway(&[], &picker, "FailClose", []).await;
    let envoy = envoy(&picker, DUPLEX).await;
    for to in [Some(gateway.http()), envoy.as_ref().map(Envoy::http)].into_iter().flatten() {
        let call = Call::post("/inference.Service/Infer", vec![0, 0, 0, 0, 0]);
        let call = call.header("content-type", "application/grpc").header("te", "trailers");
        let reply = Connection::http2(to).await.unwrap().send(call).await.unwrap();
        let said = (reply.status.as_u16(), reply.header("grpc-status"), reply.header("grpc-message"));
        assert_eq!(said, (200, "14", "no backend is ready to serve this request"));
    }
}

#[tokio::test]
async fn a_tls_policy_on_the_pickers_service_is_enforced() {
    let [a, b] = two().await;
    let picker = picker(&[&a, &b], []).await;
    let target = json!([{"group": "", "kind": "Service", "name": "epp"}]);
    let validation = json!({"hostname": "localhost", "wellKnownCACertificates": "System"});
    let policy = json!({"targetRefs": target, "validation": validation});
    let policy = objects::object("gateway.networking.k8s.io/v1", "BackendTLSPolicy", "epp", policy);
    let gateway = gateway(&[&a, &b], &picker, "FailClose", [policy]).await;
    let reply = Call::chat("qwen", "hello").send(gateway.http()).await;
    assert_eq!(reply.status, 503, "a certificate signed by itself is not the system's: {}", reply.text());
    assert_eq!(picker.metric("pailou_picker_requests_total", &[]).await, 0.0);
}

#[tokio::test]
async fn health_is_told_as_the_pool_comes_and_goes() {
    let picker = Picker::spawn("qwen", pool_of("another", &[]), &[]);
    wait::eventually("it says what is missing", || picker.stderr().contains("no InferencePool default/qwen")).await;
    health_becomes(&picker, "readiness", 2).await;
    health_becomes(&picker, "liveness", 1).await;
    let engine = instant("a", "qwen").await;
    assert!(ip(&engine).is_loopback());
    picker.save(pool_of("qwen", &[&engine]));
    for service in ["", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor"] {
        health_becomes(&picker, service, 1).await;
    }
}

/// Waits until gRPC's health protocol says this of a service: 1 is SERVING, 2 NOT_SERVING.
async fn health_becomes(picker: &Picker, service: &str, wanted: u8) {
    let mut message = vec![0, 0, 0, 0, 2 + service.len() as u8, 1 << 3 | 2, service.len() as u8];
    message.extend_from_slice(service.as_bytes());
    wait::within(&format!("{service:?} becomes {wanted}"), async {
        loop {
            if let Ok(mut connection) = Connection::http2(picker.health()).await {
                let call = Call::post("/grpc.health.v1.Health/Check", message.clone());
                let call = call.header("content-type", "application/grpc").header("te", "trailers");
                let reply = connection.send(call).await.expect("an answer");
                if reply.body.ends_with(&[1 << 3, wanted]) {
                    return;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}
