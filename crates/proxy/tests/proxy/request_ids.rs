//! `X-Request-Id` in responses, wherever they come from.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::objects::{Gateway, backend};

/// A backend that gives its responses an id of its own.
async fn with_own_id() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") {
                read.push(stream.read_u8().await.unwrap());
            }
            let answer = "HTTP/1.1 200 OK\r\nx-request-id: backends\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

fn ids(answer: &str) -> Vec<&str> {
    answer.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect()
}

/// A gateway with a rule for each way of answering.
async fn gateway() -> Gateway {
    let rule = |path: &str, rest: &str| format!("{{matches: [{{path: {{value: {path}}}}}], {rest}}}");
    let to = "backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]";
    let direct =
        "filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: direct}}]";
    let edit = "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x-request-id]}}]";
    let cors = "filters: [{type: CORS, cors: {allowOrigins: [\"*\"]}}]";
    let rules = [
        rule("/backend", to),
        rule("/redirect", "filters: [{type: RequestRedirect, requestRedirect: {hostname: b.test}}]"),
        rule("/direct", direct),
        rule("/broken", "backendRefs: [{name: missing, port: 80}]"),
        rule("/cors", &format!("{cors}, {to}")),
        rule("/hidden", &format!("{edit}, {to}")),
    ];
    let objects = format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: route}}\nspec:\n  parentRefs: [{{name: gw}}]\n  \
         rules: [{}]\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {{name: direct}}\nspec: \
         {{directResponse: {{statusCode: 200}}}}\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: \
         {{name: p}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n  responseOverride: [{{match: \
         {{statusCodes: [{{value: 500}}]}}, response: {{body: {{type: Inline, inline: \"%ROUTE_NAME%\"}}}}}}]\n",
        rules.join(", ")
    );
    Gateway::serve(&[objects, backend("b", with_own_id().await, "")].concat())
}

#[tokio::test]
async fn every_response_bears_the_requests_id_once() {
    let gateway = gateway().await;
    for (method, path, status) in [
        ("GET", "/backend", "200"),
        ("GET", "/redirect", "302"),
        ("GET", "/direct", "200"),
        ("GET", "/broken", "500"),
        ("GET", "/nothing", "404"),
        ("OPTIONS", "/cors", "204"),
    ] {
        let more = "x-request-id: mine-7\r\norigin: https://a.test\r\naccess-control-request-method: GET";
        let answer = gateway.ask(&format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n{more}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(ids(&answer), ["mine-7"], "{path}: {answer}");
        assert!(path != "/broken" || answer.ends_with("default/route/3"), "an overridden response knows its route: {answer}");
    }
    let hidden = gateway.ask("GET /hidden HTTP/1.1\r\nhost: a.test").await;
    assert!(hidden.starts_with("HTTP/1.1 200") && ids(&hidden).is_empty(), "a rule may take it away: {hidden}");
}

#[tokio::test]
async fn an_id_that_the_gateway_makes_is_that_of_the_log() {
    let gateway = gateway().await;
    for (request, path) in [
        ("GET /direct HTTP/1.1\r\nhost: a.test", "/direct"),
        ("GET /refused HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: gzip, chunked", "/refused"),
    ] {
        let answer = gateway.ask(request).await;
        let [id] = ids(&answer)[..] else { panic!("{answer}") };
        let line: Value = serde_json::from_str(&gateway.log.line(path).await).unwrap();
        assert_eq!((line["request_id"].as_str(), id.len()), (Some(id), 36));
    }
}
