//! HTTP/1.1, HTTP/2, TLS, upgrades, gRPC and trailers from end to end.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pailou_e2e::client::{CHAT, Call, Connection};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::wire::{Server, Wire, header};
use pailou_e2e::{address::loopback, objects, tls, wait};
use pailou_sim::Sim;
use pailou_sim::selfsigned::Authority;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{everything_to, instant};

async fn before(backend: Value) -> Gateway {
    let route = objects::route("r", everything_to(objects::to_backend("b")));
    Setup::with([objects::gateway(), route, backend]).serve().await
}

async fn before_engine() -> (Gateway, Sim) {
    let sim = instant("a", "qwen").await;
    (before(objects::backend("b", &[sim.addr()])).await, sim)
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_served_on_the_plain_port() {
    let (gateway, _sim) = before_engine().await;
    let mut connection = Connection::http2(gateway.http()).await.unwrap();
    let echo = connection.send(Call::chat("qwen", "hello").echo()).await.unwrap();
    assert_eq!((echo.version, &echo.json()["http_version"]), (http::Version::HTTP_2, &json!("HTTP/1.1")));
    assert_eq!(echo.received("host"), "gateway.test");
    let stream = connection.send(Call::chat_stream("qwen", "hello", 20)).await.unwrap();
    assert!(stream.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(connection.send(Call::new("HEAD", "/v1/models")).await.unwrap().body, "");
}

#[tokio::test]
async fn a_backend_can_be_spoken_to_in_http2() {
    let sim = instant("a", "qwen").await;
    let mut backend = objects::backend("b", &[sim.addr()]);
    backend["spec"]["appProtocols"] = json!(["gateway.envoyproxy.io/h2c"]);
    let route = objects::route("r", everything_to(objects::to_backend("b")));
    // Every worker has connections of its own.
    let gateway = Setup::with([objects::gateway(), route, backend]).args(["--workers", "1"]).serve().await;
    let echo = Call::chat("qwen", "hello").host("a_B.test").echo().send(gateway.http()).await;
    assert_eq!((&echo.json()["http_version"], &echo.json()["authority"]), (&json!("HTTP/2.0"), &json!("a_B.test")));
    for _ in 0..5 {
        assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    }
    assert_eq!(sim.stats().connections, 1, "requests share a connection");
}

#[tokio::test]
async fn connections_on_both_sides_are_used_again() {
    let (gateway, sim) = before_engine().await;
    let mut connection = Connection::http1(gateway.http()).await.unwrap();
    for index in 0..20 {
        let call = if index % 2 == 0 { Call::chat("qwen", "hello") } else { Call::chat_stream("qwen", "hello", 5) };
        assert_eq!(connection.send(call).await.unwrap().status, 200);
    }
    assert!(sim.stats().connections <= 3, "{} connections", sim.stats().connections);
}

#[tokio::test]
async fn tls_listeners_are_chosen_by_name() {
    let sim = instant("a", "qwen").await;
    let authority = Authority::new().unwrap();
    let names = ["one.test", "two.test"];
    let listener = |name: &str| {
        json!({
            "name": name.replace('.', "-"), "protocol": "HTTPS", "port": 8443, "hostname": name,
            "tls": {"mode": "Terminate", "certificateRefs": [{"name": name}]},
        })
    };
    let mut list = vec![objects::listeners(names.map(listener).into()), objects::backend("b", &[sim.addr()])];
    list.push(objects::route("r", everything_to(objects::to_backend("b"))));
    list.extend(names.map(|name| objects::tls_secret(name, &authority.issue(&[name]).unwrap())));
    let gateway = Setup::with(list).serve().await;
    let (to, ca) = (gateway.port(8443), authority.ca_pem());
    for name in names {
        let io = tls::connect(to, &ca, name, &["http/1.1"]).await.unwrap();
        let mut connection = Connection::http1_over(io).await.unwrap();
        let echo = connection.send(Call::get("/").host(name).echo()).await.unwrap();
        assert_eq!((echo.status.as_u16(), echo.received("x-forwarded-proto").as_str()), (200, "https"));
        let other = names[usize::from(name == names[0])];
        let misdirected = connection.send(Call::get("/").host(other)).await.unwrap();
        assert_eq!(misdirected.status, 421, "{}", misdirected.text());
        let io = tls::connect(to, &ca, name, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let reply = Connection::http2_over(io).await.unwrap().send(Call::chat("qwen", "hi").host(name)).await.unwrap();
        assert_eq!(reply.status, 200);
    }
    assert!(tls::connect(to, &ca, "three.test", &["http/1.1"]).await.is_err(), "no listener, no handshake");
}

#[tokio::test]
async fn websockets_pass_both_ways() {
    let server = Server::start(|mut wire| async move {
        let head = wire.head().await;
        let asked = header(&head, "upgrade") == Some("websocket") && header(&head, "sec-websocket-key") == Some("dGhl");
        assert!(asked && header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{head}");
        wire.write(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: x\r\n\r\nready",
        )
        .await?;
        loop {
            let some = wire.some().await?;
            if some.is_empty() {
                return Ok(());
            }
            wire.write(some).await?;
        }
    })
    .await;
    let gateway = before(objects::backend("b", &[server.address])).await;
    let mut wire = Wire::connect(gateway.http()).await;
    let ask =
        "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhl\r\n\r\n";
    wire.write(ask).await.unwrap();
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101 ") && header(&head, "sec-websocket-accept") == Some("x"), "{head}");
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(wire.exactly(5).await.unwrap(), b"ready");
    for length in [1, 100, 100_000] {
        let message = vec![b'm'; length];
        wire.write(&message).await.unwrap();
        assert_eq!(wire.exactly(length).await.unwrap(), message);
    }
    wire.finish().await;
    wire.closed().await;
}

/// A gRPC server by hand: it sends the message back, then a status and a detail as trailers.
pub(crate) async fn grpc_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind((loopback(), 8000)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request: Request<Incoming>| async {
                let te = request.headers().get("te").cloned();
                let message = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", if te.is_some() { "0" } else { "13" }.parse().unwrap());
                trailers.insert("x-detail", "after the body".parse().unwrap());
                let body = Full::new(message).with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) });
                Ok::<_, Infallible>(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

#[tokio::test]
async fn grpc_calls_keep_their_trailers() {
    let mut backend = objects::backend("b", &[grpc_server().await]);
    backend["spec"]["appProtocols"] = json!(["gateway.envoyproxy.io/h2c"]);
    let gateway = before(backend).await;
    let message = Bytes::from_static(b"\0\0\0\0\x03abc");
    let call =
        Call::post("/inference.Engine/Chat", message.clone()).header("content-type", "application/grpc").header("te", "trailers");
    let reply = Connection::http2(gateway.http()).await.unwrap().send(call).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.body), (200, message));
    let trailers = reply.trailers.unwrap();
    assert_eq!((&trailers["grpc-status"], &trailers["x-detail"]), (&"0".parse().unwrap(), &"after the body".parse().unwrap()));
}

#[tokio::test]
async fn an_upload_is_asked_for_where_the_client_waits_to_be_asked() {
    let (gateway, _sim) = before_engine().await;
    let mut wire = Wire::connect(gateway.http()).await;
    let body = r#"{"model":"qwen","messages":[{"role":"user","content":"hi"}]}"#;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    wire.write(head).await.unwrap();
    assert!(wire.head().await.starts_with("HTTP/1.1 100 "));
    wire.write(body).await.unwrap();
    assert!(wire.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn interim_answers_of_a_backend_do_no_harm() {
    let server = Server::start(|mut wire| async move {
        loop {
            wire.request().await?;
            wire.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await?;
            wire.answer(200, "{\"ok\":1}").await?;
        }
    })
    .await;
    let gateway = before(objects::backend("b", &[server.address])).await;
    let mut connection = Connection::http1(gateway.http()).await.unwrap();
    for _ in 0..3 {
        let reply = connection.send(Call::chat("qwen", "hi")).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({"ok": 1})));
    }
}

#[tokio::test]
async fn answers_without_a_body_stay_without_one() {
    let server = Server::start(|mut wire| async move {
        loop {
            let head = wire.request().await?.head;
            let status = if head.contains("/204") {
                "204 No Content"
            } else if head.contains("/304") {
                "304 Not Modified"
            } else {
                "200 OK"
            };
            let length = if head.contains("/204") { "" } else { "content-length: 5\r\n" };
            wire.write(format!("HTTP/1.1 {status}\r\netag: x\r\n{length}\r\n")).await?;
        }
    })
    .await;
    let gateway = before(objects::backend("b", &[server.address])).await;
    let mut connection = Connection::http1(gateway.http()).await.unwrap();
    for (call, status) in [(Call::get("/204"), 204), (Call::get("/304"), 304), (Call::new("HEAD", "/"), 200)] {
        let reply = wait::within("the answer ends", connection.send(call)).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.body.len(), reply.header("etag")), (status, 0, "x"));
        if status == 200 {
            assert_eq!(reply.header("content-length"), "5");
        }
    }
}

#[tokio::test]
async fn trailers_of_chunked_messages_pass() {
    let server = Server::start(|mut wire| async move {
        let head = wire.request().await?.head;
        assert!(header(&head, "transfer-encoding").is_some() || header(&head, "content-length").is_some());
        wire.write("HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n").await
    })
    .await;
    let gateway = before(objects::backend("b", &[server.address])).await;
    let mut wire = Wire::connect(gateway.http()).await;
    wire.write(
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\na\r\n0\r\n\r\n",
    )
    .await
    .unwrap();
    let (answer, _) = wire.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.to_ascii_lowercase().contains("x-sum: 7"), "{answer}");
}
