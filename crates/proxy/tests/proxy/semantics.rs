//! Meaning of objects for clients and backends: YAML, compiled and served over real sockets.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, nowhere, route},
};

const TO_BOTH: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}, {group: gateway.envoyproxy.io, kind: \
                       Backend, name: spare}]}";

#[tokio::test]
async fn a_fallback_gets_nothing_while_the_others_are_healthy() {
    let (main, spare) = (Ear::start().await, Ear::start().await);
    let objects = [route(TO_BOTH), backend("main", main.address, ""), backend("spare", spare.address, ", fallback: true")].concat();
    let gateway = Gateway::serve(&objects);
    for _ in 0..20 {
        assert!(gateway.ask("GET / HTTP/1.1\r\nhost: a").await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!((main.heads.lock().len(), spare.heads.lock().len()), (20, 0));
}

#[tokio::test]
async fn a_fallback_gets_everything_once_the_others_fail_their_checks() {
    let spare = Ear::start().await;
    let dead = nowhere();
    let policy = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: checks}\nspec:\n  \
                  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}]\n  healthCheck: {active: {type: TCP, \
                  interval: 50ms, timeout: 50ms, unhealthyThreshold: 1, tcp: {}}}\n";
    let objects =
        [route(TO_BOTH), backend("main", dead, ""), backend("spare", spare.address, ", fallback: true"), policy.into()].concat();
    let gateway = Gateway::serve(&objects);
    let mut row = 0;
    for _ in 0..200 {
        let served = gateway.ask("GET / HTTP/1.1\r\nhost: a").await.starts_with("HTTP/1.1 200");
        row = if served { row + 1 } else { 0 };
        if row == 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(row, 20, "twenty in a row went to the fallback");
    assert!(gateway.proxy.ready());
}

#[tokio::test]
async fn x_forwarded_for_grows_by_the_connections_other_end_whoever_the_client_is() {
    let main = Ear::start().await;
    let policy = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: hops}\nspec:\n  targetRefs: \
                  [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]\n  clientIPDetection: {xForwardedFor: {numTrustedHops: \
                  1}}\n";
    let to_main = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
    let gateway = Gateway::serve(&[route(to_main), backend("main", main.address, ""), policy.into()].concat());
    gateway
        .ask("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nx-forwarded-proto: https")
        .await;
    let head = main.next().await;
    assert!(head.contains("x-forwarded-for: 1.1.1.1, 2.2.2.2, 127.0.0.1\r\n"), "{head}");
    assert!(head.contains("x-forwarded-proto: https"), "{head}");
}

#[tokio::test]
async fn a_mirrors_host_is_its_own_backends_where_the_backends_is_asked_for() {
    let (main, copy) = (Ear::start().await, Ear::start().await);
    let filter = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: host}\nspec: {urlRewrite: \
                  {hostname: {type: Backend}}}\n";
    let rule = "{filters: [{type: RequestMirror, requestMirror: {backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: spare}}}, \
                {type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: host}}], backendRefs: \
                [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
    let objects = [route(rule), backend("main", main.address, ""), backend("spare", copy.address, ""), filter.into()].concat();
    let gateway = Gateway::serve(&objects);
    gateway.ask("GET / HTTP/1.1\r\nhost: outer.test").await;
    for head in [main.next().await, copy.next().await] {
        assert!(head.contains("\r\nhost: 127.0.0.1\r\n") && head.contains("x-forwarded-host: outer.test"), "{head}");
    }
}

#[tokio::test]
async fn connections_to_one_endpoint_are_limited_and_waited_for() {
    const REQUESTS: usize = 6;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (opened, open): (Arc<Mutex<usize>>, Arc<Mutex<usize>>) = Default::default();
    let (counted, most) = (open.clone(), opened.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (open, most) = (counted.clone(), most.clone());
            tokio::spawn(async move {
                let now = {
                    let mut open = open.lock();
                    *open += 1;
                    *open
                };
                let before = *most.lock();
                *most.lock() = before.max(now);
                let mut read = [0; 4096];
                while stream.read(&mut read).await.is_ok_and(|count| count > 0) {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
                *open.lock() -= 1;
            });
        }
    });
    let policy = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: limits}\nspec:\n  \
                  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}]\n  circuitBreaker: {perEndpoint: \
                  {maxConnections: 2}}\n";
    let to_main = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
    let gateway = Arc::new(Gateway::serve(&[route(to_main), backend("main", address, ""), policy.into()].concat()));
    let asked: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let gateway = gateway.clone();
            tokio::spawn(async move { gateway.ask("GET / HTTP/1.1\r\nhost: a").await })
        })
        .collect();
    for answer in asked {
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(*opened.lock(), 2);
}

#[tokio::test]
async fn scripts_may_read_redirects_and_refusals_as_any_answer() {
    let cors = "{type: CORS, cors: {allowOrigins: [\"https://app.test\"]}}";
    let redirect = "{type: RequestRedirect, requestRedirect: {statusCode: 302, hostname: other.test}}";
    let missing = "backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: missing}]";
    for (rule, status) in
        [(format!("{{filters: [{cors}, {redirect}]}}"), "302"), (format!("{{filters: [{cors}], {missing}}}"), "500")]
    {
        let gateway = Gateway::serve(&route(&rule));
        let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a\r\norigin: https://app.test").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("access-control-allow-origin: https://app.test\r\n"), "{answer}");
        let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a\r\norigin: https://evil.test").await;
        assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    }
}

#[tokio::test]
async fn an_upload_that_stands_still_is_given_up() {
    let policy = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: idle}\nspec:\n  targetRefs: \
                  [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]\n  timeout: {http: {streamIdleTimeout: 200ms}}\n";
    let rule = "{matches: [{headers: [{name: X-Gateway-Model-Name, value: qwen}]}]}";
    let gateway = Gateway::serve(&[route(rule), policy.into()].concat());
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100";
    let answer = timeout(Duration::from_secs(60), gateway.ask(head)).await.expect("it does not wait for ever");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("did not arrive in time"), "{answer}");
}

#[tokio::test]
async fn ai_gateways_header_is_the_model_of_the_body_and_never_the_clients() {
    let rule = "{matches: [{headers: [{name: x-ai-eg-model, value: qwen}]}], filters: [{type: RequestRedirect, requestRedirect: \
                {hostname: found.test}}]}";
    let trust = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: trust}\nspec:\n  targetRefs: \
                 [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]\n  clientIPDetection: {xForwardedFor: {numTrustedHops: 1}}\n";
    for policy in ["", trust] {
        let gateway = Gateway::serve(&[route(rule), policy.into()].concat());
        for (model, header, status) in [("qwen", "", "302"), ("llama", "", "404"), ("llama", "x-ai-eg-model: qwen\r\n", "404")] {
            let body = format!(r#"{{"model":"{model}","messages":[]}}"#);
            let length = body.len();
            let answer = gateway
                .raw(&format!(
                    "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n{header}content-type: application/json\r\ncontent-length: \
                     {length}\r\nconnection: close\r\n\r\n{body}"
                ))
                .await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{model} {header}: {answer}");
        }
    }
}
