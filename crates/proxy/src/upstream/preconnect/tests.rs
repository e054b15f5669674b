//! Limits of what is opened ahead.

use std::{convert::Infallible, time::Instant};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pailou_snapshot::Timeouts;
use tokio::{net::TcpListener, runtime::Handle};

use super::*;
use crate::{
    dns::{Dns, Overrides},
    request_body::RequestBody,
    upstream::pool::Key,
};

/// Nobody listens there.
const NOWHERE: std::net::SocketAddr = std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9)), 9);

#[test]
fn nothing_is_opened_ahead_while_a_request_waits() {
    let breaker = Arc::new(Breaker::default());
    let limits = CircuitBreaker { max_connections: 2, ..CircuitBreaker::default() };
    let address = Address::Socket(NOWHERE);
    let plain = Destination::new(&address, &Timeouts::default());
    let destination = Destination { breaker: Some(&breaker), limits: Some(&limits), ..plain };
    let waits = breaker.pending(Some(&limits)).unwrap();
    assert!(spare(&destination).is_none());
    assert_eq!(breaker.active(Resource::Connections), 0);
    drop(waits);
    let (first, second) = (spare(&destination), spare(&destination));
    assert!(first.is_some() && second.is_some() && spare(&destination).is_none());
    assert_eq!(breaker.overflowed(Resource::Connections), 0);
}

fn upstreams() -> Upstreams {
    Upstreams::new(Dns::new(Handle::current(), Overrides::default()))
}

fn get() -> Request<RequestBody> {
    Request::get("/").header("host", "backend").body(RequestBody::empty()).unwrap()
}

#[tokio::test]
async fn a_connection_ahead_that_fails_makes_the_group_pause() {
    let upstreams = upstreams();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = Address::Socket(listener.local_addr().unwrap());
    for (address, is_paused) in [(Address::Socket(NOWHERE), true), (open, false)] {
        let destination = Destination::new(&address, &Timeouts::default());
        let group = upstreams.pool.group(&Key::of(&destination));
        let _serves = [ConnectionPermit::new(&group), ConnectionPermit::new(&group)];
        upstreams.open_ahead_http1(ConnectionPermit::new(&group), &destination, Counted::default()).await;
        assert_eq!(group.lacks_connections(300), !is_paused, "{address:?}");
    }
}

#[tokio::test]
async fn a_connection_ahead_that_the_endpoint_closes_makes_the_group_pause() {
    let upstreams = upstreams();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Socket(listener.local_addr().unwrap());
    let destination = Destination::new(&address, &Timeouts::default());
    let group = upstreams.pool.group(&Key::of(&destination));
    let _serves = ConnectionPermit::new(&group);
    upstreams.open_ahead_http1(ConnectionPermit::new(&group), &destination, Counted::default()).await;
    drop(listener.accept().await.unwrap());
    drop(listener);
    assert!(group.lacks_connections(300));
    loop {
        let mut idle = group.pop_idle().unwrap();
        let is_usable = idle.is_usable(Instant::now());
        group.push_idle(idle);
        if !is_usable {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(upstreams.send_request(&destination, get()).await.is_err());
    assert!(!group.lacks_connections(300));
}

#[tokio::test]
async fn an_http2_connection_ahead_begins_only_with_room_and_pauses_after_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Socket(listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service =
            hyper::service::service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok")))) });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    });
    let (upstreams, plain) = (upstreams(), Destination::new(&address, &Timeouts::default()));
    let http2 = UpstreamHttp2 { max_concurrent_streams: Some(2), ..UpstreamHttp2::default() };
    let destination = Destination { protocol: Protocol::Http2, http2, ..plain };
    // Its body is not read, so that its stream stays.
    let exchange = upstreams.send_request(&destination, get()).await.unwrap();
    let group = upstreams.pool.group(&Key::of(&destination));
    assert!(group.begin_shared_ahead(300, || None).is_none());
    let begin = || group.begin_shared_ahead(300, || Some(Counted::default())).is_some();
    assert_eq!([begin(), begin()], [true, false], "one at once");
    group.opened_shared_ahead(None);
    assert!(!begin(), "the group pauses");
    group.preconnect_succeeded();
    assert!(begin());
    drop(exchange);
}
