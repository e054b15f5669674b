//! Retries over a rule's backends: to endpoints that were not tried, and to the next priority.

use std::net::SocketAddr;

use pailou_sim::{Config, Fault, FaultKind, Sim};

use crate::support::objects::{Gateway, backend, nowhere, route};

async fn engine(name: &str) -> Sim {
    Sim::start(Config::new(name, ["qwen", "qwen-7b"]).instant()).await.unwrap()
}

fn to(name: &str) -> String {
    format!("{{group: gateway.envoyproxy.io, kind: Backend, name: {name}}}")
}

/// A rule with these backendRefs, and a policy with these settings of `retry`.
fn retrying(backend_refs: &[String], retry: &str) -> String {
    let policy = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: retry}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n  retry: {{perRetry: {{backOff: {{baseInterval: 1ms, \
         maxInterval: 1ms}}}}, {retry}}}\n"
    );
    [route(&format!("{{backendRefs: [{}]}}", backend_refs.join(", "))), policy].concat()
}

async fn chat(gateway: &Gateway, more: &str) -> String {
    let body = r#"{"model":"qwen","max_tokens":2,"messages":[{"role":"user","content":"hi"}]}"#;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\n{more}content-length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    gateway.raw(&head).await
}

fn served_by(answer: &str, name: &str) -> bool {
    answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("x-sim-server: {name}\r\n"))
}

const BY_PRIORITY: &str = "numRetries: 5, numAttemptsPerPriority: 1, retryOn: {httpStatusCodes: [500], triggers: [connect-failure, \
                           retriable-status-codes]}";

/// The first provider, and the one that falls back for it.
fn providers(first: SocketAddr, second: SocketAddr) -> String {
    let backends = [backend("first", first, ""), backend("second", second, ", fallback: true")].concat();
    [backends, retrying(&[to("first"), to("second")], BY_PRIORITY)].concat()
}

#[tokio::test]
async fn a_retry_goes_to_the_next_priority() {
    let second = engine("second").await;
    let gateway = Gateway::serve(&providers(nowhere(), second.addr()));
    let answer = chat(&gateway, "").await;
    assert!(served_by(&answer, "second"), "the first cannot be reached: {answer}");
    let line = gateway.log.line("/v1/chat").await;
    assert!(line.contains(r#""attempts":2"#) && line.contains(r#""backend":"backend/default/second""#), "{line}");

    let first = engine("first").await;
    let gateway = Gateway::serve(&providers(first.addr(), second.addr()));
    assert!(served_by(&chat(&gateway, "").await, "first"));
    first.faults().add(Fault::new(FaultKind::Status(500)));
    assert!(served_by(&chat(&gateway, "").await, "second"));
    assert_eq!(first.stats().requests, 2);

    // Both fail: each priority has its turn, and the number of retries holds.
    second.faults().add(Fault::new(FaultKind::Status(500)));
    let before = second.stats().requests;
    assert!(chat(&gateway, "").await.starts_with("HTTP/1.1 500"));
    assert_eq!(first.stats().requests - 2 + second.stats().requests - before, 6);
}

#[tokio::test]
async fn a_retry_leaves_out_the_endpoint_that_failed_whichever_backend_has_it() {
    let up = engine("up").await;
    let objects = [backend("down", nowhere(), ""), backend("up", up.addr(), "")].concat();
    let retry = retrying(&[to("down"), to("up")], "numRetries: 1, retryOn: {triggers: [connect-failure]}");
    let gateway = Gateway::serve(&[objects, retry].concat());
    for _ in 0..20 {
        assert!(served_by(&chat(&gateway, "").await, "up"));
    }
    assert_eq!(up.stats().requests, 20);
}

#[tokio::test]
async fn a_stream_that_breaks_off_before_its_content_comes_from_another_backend() {
    let (broken, up) = (engine("broken").await, engine("up").await);
    broken.faults().add(Fault::new(FaultKind::Reset(Some(0))));
    let objects = [backend("broken", broken.addr(), ""), backend("up", up.addr(), ", fallback: true")].concat();
    let retry = retrying(&[to("broken"), to("up")], "numRetries: 1, numAttemptsPerPriority: 1, retryOn: {triggers: [reset]}");
    let gateway = Gateway::serve(&[objects, retry].concat());
    let body = r#"{"model":"qwen","stream":true,"max_tokens":2,"messages":[{"role":"user","content":"hi"}]}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ";
    let answer = gateway.raw(&format!("{head}{}\r\n\r\n{body}", body.len())).await;
    assert!(served_by(&answer, "up") && answer.contains("[DONE]"), "{answer}");
    assert_eq!(broken.stats().requests, 1);
}

#[tokio::test]
async fn what_a_backend_ref_does_to_a_request_is_done_anew() {
    let up = engine("up").await;
    let with = |name: &str, value: &str| {
        let filter = format!(
            "{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-own, value: {value}}}], add: [{{name: x-seen, value: {value}}}]}}}}"
        );
        let answer =
            format!("{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-from, value: {value}}}]}}}}");
        format!("{{group: gateway.envoyproxy.io, kind: Backend, name: {name}, filters: [{filter}, {answer}]}}")
    };
    let objects = [backend("down", nowhere(), ""), backend("up", up.addr(), ", fallback: true")].concat();
    let retry = retrying(
        &[with("down", "one"), with("up", "two")],
        "numRetries: 1, numAttemptsPerPriority: 1, retryOn: {triggers: [connect-failure]}",
    );
    let gateway = Gateway::serve(&[objects, retry].concat());
    let answer = chat(&gateway, "x-sim-echo: true\r\n").await;
    assert!(served_by(&answer, "up") && answer.contains("x-from: two\r\n"), "{answer}");
    assert!(answer.contains("two") && !answer.contains("\"one\""), "nothing of the first backendRef is left: {answer}");
}

#[tokio::test]
async fn a_pool_hands_over_to_a_hosted_service_under_the_clients_own_name() {
    let (pool, hosted) = (engine("pool").await, engine("hosted").await);
    pool.faults().add(Fault::new(FaultKind::Status(500)).path("/v1"));
    let objects = format!(
        "apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {{name: qwen}}\nspec: {{selector: {{matchLabels: {{app: \
         qwen}}}}, targetPorts: [{{number: {}}}]}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: q0, labels: {{app: \
         qwen}}}}\nspec: {{containers: [{{name: e, image: x}}]}}\nstatus: {{podIP: {}, conditions: [{{type: Ready, status: \
         \"True\"}}]}}\n---\napiVersion: inference.networking.x-k8s.io/v1alpha2\nkind: InferenceModelRewrite\nmetadata: {{name: all}}\nspec: \
         {{poolRef: {{group: inference.networking.k8s.io, name: qwen}}, rules: [{{targets: [{{modelRewrite: qwen-7b, weight: 1}}]}}]}}\n",
        pool.addr().port(),
        pool.addr().ip()
    );
    let to_pool = "{group: inference.networking.k8s.io, kind: InferencePool, name: qwen}".to_owned();
    let refs = [to_pool, to("hosted")];
    let gateway =
        Gateway::serve(&[objects, backend("hosted", hosted.addr(), ", fallback: true"), retrying(&refs, BY_PRIORITY)].concat());
    let answer = chat(&gateway, "").await;
    assert!(served_by(&answer, "hosted") && answer.contains(r#""model":"qwen""#), "{answer}");
    assert_eq!((pool.stats().requests, hosted.stats().requests), (1, 1));
}

#[tokio::test]
async fn a_connection_goes_to_another_backend_where_the_first_refuses() {
    let up = engine("up").await;
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  \
                   listeners: [{name: tcp, protocol: TCP, port: 8080}]\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: \
                   {name: route}\nspec: {parentRefs: [{name: gw}], rules: [{backendRefs: [";
    let gateway = format!("{gateway}{}, {}]}}]}}\n", to("down"), to("up"));
    let backends = [backend("down", nowhere(), ""), backend("up", up.addr(), "")].concat();
    let gateway = Gateway::at_own_address(&[gateway, backends].concat());
    for _ in 0..10 {
        assert!(served_by(&chat(&gateway, "").await, "up"));
    }
}

#[tokio::test]
async fn mirrors_of_the_backend_that_a_retry_goes_to_get_their_copies() {
    let (up, ear_one, ear_two) = (engine("up").await, engine("one").await, engine("two").await);
    let with = |name: &str, mirror: &str| {
        format!(
            "{{group: gateway.envoyproxy.io, kind: Backend, name: {name}, filters: [{{type: RequestMirror, requestMirror: {{backendRef: {}}}}}]}}",
            to(mirror)
        )
    };
    let retry = retrying(
        &[with("down", "one"), with("up", "two")],
        "numRetries: 1, numAttemptsPerPriority: 1, retryOn: {triggers: [connect-failure]}",
    );
    let backends = [
        backend("down", nowhere(), ""),
        backend("up", up.addr(), ", fallback: true"),
        backend("one", ear_one.addr(), ""),
        backend("two", ear_two.addr(), ""),
    ];
    let gateway = Gateway::serve(&[backends.concat(), retry].concat());
    let body = r#"{"model":"qwen","max_tokens":2,"messages":[{"role":"user","content":"hi"}]}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\n";
    for (number, call) in [
        format!("{head}content-length: {}\r\n\r\n{body}", body.len()),
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = gateway.raw(&call).await;
        assert!(served_by(&answer, "up"), "{answer}");
        for mirror in [&ear_one, &ear_two] {
            // A copy that is not the whole call would yield no token.
            let tokens = 2 * (number as u64 + 1);
            for _ in 0..500 {
                if mirror.stats().generation_tokens >= tokens {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let stats = mirror.stats();
            assert_eq!((stats.requests, stats.generation_tokens), (number as u64 + 1, tokens));
        }
    }
}
