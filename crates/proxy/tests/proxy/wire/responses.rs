//! Responses of any form over HTTP/1.1, read by this client and by hyper's, cut wherever it comes: where both take one for whole, they
//! take it for the same, and this one takes none that the other refuses.

use std::{cell::Cell, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use pailou_proxy::{
    dns::{Dns, Overrides},
    request_body::RequestBody,
    upstream::{Destination, Upstreams},
};
use pailou_snapshot::{Address, Timeouts};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle},
    time::timeout,
};

use super::made_up::{CASES, mostly, pieces, runner};

/// Parts of heads ...
const LINES: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 503 \r\n",
    "HTTP/1.1 200\r\n",
    "HTTP/2 200 OK\r\n",
    "content-length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length: 5, 5\r\n",
    "content-length: 7\r\n",
    "content-length: +5\r\n",
    "content-length:\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: chunked, gzip\r\n",
    "Transfer-Encoding : chunked\r\n",
    "connection: close\r\n",
    "connection: keep-alive\r\n",
    "content-type: text/plain\r\n",
    " folded\r\n",
    "trailer: x-sum\r\n",
    "x-sum: 7\r\n",
];
/// ... and bodies, besides bytes of any kind.
const PARTS: &[&str] = &[
    "\r\n",
    "\n",
    "hello",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "5\nhello\r\n",
    "05\r\nhello\r\n",
    "g\r\n",
    "0\r\n\r\n",
    "0\r\nx-sum: 7\r\n\r\n",
];

/// A status and a body, or that there is none.
type Read = Option<(u16, Bytes)>;

fn response() -> impl Strategy<Value = Vec<u8>> {
    let (first, blank) = (mostly(LINES[0].as_bytes()), mostly(b"\r\n"));
    (first, pieces(LINES, 3), blank, pieces(PARTS, 4)).prop_map(|(first, head, blank, body)| [first, &head, blank, &body].concat())
}

/// A backend that answers with these bytes, in two writes, and hangs up.
async fn backend(bytes: Vec<u8>, cut: usize, connections: usize) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            // A client that has read enough may have gone.
            let (first, second) = bytes.split_at(cut);
            let _ = stream.write_all(first).await;
            tokio::task::yield_now().await;
            let _ = stream.write_all(second).await;
        }
    });
    Address::Socket(address)
}

async fn by_ours(address: &Address) -> Read {
    let upstreams = Upstreams::new(Dns::new(Handle::current(), Overrides::default()));
    let request = Request::get("/").header("host", "a").body(RequestBody::empty()).unwrap();
    let exchange = upstreams.send_request(&Destination::new(address, &Timeouts::default()), request).await.ok()?;
    let status = exchange.response.status().as_u16();
    Some((status, exchange.response.into_body().collect().await.ok()?.to_bytes()))
}

async fn by_hyper(address: &Address) -> Read {
    let Address::Socket(address) = address else { unreachable!("it listens on a socket") };
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "a").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.into_body().collect().await.ok()?.to_bytes()))
}

#[test]
fn any_response_is_read_as_hyper_reads_it_or_refused() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let whole = Cell::new(0);
    let cases = (response(), any::<prop::sample::Index>());
    let outcome = runner().run(&cases, |(bytes, cut)| {
        let cut = cut.index(bytes.len() + 1);
        let (ours, theirs) = runtime.block_on(async {
            let address = backend(bytes.clone(), cut, 2).await;
            let read = async { (by_ours(&address).await, by_hyper(&address).await) };
            timeout(Duration::from_secs(60), read).await.expect("it ends")
        });
        let shown = String::from_utf8_lossy(&bytes);
        if ours.is_some() {
            whole.set(whole.get() + 1);
            prop_assert_eq!(ours, theirs, "{:?}", shown);
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(whole.get() > CASES / 5, "only {} of them say anything", whole.get());
}
