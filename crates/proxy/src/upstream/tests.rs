//! Over real sockets, against backends that say exactly what a test has them say.

use std::{convert::Infallible, future::Future, time::Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::mpsc,
    time::{sleep, timeout},
};

use super::*;
use crate::{breaker::Resource, dns::Overrides};

/// Word of what happens at once has come within this, however busy the machine is.
const SOON: Duration = Duration::from_secs(5);
/// Nobody listens there: the system gives no such port to whoever asks for one.
const NOWHERE: std::net::SocketAddr = std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9)), 9);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A backend that runs a script for each connection, with the connection's number.
async fn backend<F, S>(script: S) -> Address
where
    S: Fn(usize, TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(script(number, stream));
        }
    });
    Address::Socket(address)
}

/// Reads a request's head; empty where the connection ended.
async fn head(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => return Vec::new(),
        }
    }
    bytes
}

/// Answers every request on a connection with `ok`.
async fn answer_all(mut stream: TcpStream) {
    while !head(&mut stream).await.is_empty() {
        stream.write_all(OK).await.unwrap();
    }
}

fn upstreams() -> Upstreams {
    with_overrides(Overrides::default())
}

fn with_overrides(overrides: Overrides) -> Upstreams {
    Upstreams::new(Dns::new(Handle::current(), overrides))
}

fn destination(address: &Address) -> Destination<'_> {
    Destination::new(address, &Timeouts::default())
}

fn get() -> Request<RequestBody> {
    Request::get("/").header("host", "backend").body(RequestBody::empty()).unwrap()
}

async fn read(exchange: Exchange) -> Bytes {
    exchange.response.into_body().collect().await.unwrap().to_bytes()
}

/// Waits for a backend to see its connection's end, and says how long that took.
async fn until_closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    // A reset is an end as well.
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await.expect("the connection stays open");
    start.elapsed()
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let address = backend(|number, stream| async move {
        assert_eq!(number, 0, "one connection is enough");
        answer_all(stream).await;
    })
    .await;
    let upstreams = upstreams();
    for round in 0..3 {
        let exchange = upstreams.send_request(&destination(&address), get()).await.unwrap();
        assert_eq!(exchange.reused, round > 0);
        assert_eq!(read(exchange).await, "ok");
        assert_eq!(upstreams.kept(), 1);
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_without_a_word() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Socket(listener.local_addr().unwrap());
    // A thread of its own: its end of the connection closes while the connection's task here has no chance to see it.
    let backend = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(OK).unwrap();
        }
    });
    let upstreams = upstreams();
    for unseen in [false, true, false] {
        let exchange = upstreams.send_request(&destination(&address), get()).await.unwrap();
        assert!(!exchange.reused);
        assert_eq!(read(exchange).await, "ok");
        if unseen {
            std::thread::sleep(Duration::from_millis(20));
        } else {
            sleep(Duration::from_millis(20)).await;
        }
    }
    backend.join().unwrap();
}

#[tokio::test]
async fn requests_limits_and_idle_time_end_a_connection() {
    let (seen, mut numbers) = mpsc::unbounded_channel();
    let address = backend(move |number, stream| {
        seen.send(number).unwrap();
        answer_all(stream)
    })
    .await;
    let upstreams = upstreams();
    let limits = CircuitBreaker { max_requests_per_connection: Some(2), ..CircuitBreaker::default() };
    let limited = Destination { limits: Some(&limits), ..destination(&address) };
    for _ in 0..3 {
        read(upstreams.send_request(&limited, get()).await.unwrap()).await;
    }
    assert_eq!((numbers.recv().await, numbers.recv().await), (Some(0), Some(1)));
    assert_eq!(upstreams.kept(), 1);
    let brief = Destination { idle_timeout: Duration::from_millis(10), ..destination(&address) };
    read(upstreams.send_request(&brief, get()).await.unwrap()).await;
    sleep(Duration::from_millis(20)).await;
    assert!(!upstreams.send_request(&brief, get()).await.unwrap().reused);
}

#[tokio::test]
async fn connections_to_endpoints_that_are_gone_are_closed() {
    let (closed, mut told) = mpsc::unbounded_channel();
    let address = backend(move |_, stream| {
        let closed = closed.clone();
        async move {
            answer_all(stream).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let upstreams = upstreams();
    read(upstreams.send_request(&destination(&address), get()).await.unwrap()).await;
    upstreams.retain(|_| true);
    assert_eq!(upstreams.kept(), 1);
    upstreams.retain(|_| false);
    assert_eq!(upstreams.kept(), 0);
    timeout(Duration::from_secs(5), told.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_response_dropped_before_its_end_closes_the_connection_at_once() {
    let (closed, mut told) = mpsc::unbounded_channel();
    let address = backend(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
            until_closed(&mut stream).await;
            closed.send(Instant::now()).unwrap();
        }
    })
    .await;
    let upstreams = upstreams();
    let mut exchange = upstreams.send_request(&destination(&address), get()).await.unwrap();
    let frame = exchange.response.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "abc");
    let dropped = Instant::now();
    drop(exchange);
    assert!(told.recv().await.unwrap() - dropped < SOON);
    assert_eq!(upstreams.kept(), 0);
}

#[tokio::test]
async fn a_request_given_up_before_its_response_closes_the_connection_at_once() {
    let (closed, mut told) = mpsc::unbounded_channel();
    let address = backend(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            head(&mut stream).await;
            until_closed(&mut stream).await;
            closed.send(Instant::now()).unwrap();
        }
    })
    .await;
    let upstreams = upstreams();
    let sent = timeout(Duration::from_millis(100), upstreams.send_request(&destination(&address), get())).await;
    let dropped = Instant::now();
    assert!(sent.is_err());
    assert!(told.recv().await.unwrap() - dropped < SOON);
}

#[tokio::test]
async fn failures_say_what_happened_and_whether_anything_was_sent() {
    let upstreams = upstreams();
    let unused = NOWHERE;
    let address = Address::Socket(unused);
    let failure = upstreams.send_request(&destination(&address), get()).await.unwrap_err();
    assert!(failure.to_string().starts_with(&format!("cannot connect to {unused}: ")), "{failure}");
    assert!(matches!((failure.sent, &failure.body), (Sent::Not, Some(_))));

    let silent = backend(|_, mut stream| async move { drop(head(&mut stream).await) }).await;
    let failure = upstreams.send_request(&destination(&silent), get()).await.unwrap_err();
    assert!(matches!((&failure.kind, failure.sent, &failure.body), (FailureKind::Closed, Sent::Maybe, None)), "{failure:?}");

    let garbage = backend(|_, mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await.unwrap();
    })
    .await;
    let failure = upstreams.send_request(&destination(&garbage), get()).await.unwrap_err();
    assert!(matches!((&failure.kind, failure.sent), (FailureKind::Protocol(_), Sent::Maybe)), "{failure:?}");

    let nowhere = Address::Dns { host: "nowhere.invalid".into(), port: 80 };
    let hurried = Destination { connect_timeout: Duration::from_millis(200), ..destination(&nowhere) };
    let failure = upstreams.send_request(&hurried, get()).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Resolve(_) | FailureKind::ConnectTimeout(_)), "{failure:?}");
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let Address::Socket(good) = backend(|_, stream| answer_all(stream)).await else { unreachable!() };
    let unused = NOWHERE;
    let overrides = Overrides::parse([format!("api.example:443:{unused},{good}").as_str()]).unwrap();
    let upstreams = with_overrides(overrides);
    let address = Address::Dns { host: "api.example".into(), port: 443 };
    let exchange = upstreams.send_request(&destination(&address), get()).await.unwrap();
    assert_eq!(exchange.remote, Some(good));
    read(exchange).await;
    assert!(upstreams.send_request(&destination(&address), get()).await.unwrap().reused);
}

#[tokio::test]
async fn a_connection_limit_makes_requests_wait_for_the_connection() {
    let (answer, answers) = mpsc::unbounded_channel::<()>();
    let (closed, mut closes) = mpsc::unbounded_channel::<()>();
    let answers = Arc::new(tokio::sync::Mutex::new(answers));
    let address = backend(move |number, mut stream| {
        let (answers, closed) = (answers.clone(), closed.clone());
        async move {
            assert_eq!(number, 0, "one connection is allowed");
            while !head(&mut stream).await.is_empty() {
                answers.lock().await.recv().await.unwrap();
                stream.write_all(OK).await.unwrap();
            }
            closed.send(()).unwrap();
        }
    })
    .await;
    let (upstreams, breaker) = (upstreams(), Arc::new(Breaker::default()));
    let limits = CircuitBreaker { max_connections: 1, max_pending_requests: 1, ..CircuitBreaker::default() };
    let destination = Destination { breaker: Some(&breaker), limits: Some(&limits), ..destination(&address) };
    let send = || async { read(upstreams.send_request(&destination, get()).await.unwrap()).await };
    let active = |resource, count| {
        let breaker = breaker.clone();
        async move {
            while breaker.active(resource) != count {
                tokio::task::yield_now().await;
            }
        }
    };
    let (connected, is_connected) = tokio::sync::oneshot::channel();
    let second = async {
        // The first request itself is pending until it has the connection.
        active(Resource::Connections, 1).await;
        active(Resource::Pending, 0).await;
        connected.send(()).unwrap();
        send().await
    };
    let third = async {
        is_connected.await.unwrap();
        active(Resource::Pending, 1).await;
        let failure = upstreams.send_request(&destination, get()).await.unwrap_err();
        answer.send(()).unwrap();
        answer.send(()).unwrap();
        failure
    };
    let (first, second, third) = timeout(SOON, async { tokio::join!(send(), second, third) }).await.unwrap();
    assert_eq!((&first[..], &second[..]), (&b"ok"[..], &b"ok"[..]));
    assert!(matches!(third.kind, FailureKind::Overflow(_)), "{third:?}");
    assert_eq!(breaker.active(Resource::Connections), 1);
    upstreams.retain(|_| false);
    timeout(SOON, closes.recv()).await.unwrap();
    timeout(SOON, active(Resource::Connections, 0)).await.unwrap();
}

#[tokio::test]
async fn an_upgraded_connection_is_handed_over() {
    let address = backend(|_, mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhi").await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    })
    .await;
    let (upstreams, breaker) = (upstreams(), Arc::new(Breaker::default()));
    let mut request = get();
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let destination = Destination { breaker: Some(&breaker), ..destination(&address) };
    let exchange = upstreams.send_request(&destination, request).await.unwrap();
    assert_eq!(exchange.response.status(), 101);
    let mut upgraded = exchange.switched.unwrap();
    upgraded.write_all(b" there").await.unwrap();
    let mut echoed = [0; 8];
    upgraded.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hi there");
    assert_eq!((breaker.active(Resource::Connections), upstreams.kept()), (1, 0));
    drop(upgraded);
    assert_eq!(breaker.active(Resource::Connections), 0);
}

/// Tells when it is dropped.
struct Told(mpsc::UnboundedSender<Instant>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(Instant::now());
    }
}

#[tokio::test]
async fn http2_requests_share_a_connection_and_cancel_alone() {
    let (dropped, mut told) = mpsc::unbounded_channel();
    let address = backend(move |number, stream| {
        assert_eq!(number, 0, "one connection is enough");
        let dropped = dropped.clone();
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            assert_eq!(request.uri().to_string(), format!("http://backend{}", request.uri().path()));
            let told = (request.uri().path() == "/slow").then(|| Told(dropped.clone()));
            async move {
                if told.is_some() {
                    sleep(Duration::from_secs(60)).await;
                }
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        async move {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
    let upstreams = upstreams();
    let destination = Destination { protocol: Protocol::Http2, ..destination(&address) };
    let send = || async { upstreams.send_request(&destination, get()).await.unwrap().response.status() };
    let (first, second, third) = tokio::join!(send(), send(), send());
    assert_eq!([first, second, third], [200; 3]);
    let mut slow = get();
    *slow.uri_mut() = "/slow".parse().unwrap();
    assert!(timeout(Duration::from_millis(100), upstreams.send_request(&destination, slow)).await.is_err());
    let given_up = Instant::now();
    assert!(told.recv().await.unwrap().saturating_duration_since(given_up) < SOON);
    assert!(upstreams.send_request(&destination, get()).await.unwrap().reused);
}

#[tokio::test]
async fn connections_are_opened_ahead_and_serve_the_requests_that_need_them() {
    let (seen, mut numbers) = mpsc::unbounded_channel();
    let address = backend(move |number, stream| {
        seen.send(number).unwrap();
        answer_all(stream)
    })
    .await;
    let upstreams = upstreams();
    let destination = Destination { preconnect: Some(200), ..destination(&address) };
    let first = upstreams.send_request(&destination, get()).await.unwrap();
    assert!(!first.reused);
    // The second connection is nobody's request: it comes while the first serves one, and waits.
    for number in 0..2 {
        assert_eq!(timeout(SOON, numbers.recv()).await.unwrap(), Some(number));
    }
    let idle = async {
        while upstreams.kept() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, idle).await.unwrap();
    let second = upstreams.send_request(&destination, get()).await.unwrap();
    assert!(second.reused, "the connection that was opened ahead serves it");
    // Two are at work, so that four are to be open.
    for number in 2..4 {
        assert_eq!(timeout(SOON, numbers.recv()).await.unwrap(), Some(number));
    }
    assert_eq!((read(first).await, read(second).await), ("ok".into(), "ok".into()));
    // One at work and three idle are more than enough.
    read(upstreams.send_request(&destination, get()).await.unwrap()).await;
    assert!(numbers.try_recv().is_err());
}

#[tokio::test]
async fn nothing_is_opened_ahead_beyond_a_limit_of_connections() {
    let (seen, mut numbers) = mpsc::unbounded_channel();
    let address = backend(move |number, stream| {
        seen.send(number).unwrap();
        answer_all(stream)
    })
    .await;
    let (upstreams, breaker) = (upstreams(), Arc::default());
    let limits = CircuitBreaker { max_connections: 1, ..CircuitBreaker::default() };
    let destination =
        Destination { preconnect: Some(300), breaker: Some(&breaker), limits: Some(&limits), ..destination(&address) };
    for _ in 0..3 {
        read(upstreams.send_request(&destination, get()).await.unwrap()).await;
    }
    assert_eq!((numbers.recv().await, numbers.try_recv().is_err()), (Some(0), true));
    assert_eq!((breaker.active(Resource::Connections), breaker.overflowed(Resource::Connections)), (1, 0));
}

#[tokio::test]
async fn a_connection_to_http2_is_opened_before_the_last_one_is_full() {
    let address = backend(|_, stream| async move {
        let service = hyper::service::service_fn(|_| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    })
    .await;
    let upstreams = upstreams();
    let http2 = UpstreamHttp2 { max_concurrent_streams: Some(2), ..UpstreamHttp2::default() };
    let destination = Destination { protocol: Protocol::Http2, http2, preconnect: Some(300), ..destination(&address) };
    let exchange = upstreams.send_request(&destination, get()).await.unwrap();
    let second = async {
        while upstreams.kept() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, second).await.unwrap();
    drop(exchange);
}
