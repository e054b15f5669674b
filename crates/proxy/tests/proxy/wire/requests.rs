//! Requests of any form over HTTP/1.1, read by this server and by hyper's, cut wherever it comes: what this one takes for requests, hyper
//! takes for the same ones, in the same order. What hyper takes beyond that, this one refuses.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use pailou_proxy::{
    response_body::ResponseBody,
    server::{Client, ClientBody, Connection, Datagrams, Serve, Server, WorkerHandle},
};
use pailou_snapshot::{ClientPolicy, HostMap, Port, PortService};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

use super::made_up::{CASES, mostly, pieces, runner};

/// Parts of heads ...
const LINES: &[&str] = &[
    "POST /a HTTP/1.1\r\nhost: a\r\n",
    "GET /b HTTP/1.1\r\n",
    "GET /c HTTP/1.0\r\n",
    "HEAD http://b.example/d?e HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "GET /f HTTP/2.0\r\n",
    "GET g HTTP/1.1\r\n",
    "\r\n",
    "content-length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length: 5, 5\r\n",
    "content-length: 7\r\n",
    "content-length: +5\r\n",
    "content-length:\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding: Chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: chunked, gzip\r\n",
    "Transfer-Encoding : chunked\r\n",
    "connection: close\r\n",
    "connection: keep-alive\r\n",
    "connection: upgrade\r\nupgrade: websocket\r\n",
    "expect: 100-continue\r\n",
    " folded\r\n",
    "trailer: x-sum\r\n",
    "x-sum: 7\n",
];
/// ... and what follows them, besides bytes of any kind.
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
    "GET /next HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST /next HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
];

/// A request as a server has read it to its end.
type Seen = (Method, String, Version, usize, Bytes);

/// Tells of a request, once all of it is there.
async fn see<B: Body<Data = Bytes>>(request: Request<B>, tell: UnboundedSender<Seen>) {
    let (head, body) = request.into_parts();
    if let Ok(body) = body.collect().await {
        let _ = tell.send((head.method, head.uri.to_string(), head.version, head.headers.len(), body.to_bytes()));
    }
}

struct Ours(UnboundedSender<Seen>);

impl Serve for Ours {
    type Body = ResponseBody;

    async fn serve(connection: &Arc<Connection<Self>>, request: Request<ClientBody>) -> Response<ResponseBody> {
        see(request, connection.worker.0.clone()).await;
        Response::new(ResponseBody::empty())
    }

    fn forward(_: &Arc<Connection<Self>>, _: Client, _: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    async fn datagrams(_: &Arc<Self>, socket: Arc<Datagrams>) {
        drop(socket);
    }
}

fn ours(tell: UnboundedSender<Seen>) -> (Server<Ours>, SocketAddr) {
    let worker = WorkerHandle::new(Handle::current(), Arc::new(Ours(tell)));
    let server = Server::new(vec![worker], Handle::current());
    let (address, client) = ("127.0.0.1:0".parse().unwrap(), Arc::new(ClientPolicy::default()));
    let errors = server.reconcile(&[Port { address, number: 0, client, service: PortService::Http(HostMap::default()) }]);
    assert!(errors.is_empty(), "{errors:?}");
    let address = server.addresses()[0].1;
    (server, address)
}

async fn hypers(tell: UnboundedSender<Seen>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tell = tell.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let tell = tell.clone();
                let seen: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
                    see(request, tell).await;
                    Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
                });
                seen
            });
            let mut http1 = hyper::server::conn::http1::Builder::new();
            // Bytes in its buffer count even after the client has closed its side.
            http1.half_close(true);
            tokio::spawn(http1.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Requests that a server reads from these bytes, sent in two writes.
async fn seen(server: SocketAddr, bytes: &[u8], cut: usize, told: &RefCell<UnboundedReceiver<Seen>>) -> Vec<Seen> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let (first, second) = bytes.split_at(cut);
    // A server that has seen enough may have gone.
    let _ = stream.write_all(first).await;
    tokio::task::yield_now().await;
    let _ = stream.write_all(second).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
    std::iter::from_fn(|| told.borrow_mut().try_recv().ok()).collect()
}

#[test]
fn any_bytes_are_the_requests_that_hyper_reads_in_them_or_refused() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (whole, several) = (Cell::new(0), Cell::new(0));
    let (first, blank) = (mostly(LINES[0].as_bytes()), mostly(b"\r\n"));
    let bytes = (first, pieces(LINES, 3), blank, pieces(PARTS, 4)).prop_map(|(first, head, blank, body)| {
        // Each of them ends in something that is a request by itself.
        [first, &head, blank, &body, b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"].concat()
    });
    let cases = (bytes, any::<prop::sample::Index>());
    let ((tell_ours, our_told), (tell_hypers, hypers_told)) = (unbounded_channel(), unbounded_channel());
    let (our_told, hypers_told) = (RefCell::new(our_told), RefCell::new(hypers_told));
    let (server, our_address, hypers_address) = runtime.block_on(async {
        let (server, address) = ours(tell_ours);
        (server, address, hypers(tell_hypers).await)
    });
    let outcome = runner().run(&cases, |(bytes, cut)| {
        let cut = cut.index(bytes.len() + 1);
        let (ours, theirs) = runtime.block_on(async {
            let read = async {
                let ours = seen(our_address, &bytes, cut, &our_told).await;
                (ours, seen(hypers_address, &bytes, cut, &hypers_told).await)
            };
            timeout(Duration::from_secs(60), read).await.expect("it ends")
        });
        whole.set(whole.get() + usize::from(!ours.is_empty()));
        several.set(several.get() + usize::from(ours.len() > 1));
        prop_assert!(theirs.starts_with(&ours), "{:?}\nours: {ours:?}\nhyper's: {theirs:?}", String::from_utf8_lossy(&bytes));
        Ok(())
    });
    outcome.unwrap();
    drop(server);
    assert!(whole.get() > CASES as usize / 5, "only {} of them say anything", whole.get());
    assert!(several.get() > CASES as usize / 50, "only {} of them are several requests", several.get());
}
