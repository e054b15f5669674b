//! Command operators in header values and in bodies of the gateway's own answers.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, route},
};

const HEAD: &str = "GET /a?b=c HTTP/1.1\r\nhost: a.test\r\nx-who: me";

#[tokio::test]
async fn values_of_request_headers_name_the_request() {
    let ear = Ear::start().await;
    let rule = "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-echo, value: \"%REQ(X-Who)%@%REQ(:PATH)%\"}, \
                {name: x-plain, value: \"50% off\"}, {name: x-who, value: gateway}], add: [{name: x-client, value: \
                \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\"}, {name: x-none, value: \"%REQ(x-none?x-nothing)%\"}]}}], backendRefs: [{group: \
                gateway.envoyproxy.io, kind: Backend, name: ear}]}";
    let gateway = Gateway::serve(&[route(rule), backend("ear", ear.address, "")].concat());
    gateway.ask(HEAD).await;
    let head = ear.next().await;
    for line in ["x-echo: me@/a?b=c", "x-plain: 50% off", "x-who: gateway", "x-client: 127.", "x-none: -"] {
        assert!(head.contains(&format!("\r\n{line}")), "{line}: {head}");
    }
}

#[tokio::test]
async fn values_of_response_headers_name_request_and_response() {
    let ear = Ear::start().await;
    let rule = "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-said, value: \"%RESPONSE_CODE% to %REQ(x-who)%\"}, \
                {name: x-length, value: \"%RESP(content-length)%\"}, {name: x-route, value: \"%ROUTE_NAME%\"}]}}], backendRefs: [{group: \
                gateway.envoyproxy.io, kind: Backend, name: ear}]}";
    let late = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: late}\nspec:\n  targetRefs: [{group: \
                gateway.networking.k8s.io, kind: Gateway, name: gw}]\n  headers: {lateResponseHeaders: {set: [{name: x-late, value: \"%REQ(:method)% \
                %RESP(x-said)%\"}]}}\n";
    let gateway = Gateway::serve(&[&route(rule), &backend("ear", ear.address, ""), late].concat());
    let answer = gateway.ask(HEAD).await;
    for line in ["x-said: 200 to me\r\n", "x-length: 0\r\n", "x-route: default/route/0\r\n", "x-late: GET 200 to me\r\n"] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
}

#[tokio::test]
async fn answers_of_the_gateways_own_name_the_request() {
    let filter = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: direct}\nspec: {directResponse: {statusCode: \
                  418, contentType: text/plain, header: {set: [{name: x-code, value: \"%RESPONSE_CODE%\"}]}, body: {type: Inline, inline: \"%REQ(x-who)% at \
                  %REQ(:authority)% got %RESPONSE_CODE% 100%%\"}}}\n";
    let rule = "{filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: direct}}, {type: \
                ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-more, value: \"%PROTOCOL%\"}]}}]}";
    let gateway = Gateway::serve(&[&route(rule), filter].concat());
    let answer = gateway.ask(HEAD).await;
    assert!(
        answer.starts_with("HTTP/1.1 418") && answer.contains("x-code: 418\r\n") && answer.contains("x-more: HTTP/1.1\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nme at a.test got 418 100%"), "{answer}");
}

#[tokio::test]
async fn values_that_are_not_ascii_pass_byte_by_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rule = "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-echo, value: \"%REQ(x-who)%\"}]}}, {type: \
                ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-said, value: \"to %REQ(x-who):3%\"}]}}], backendRefs: [{group: \
                gateway.envoyproxy.io, kind: Backend, name: b}]}";
    let gateway = Gateway::serve(&[route(rule), backend("b", address, "")].concat());
    for who in ["zo\u{eb}".as_bytes(), b"zo\xeb"] {
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        client
            .write_all(&[b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nx-who: ", who, b"\r\n\r\n"].concat())
            .await
            .unwrap();
        let (mut backend, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(backend.read_u8().await.unwrap());
        }
        let line = [b"\r\nx-echo: ", who, b"\r\n"].concat();
        assert!(read.windows(line.len()).any(|window| window == line), "{}", String::from_utf8_lossy(&read));
        backend.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        // No part of a character is left of text.
        let cut = if str::from_utf8(who).is_ok() { &who[..2] } else { &who[..3] };
        let line = [b"\r\nx-said: to ", cut, b"\r\n"].concat();
        assert!(answer.windows(line.len()).any(|window| window == line), "{}", String::from_utf8_lossy(&answer));
    }
}
