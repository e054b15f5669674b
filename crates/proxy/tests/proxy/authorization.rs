//! Authorization servers that are asked by gRPC, and how they answer, or do not.

use std::{net::SocketAddr, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server;
use http::{HeaderMap, HeaderValue, Response};
use pailou_envoy_proto::{
    core::{HeaderValue as Header, HeaderValueOption, HttpStatus, Status},
    ext_authz::{
        AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse, QueryParameter,
        check_response::HttpResponse,
    },
};
use prost::Message;
use tokio::{net::TcpListener, sync::mpsc};

use crate::support::{
    objects::{Gateway, route},
    picked::{engine, post},
};

/// Reaction of a server to a request.
type Script = Arc<dyn Fn(AttributeContext) -> Answer + Send + Sync>;

/// Answer of a server.
pub(crate) enum Answer {
    Message(Box<CheckResponse>),
    /// These bytes in place of a message, and this gRPC status.
    Raw(&'static [u8], &'static str),
}

/// An authorization server; gives its address.
pub(crate) async fn server(script: impl Fn(AttributeContext) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script: Script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script.clone()));
        }
    });
    address
}

async fn serve(stream: tokio::net::TcpStream, script: Script) {
    let mut connection = server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, mut body) = request.into_parts();
        assert_eq!(head.uri.path(), "/envoy.service.auth.v3.Authorization/Check");
        assert_eq!(head.uri.authority().unwrap(), "auth.default.svc:9000");
        let mut read = BytesMut::new();
        let script = script.clone();
        tokio::spawn(async move {
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                read.extend_from_slice(&data);
            }
            let (bytes, status) = match script(CheckRequest::decode(&read[5..]).unwrap().attributes.unwrap()) {
                Answer::Raw(bytes, status) => (Bytes::from_static(bytes), status),
                Answer::Message(message) => {
                    let mut frame = BytesMut::new();
                    frame.put_u8(0);
                    frame.put_u32(message.encoded_len() as u32);
                    message.encode(&mut frame).unwrap();
                    (frame.freeze(), "0")
                }
            };
            let mut response = Response::new(());
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            let mut send = respond.send_response(response, false).unwrap();
            send.send_data(bytes, false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            send.send_trailers(trailers).unwrap();
        });
    }
}

/// A gateway before these, whose one rule asks the server with these settings.
fn gateway(engine: SocketAddr, server: SocketAddr, settings: &str) -> Gateway {
    let mut objects = route(&format!(
        "{{filters: [{{type: ExternalAuth, externalAuth: {{protocol: GRPC, {settings}, backendRef: {{name: auth, port: 9000}}}}}}], \
         backendRefs: [{{name: engine, port: 80}}]}}"
    ));
    for (name, port, address) in [("auth", 9000, server), ("engine", 80, engine)] {
        objects += &format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n---\napiVersion: \
             discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: IPv4\nports: [{{port: {}}}]\nendpoints: [{{addresses: [{}]}}]\n",
            address.port(),
            address.ip()
        );
    }
    Gateway::serve(&objects)
}

fn option(key: &str, value: &str, append: Option<bool>) -> HeaderValueOption {
    let header = Some(Header::new(key, value.to_owned()));
    HeaderValueOption { header, append, append_action: 0, keep_empty_value: false }
}

/// A decision of this gRPC status.
pub(crate) fn decided(code: i32, http_response: Option<HttpResponse>) -> Answer {
    let status = Some(Status { code, message: String::new() });
    Answer::Message(Box::new(CheckResponse { status, http_response }))
}

#[tokio::test]
async fn consent_changes_the_request_and_the_response() {
    let (engine, mut calls) = engine().await;
    let (told, mut asked) = mpsc::unbounded_channel();
    let auth = server(move |attributes| {
        told.send(attributes).unwrap();
        decided(
            0,
            Some(HttpResponse::Ok(OkHttpResponse {
                headers: vec![
                    option("x-user", "ann", None),
                    option("accept", "b", Some(true)),
                    option("Host", "evil.test", None),
                    option(":path", "/evil", None),
                ],
                headers_to_remove: vec!["x-secret".into(), "content-length".into()],
                response_headers_to_add: vec![option("x-checked", "yes", None)],
                query_parameters_to_set: vec![QueryParameter { key: "user".into(), value: "a b".into() }],
                query_parameters_to_remove: vec!["token".into()],
            })),
        )
    })
    .await;
    let gateway = gateway(engine, auth, "grpc: {}, forwardBody: {maxSize: 1000}");
    let head =
        "POST /v1/x?token=t&q=1 HTTP/1.1\r\nhost: own.test\r\nx-user: mallory\r\naccept: a\r\nx-secret: s\r\nx-two: 1\r\nx-two: 2";
    let answer = gateway.ask(&format!("{head}\r\ncontent-length: 5\r\n\r\nhello")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-checked: yes"), "{answer}");
    let call = calls.recv().await.unwrap();
    assert!(call.starts_with("POST /v1/x?q=1&user=a%20b HTTP/1.1\r\n") && call.contains("hello"), "{call}");
    let call = call.to_ascii_lowercase();
    assert!(call.contains("x-user: ann\r\n") && call.contains("accept: a\r\n") && call.contains("accept: b\r\n"), "{call}");
    assert!(call.contains("host: own.test\r\n") && !call.contains("x-secret") && !call.contains("mallory"), "{call}");

    let attributes: AttributeContext = asked.recv().await.unwrap();
    let http = attributes.request.unwrap().http.unwrap();
    assert_eq!((&*http.method, &*http.path, &*http.host, &*http.scheme), ("POST", "/v1/x?token=t&q=1", "own.test", "http"));
    assert_eq!((&*http.protocol, &*http.body, http.size), ("HTTP/1.1", "hello", 5));
    let header = |name: &str| http.headers.get(name).map(String::as_str);
    assert_eq!(
        [header("x-two"), header("x-user"), header(":path"), header(":authority")],
        [Some("1,2"), Some("mallory"), Some("/v1/x?token=t&q=1"), Some("own.test")]
    );
    assert!(!http.id.is_empty() && attributes.source.is_some() && attributes.destination.is_some());
}

#[tokio::test]
async fn a_server_is_told_only_what_it_may_be() {
    let (engine, _calls) = engine().await;
    let (told, mut asked) = mpsc::unbounded_channel();
    let auth = server(move |attributes| {
        told.send(attributes).unwrap();
        decided(0, None)
    })
    .await;
    let gateway = gateway(engine, auth, "grpc: {allowedHeaders: [X-One]}");
    let answer = post(&gateway, "secret").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let http = asked.recv().await.unwrap().request.unwrap().http.unwrap();
    assert_eq!((http.headers.len(), &*http.body, http.raw_body.len(), http.size), (0, "", 0, 6));
}

#[tokio::test]
async fn a_refusal_is_told_and_an_answer_that_decides_nothing_refuses_too() {
    let denied = |code| {
        let body = "no".to_owned();
        HttpResponse::Denied(DeniedHttpResponse {
            status: Some(HttpStatus { code }),
            headers: vec![option("x-why", "1", None)],
            body,
        })
    };
    type Case = (fn(&dyn Fn(i32) -> HttpResponse) -> Answer, &'static str, &'static str);
    let cases: [Case; 8] = [
        (|denied| decided(16, Some(denied(401))), "HTTP/1.1 401", "x-why: 1"),
        // A server that forgets one of the two is not taken to have consented.
        (|denied| decided(0, Some(denied(429))), "HTTP/1.1 429", "content-type: text/plain"),
        (|_| decided(7, None), "HTTP/1.1 403", ""),
        (|_| decided(7, Some(HttpResponse::Ok(OkHttpResponse::default()))), "HTTP/1.1 403", ""),
        (|_| decided(0, Some(HttpResponse::Error(DeniedHttpResponse::default()))), "HTTP/1.1 503", ""),
        (|_| Answer::Raw(b"", "14"), "HTTP/1.1 503", ""),
        (|_| Answer::Raw(b"\0\0\0\0\x09short", "0"), "HTTP/1.1 503", ""),
        (|_| Answer::Raw(b"\0\0\0\0\x02\xff\xff", "0"), "HTTP/1.1 503", ""),
    ];
    for (place, (answer, status, words)) in cases.into_iter().enumerate() {
        let (engine, mut calls) = engine().await;
        let auth = server(move |_| answer(&denied)).await;
        let reply = post(&gateway(engine, auth, "grpc: {}"), "{}").await;
        assert!(reply.starts_with(status) && reply.contains(words), "{place}: {reply}");
        assert!(calls.try_recv().is_err(), "{place}: nothing passes");
    }
}
