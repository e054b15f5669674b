//! The clock of a request that goes both ways: either direction keeps it alive, and a silence in both ends it.

use std::time::Duration;

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::ResponseFuture,
    server::{self, SendResponse},
};
use http::{Request, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::support::objects::{Gateway, backend, route};

const IDLE: Duration = Duration::from_millis(1500);
/// Often enough to be alive.
const BEAT: Duration = Duration::from_millis(200);
/// For more than two times the idle time in all.
const BEATS: usize = 16;
const TO_MAIN: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
const POLICY: &str = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: idle}\nspec:\n  \
                      targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]\n  timeout: {http: \
                      {streamIdleTimeout: 1500ms}}\n";

/// Both ends of a call through the gateway, in HTTP/2.
struct Call {
    _gateway: Gateway,
    client: (ResponseFuture, SendStream<Bytes>),
    backend: (RecvStream, SendResponse<Bytes>),
    begun: Instant,
}

impl Call {
    async fn begin() -> Self {
        Self::with_window(65_535).await
    }

    /// A call whose client takes no more than this of the response for now.
    async fn with_window(window: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let h2c = ", appProtocols: [gateway.envoyproxy.io/h2c]";
        let main = backend("main", listener.local_addr().unwrap(), h2c);
        let gateway = Gateway::serve(&[route(TO_MAIN), main, POLICY.into()].concat());
        let (calls, mut called) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = server::handshake(stream).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                calls.send((request.into_body(), respond)).unwrap();
            }
        });
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let (client, connection) = h2::client::Builder::new().initial_window_size(window).handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let begun = Instant::now();
        let call = client.send_request(Request::post("http://a.test/call").body(()).unwrap(), false).unwrap();
        let backend = called.recv().await.unwrap();
        Self { _gateway: gateway, client: call, backend, begun }
    }

    /// The client talks for longer than the idle time. Says when it began with its last word.
    async fn talk(&mut self) -> Instant {
        let mut last = Instant::now();
        for _ in 0..BEATS {
            last = Instant::now();
            self.client.1.send_data(Bytes::from_static(b"up"), false).unwrap();
            sleep(BEAT).await;
        }
        last
    }
}

/// Asserts that some end came after the idle time, and not long after.
fn ended_by_the_clock(since: Instant) {
    assert!((IDLE..8 * IDLE).contains(&since.elapsed()), "{:?}", since.elapsed());
}

/// Reads a body to its end.
async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut read = Vec::new();
    while let Some(data) = timeout(Duration::from_secs(60), body.data()).await.expect("it ends") {
        read.extend_from_slice(&data?);
    }
    Ok(read)
}

#[tokio::test]
async fn a_client_that_alone_talks_is_alive_before_the_answer_and_after_its_head() {
    let mut call = Call::begin().await;
    call.talk().await;
    let mut answer = call.backend.1.send_response(Response::new(()), false).unwrap();
    call.talk().await;
    call.client.1.send_data(Bytes::new(), true).unwrap();
    answer.send_data(Bytes::from_static(b"down"), true).unwrap();
    let mut response = call.client.0.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(read(response.body_mut()).await.unwrap(), b"down");
    assert_eq!(read(&mut call.backend.0).await.unwrap(), b"up".repeat(2 * BEATS));
}

#[tokio::test]
async fn a_backend_that_alone_talks_is_alive_whether_or_not_the_upload_has_ended() {
    for ended in [true, false] {
        let mut call = Call::begin().await;
        call.client.1.send_data(Bytes::from_static(b"up"), ended).unwrap();
        let mut answer = call.backend.1.send_response(Response::new(()), false).unwrap();
        for _ in 0..BEATS {
            answer.send_data(Bytes::from_static(b"down"), false).unwrap();
            sleep(BEAT).await;
        }
        answer.send_data(Bytes::new(), true).unwrap();
        let mut response = call.client.0.await.unwrap();
        assert_eq!(read(response.body_mut()).await.unwrap(), b"down".repeat(BEATS), "upload ended: {ended}");
    }
}

#[tokio::test]
async fn when_both_are_silent_after_the_head_both_ends_are_cut() {
    let mut call = Call::begin().await;
    call.client.1.send_data(Bytes::from_static(b"up"), false).unwrap();
    let since = Instant::now();
    let _answer = call.backend.1.send_response(Response::new(()), false).unwrap();
    let mut response = (&mut call.client.0).await.unwrap();
    assert!(read(response.body_mut()).await.is_err(), "it does not look whole");
    ended_by_the_clock(since);
    assert!(read(&mut call.backend.0).await.is_err());
}

#[tokio::test]
async fn an_upload_that_stalls_before_the_answer_ends_with_408_at_both_ends() {
    let mut call = Call::begin().await;
    call.client.1.send_data(Bytes::from_static(b"up"), false).unwrap();
    let mut response = timeout(Duration::from_secs(60), &mut call.client.0).await.expect("it ends").unwrap();
    ended_by_the_clock(call.begun);
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(response.headers()["x-pailou-response-flag"], "SI");
    assert!(String::from_utf8(read(response.body_mut()).await.unwrap()).unwrap().contains("did not go on"));
    let error = read(&mut call.backend.0).await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
}

#[tokio::test]
async fn a_backend_that_is_silent_after_the_whole_upload_is_answered_for_with_504() {
    let mut call = Call::begin().await;
    call.client.1.send_data(Bytes::from_static(b"up"), true).unwrap();
    let response = timeout(Duration::from_secs(60), &mut call.client.0).await.expect("it ends").unwrap();
    ended_by_the_clock(call.begun);
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.headers()["x-pailou-response-flag"], "SI");
}

#[tokio::test]
async fn an_upload_does_not_outlive_its_answer() {
    let mut call = Call::begin().await;
    call.client.1.send_data(Bytes::from_static(b"up"), false).unwrap();
    call.backend.1.send_response(Response::new(()), true).unwrap();
    assert_eq!((&mut call.client.0).await.unwrap().status(), StatusCode::OK);
    assert!(read(&mut call.backend.0).await.is_err());
    assert!(call.begun.elapsed() < IDLE, "{:?}", call.begun.elapsed());
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go_unless_it_talks() {
    let mut call = Call::with_window(4).await;
    let mut answer = call.backend.1.send_response(Response::new(()), false).unwrap();
    for _ in 0..3 {
        answer.send_data(Bytes::from_static(b"more than that"), false).unwrap();
    }
    let mut response = (&mut call.client.0).await.unwrap();
    assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "more");
    let since = call.talk().await;
    let error = timeout(Duration::from_secs(60), response.body_mut().data()).await.expect("it ends").unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    ended_by_the_clock(since);
    assert!(read(&mut call.backend.0).await.is_err());
}

#[tokio::test]
async fn a_client_that_takes_its_time_is_not_cut() {
    let mut call = Call::with_window(4).await;
    let mut answer = call.backend.1.send_response(Response::new(()), false).unwrap();
    answer.send_data(Bytes::from("four".repeat(BEATS)), true).unwrap();
    let mut response = (&mut call.client.0).await.unwrap();
    for _ in 0..BEATS {
        sleep(BEAT).await;
        assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "four");
        response.body_mut().flow_control().release_capacity(4).unwrap();
    }
    assert!(response.body_mut().data().await.is_none());
}

#[tokio::test]
async fn in_http1_a_stalled_upload_ends_with_408_and_takes_its_connections_along() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let main = backend("main", listener.local_addr().unwrap(), "");
    let gateway = Gateway::serve(&[route(TO_MAIN), main, POLICY.into()].concat());
    let begun = Instant::now();
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nthe beginning").await.unwrap();
    let (mut taken, _) = listener.accept().await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(60), client.read_to_string(&mut answer)).await.expect("it ends").unwrap();
    assert!(begun.elapsed() >= IDLE);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("x-pailou-response-flag: SI\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    let mut received = Vec::new();
    let _ = timeout(Duration::from_secs(60), taken.read_to_end(&mut received)).await.expect("the backend's connection ends");
    assert!(received.ends_with(b"the beginning"));
}

#[tokio::test]
async fn an_upgraded_connection_is_alive_in_either_direction_and_ends_when_both_are_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let main = backend("main", listener.local_addr().unwrap(), "");
    let gateway = Gateway::serve(&[route(TO_MAIN), main, POLICY.into()].concat());
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await.unwrap();
    let (mut taken, _) = listener.accept().await.unwrap();
    read_head(&mut taken).await;
    taken.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101"));
    talk_one_way(&mut client, &mut taken).await;
    let since = talk_one_way(&mut taken, &mut client).await;
    for end in [&mut client, &mut taken] {
        let ended = timeout(Duration::from_secs(60), end.read(&mut [0])).await.expect("it ends");
        assert_eq!(ended.unwrap(), 0);
    }
    ended_by_the_clock(since);
}

async fn talk_one_way(from: &mut TcpStream, to: &mut TcpStream) -> Instant {
    let mut last = Instant::now();
    for _ in 0..BEATS {
        last = Instant::now();
        from.write_all(b"!").await.unwrap();
        assert_eq!(to.read_u8().await.unwrap(), b'!');
        sleep(BEAT).await;
    }
    last
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}
