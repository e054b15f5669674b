//! Limits of a backend: where they have no room, requests go to another backend of the rule.

use std::time::Duration;

use pailou_limits::CounterQuery;
use tokio::io::AsyncWriteExt;

use super::{Engine, call, header, status};
use crate::support::objects::{Gateway, backend, route};

const TWO: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: first}, {group: gateway.envoyproxy.io, kind: Backend, \
                   name: second}]}";
const ONE_REQUEST: &str = "{global: {rules: [{limit: {requests: 1, unit: Year}}]}}";
/// Two of our requests hold all of it, and each spends 25.
const TOKENS: &str = "{global: {rules: [{limit: {requests: 56, unit: Year}, cost: {request: {from: Number, number: 0}, response: {from: \
                      Metadata, metadata: {namespace: io.envoy.ai_gateway, key: llm_total_token}}}}]}}";

/// A Backend with limits of its own.
fn limited(name: &str, engine: &Engine, limits: &str, more: &str) -> String {
    let metadata = format!("metadata: {{name: {name}, annotations: {{pailou.dev/rate-limit: \"{limits}\"}}}}");
    backend(name, engine.address, more).replace(&format!("metadata: {{name: {name}}}"), &metadata)
}

fn spent_and_reserved(gateway: &Gateway, rule: &str) -> (u64, u64) {
    let query = CounterQuery { rule: Some(rule.to_owned()), ..CounterQuery::default() };
    let views = gateway.proxy.limits(&query);
    views.iter().fold((0, 0), |(spent, reserved), view| (spent + view.spent, reserved + view.reserved))
}

#[tokio::test]
async fn a_full_backend_leaves_requests_to_its_fallback_and_then_they_are_refused() {
    let (mut first, mut second) = (Engine::start().await, Engine::start().await);
    let objects =
        [route(TWO), limited("first", &first, ONE_REQUEST, ""), limited("second", &second, ONE_REQUEST, ", fallback: true")];
    let gateway = Gateway::serve(&objects.concat());
    let request = call("");
    for engine in [&mut first, &mut second] {
        let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
        assert_eq!((status(&answer), header(&answer, "x-ratelimit-limit")), ("200", None), "{answer}");
    }
    let refused = gateway.raw(&request).await;
    assert_eq!(status(&refused), "429", "{refused}");
    assert!(refused.contains("rate_limit_exceeded") && header(&refused, "retry-after").is_some(), "{refused}");
    for rule in ["default/Backend/first/rule/0", "default/Backend/second/rule/0"] {
        assert_eq!(spent_and_reserved(&gateway, rule), (1, 0), "{rule}");
    }
}

#[tokio::test]
async fn a_backend_is_charged_the_tokens_that_it_used() {
    let (mut first, mut second) = (Engine::start().await, Engine::start().await);
    let objects = [route(TWO), limited("first", &first, TOKENS, ""), backend("second", second.address, ", fallback: true")];
    let gateway = Gateway::serve(&objects.concat());
    let request = call("");
    // Those under way hold 28 each.
    let (one, two, three, ()) = tokio::join!(gateway.raw(&request), gateway.raw(&request), gateway.raw(&request), async {
        second.answer().await;
        assert_eq!(spent_and_reserved(&gateway, "default/Backend/first"), (0, 56));
        first.answer().await;
        first.answer().await;
    });
    assert_eq!([status(&one), status(&two), status(&three)], ["200"; 3]);
    assert_eq!(spent_and_reserved(&gateway, "default/Backend/first"), (50, 0));
    let (last, ()) = tokio::join!(gateway.raw(&request), first.answer());
    assert_eq!(status(&last), "200", "6 are left");
    let (beyond, ()) = tokio::join!(gateway.raw(&request), second.answer());
    assert_eq!(status(&beyond), "200");
    assert_eq!(spent_and_reserved(&gateway, "default/Backend/first"), (75, 0));
}

#[tokio::test]
async fn a_retry_at_another_backend_is_charged_there() {
    let retry = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: retry}\nspec:\n  targetRefs: \
                 [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}]\n  retry: {numRetries: 3, numAttemptsPerPriority: 1, \
                 retryOn: {httpStatusCodes: [503], triggers: [retriable-status-codes]}}\n";
    let (mut first, mut second) = (Engine::start().await, Engine::start().await);
    let objects = [
        route(TWO),
        limited("first", &first, TOKENS, ""),
        limited("second", &second, TOKENS, ", fallback: true"),
        retry.to_owned(),
    ];
    let gateway = Gateway::serve(&objects.concat());
    let request = call("");
    let (answer, ()) = tokio::join!(gateway.raw(&request), async {
        let mut stream = first.next().await;
        stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        drop(stream);
        let mut stream = second.next().await;
        assert_eq!(spent_and_reserved(&gateway, "default/Backend/first"), (0, 0));
        assert_eq!(spent_and_reserved(&gateway, "default/Backend/second"), (0, 28));
        stream.write_all(super::response().as_bytes()).await.unwrap();
    });
    assert_eq!(status(&answer), "200", "{answer}");
    assert_eq!(spent_and_reserved(&gateway, "default/Backend/second"), (25, 0));
}

#[tokio::test]
async fn a_request_that_reaches_no_backend_costs_it_nothing() {
    let first = Engine::start().await;
    let one = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: first}]}";
    let breaker = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: breaker}\nspec:\n  \
                   targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}]\n  circuitBreaker: \
                   {maxParallelRequests: 0}\n";
    let gateway = Gateway::serve(&[&route(one), &limited("first", &first, ONE_REQUEST, ""), breaker].concat());
    for _ in 0..3 {
        assert_eq!(status(&gateway.raw(&call("")).await), "503");
    }
    assert_eq!(spent_and_reserved(&gateway, "default/Backend/first"), (0, 0));
}

#[tokio::test]
async fn a_limit_that_cannot_be_read_closes_its_backend_alone() {
    let (first, mut second) = (Engine::start().await, Engine::start().await);
    for limits in [
        "{global: {rules: []}}",
        "{local: {rules: [{limit: {requests: 1, unit: Hour}}]}}",
        "{globl: {}}",
        "{global: {rules: \
                   [{limit: {requests: 1, unit: Hour, fromMetadata: {namespace: a, key: b}}}]}}",
    ] {
        let other = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: other}\nspec:\n  parentRefs: [{name: \
                     gw}]\n  rules: [{matches: [{path: {value: /other}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: \
                     second}]}]\n";
        let one = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: first}]}";
        let objects = [&*route(one), &limited("first", &first, limits, ""), &backend("second", second.address, ""), other];
        let gateway = Gateway::serve(&objects.concat());
        assert_eq!(status(&gateway.raw(&call("")).await), "500", "{limits}");
        let request = call("").replace("/v1/chat/completions", "/other");
        let (answer, ()) = tokio::join!(gateway.raw(&request), second.answer());
        assert_eq!(status(&answer), "200", "{limits}: {answer}");
    }
}

#[tokio::test]
async fn a_session_leaves_a_full_backend() {
    let (mut first, mut second) = (Engine::start().await, Engine::start().await);
    let rule = TWO.replace("{backendRefs", "{sessionPersistence: {sessionName: s, type: Header}, backendRefs");
    let objects = [route(&rule), limited("first", &first, ONE_REQUEST, ""), backend("second", second.address, ", fallback: true")];
    let gateway = Gateway::serve(&objects.concat());
    let request = call("");
    let (answer, ()) = tokio::join!(gateway.raw(&request), first.answer());
    let session = header(&answer, "s").unwrap_or_else(|| panic!("{answer}")).to_owned();
    let request = call(&format!("s: {session}\r\n"));
    let (answer, ()) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(gateway.raw(&request), second.answer()) })
            .await
            .unwrap();
    assert_eq!(status(&answer), "200", "{answer}");
}
