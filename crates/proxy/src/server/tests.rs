//! Over real sockets, with a stub in place of the request path.

use std::pin::Pin;

use bytes::Bytes;
use pailou_snapshot::{Address, ClientPolicy, HostMap, PortService, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{
    dns::{Dns, Overrides},
    mirror::Copies,
    request_body::RequestBody,
    response_body::ResponseBody,
    retained::Rest,
    upload::Upload,
    upstream::{Destination, Upstreams},
};

mod http1;

type Answer = Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>;

struct Stub(Box<dyn Fn(Request<ClientBody>) -> Answer + Send + Sync>);

impl Serve for Stub {
    type Body = ResponseBody;

    fn serve(
        connection: &Arc<Connection<Self>>,
        request: Request<ClientBody>,
    ) -> impl Future<Output = Response<ResponseBody>> + Send {
        connection.worker.0(request)
    }

    async fn forward(_: &Arc<Connection<Self>>, client: Client, stop: impl Future<Output = ()> + Send) {
        // As little as can be said: what came, back to the client.
        let mut client = client.open().await.unwrap();
        let ahead = client.take_ahead();
        client.stream.write_all(&ahead).await.unwrap();
        stop.await;
    }

    async fn datagrams(_: &Arc<Self>, socket: Arc<Datagrams>) {
        socket.ended().await;
    }
}

fn server(answer: impl Fn(Request<ClientBody>) -> Answer + Send + Sync + 'static) -> Server<Stub> {
    let worker = WorkerHandle::new(Handle::current(), Arc::new(Stub(Box::new(answer))));
    Server::new(vec![worker], Handle::current())
}

fn hello(_: Request<ClientBody>) -> Answer {
    Box::pin(async { Response::new(ResponseBody::whole(Bytes::from_static(b"hello"))) })
}

fn port(address: &str, client: ClientPolicy) -> Port {
    Port { address: address.parse().unwrap(), number: 0, client: Arc::new(client), service: PortService::Http(HostMap::default()) }
}

/// Listens on a port that the system chooses, and says which.
fn listen(server: &Server<Stub>, client: ClientPolicy) -> SocketAddr {
    let errors = server.reconcile(&[port("127.0.0.1:0", client)]);
    assert!(errors.is_empty(), "{errors:?}");
    server.addresses()[0].1
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Size of the future that a function makes for a connection.
fn room<'a, F>(
    _: impl Fn(std::net::TcpStream, SocketAddr, port::ConnectionPermit, &'a Arc<port::PortState>, Arc<crate::worker::Worker>) -> F,
) -> usize {
    size_of::<F>()
}

#[test]
fn a_connection_holds_no_room_for_the_request_path_while_its_response_streams() {
    let room = room(connection::run::<crate::worker::Worker>);
    assert!(room < 4 << 10, "{room} bytes");
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Reads to the end of a response whose body is `hello`.
async fn response(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"hello") {
        match timeout(Duration::from_secs(5), stream.read_u8()).await.expect("the response comes") {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Bytes until the connection ends.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    bytes
}

#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    let server = server(hello);
    let address = listen(&server, ClientPolicy::default());
    let mut stream = connect(address).await;
    for _ in 0..2 {
        stream.write_all(REQUEST).await.unwrap();
        assert!(response(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    let upstreams = Upstreams::new(Dns::new(Handle::current(), Overrides::default()));
    let address = Address::Socket(address);
    let destination =
        Destination { protocol: pailou_snapshot::Protocol::Http2, ..Destination::new(&address, &Timeouts::default()) };
    let request = Request::get("http://a/").body(RequestBody::empty()).unwrap();
    let response = upstreams.send_request(&destination, request).await.unwrap().response;
    assert_eq!((response.status(), response.version()), (http::StatusCode::OK, http::Version::HTTP_2));
}

#[tokio::test]
async fn malformed_requests_and_too_large_heads_are_refused() {
    let server = server(hello);
    let address = listen(&server, ClientPolicy::default());
    let mut stream = connect(address).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.starts_with(b"HTTP/1.1 400 "));
    let mut stream = connect(address).await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(70 << 10));
    let _ = stream.write_all(long.as_bytes()).await;
    let mut start = [0; 13];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 431 ");
}

#[tokio::test]
async fn a_taken_port_is_named_and_the_others_are_served() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let server = server(hello);
    let wanted = [port(&taken.to_string(), ClientPolicy::default()), port("127.0.0.2:0", ClientPolicy::default())];
    let errors = server.reconcile(&wanted);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().starts_with(&format!("cannot listen on {taken}: Address already in use")), "{}", errors[0]);
    assert_eq!(server.addresses().len(), 1);
    drop(holder);
    assert!(server.reconcile(&wanted).is_empty(), "the next call tries again");
}

#[tokio::test]
async fn a_port_that_stays_keeps_its_connections_and_one_that_goes_drains() {
    let server = server(|_| {
        Box::pin(async {
            sleep(Duration::from_millis(100)).await;
            Response::new(ResponseBody::whole(Bytes::from_static(b"hello")))
        })
    });
    let address = listen(&server, ClientPolicy::default());
    let mut stream = connect(address).await;
    stream.write_all(REQUEST).await.unwrap();
    assert!(response(&mut stream).await.ends_with("hello"));
    assert!(server.reconcile(&[port("127.0.0.1:0", ClientPolicy::default())]).is_empty());
    assert_eq!(server.addresses()[0].1, address);
    stream.write_all(REQUEST).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    assert!(server.reconcile(&[]).is_empty());
    let last = String::from_utf8(rest(&mut stream).await).unwrap();
    assert!(last.contains("connection: close") && last.ends_with("hello"), "{last}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn draining_waits_for_what_is_under_way_and_then_cuts() {
    let server = server(|request| {
        let pause = if request.uri().path() == "/slow" { 60_000 } else { 100 };
        Box::pin(async move {
            sleep(Duration::from_millis(pause)).await;
            Response::new(ResponseBody::whole(Bytes::from_static(b"hello")))
        })
    });
    let address = listen(&server, ClientPolicy::default());
    let (mut idle, mut quick, mut slow) = (connect(address).await, connect(address).await, connect(address).await);
    idle.write_all(REQUEST).await.unwrap();
    response(&mut idle).await;
    quick.write_all(REQUEST).await.unwrap();
    slow.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(20)).await;
    assert_eq!(server.connections(), 3);
    let start = Instant::now();
    assert_eq!(server.drain(Duration::from_millis(1000), || {}).await, 1);
    assert!(start.elapsed() >= Duration::from_millis(1000));
    assert!(rest(&mut idle).await.is_empty());
    assert!(rest(&mut quick).await.ends_with(b"hello"));
    assert!(rest(&mut slow).await.is_empty());
    sleep(Duration::from_millis(20)).await;
    assert_eq!(server.connections(), 0);
    assert_eq!(server.drain(Duration::from_secs(5), || {}).await, 0);
}

#[tokio::test]
async fn a_request_that_was_on_its_way_as_the_drain_began_is_answered() {
    let server = server(hello);
    let address = listen(&server, ClientPolicy::default());
    let mut kept = connect(address).await;
    kept.write_all(REQUEST).await.unwrap();
    response(&mut kept).await;
    let asked = async {
        sleep(Duration::from_millis(50)).await;
        kept.write_all(REQUEST).await.unwrap();
        String::from_utf8(rest(&mut kept).await).unwrap()
    };
    let (cut, last) = tokio::join!(server.drain(Duration::from_secs(10), || {}), asked);
    assert!(last.contains("connection: close") && last.ends_with("hello"), "{last}");
    assert_eq!(cut, 0);
}

#[tokio::test]
async fn late_heads_and_idle_connections_are_closed() {
    let server = server(hello);
    let mut client = ClientPolicy::default();
    client.timeouts.request_head = Some(Duration::from_millis(150));
    client.timeouts.idle = Some(Duration::from_millis(400));
    let address = listen(&server, client);
    let start = Instant::now();
    let mut silent = connect(address).await;
    assert!(rest(&mut silent).await.is_empty());
    let mut slow = connect(address).await;
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(rest(&mut slow).await.is_empty());
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&start.elapsed()), "{:?}", start.elapsed());
    let mut idle = connect(address).await;
    idle.write_all(REQUEST).await.unwrap();
    response(&mut idle).await;
    let start = Instant::now();
    assert!(rest(&mut idle).await.is_empty());
    assert!((Duration::from_millis(390)..Duration::from_secs(5)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let server = server(|_| {
        let large = Bytes::from(vec![b'x'; 64 << 20]);
        Box::pin(async { Response::new(ResponseBody::whole(large)) })
    });
    let mut client = ClientPolicy::default();
    client.timeouts.stream_idle = Some(Duration::from_millis(200));
    let address = listen(&server, client);
    let mut stalled = connect(address).await;
    stalled.write_all(REQUEST).await.unwrap();
    stalled.read_u8().await.unwrap();
    let start = Instant::now();
    while server.connections() > 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "the connection is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn beyond_the_connection_limit_clients_are_closed() {
    for close_delay in [Duration::ZERO, Duration::from_millis(200)] {
        let server = server(hello);
        let address = listen(&server, ClientPolicy { max_connections: Some(1), close_delay, ..ClientPolicy::default() });
        let mut first = connect(address).await;
        first.write_all(REQUEST).await.unwrap();
        response(&mut first).await;
        let start = Instant::now();
        let mut second = connect(address).await;
        assert!(rest(&mut second).await.is_empty());
        assert!(start.elapsed() >= close_delay, "{:?}", start.elapsed());
        first.write_all(REQUEST).await.unwrap();
        assert!(response(&mut first).await.ends_with("hello"), "the one within the limit goes on");
        drop(first);
        while server.connections() > 0 {
            tokio::task::yield_now().await;
        }
        let mut third = connect(address).await;
        third.write_all(REQUEST).await.unwrap();
        assert!(response(&mut third).await.ends_with("hello"));
    }
}

#[tokio::test]
async fn an_answer_is_heard_while_the_request_is_still_uploaded() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Socket(backend.local_addr().unwrap());
    let upstreams = Arc::new(Upstreams::new(Dns::new(Handle::current(), Overrides::default())));
    let kept = Arc::clone(&upstreams);
    let server = server(move |request| {
        let (upstreams, address) = (Arc::clone(&upstreams), address.clone());
        Box::pin(async move {
            let destination = Destination::new(&address, &Timeouts::default());
            let (head, body) = request.into_parts();
            let (upload, _watch) = Upload::new(Rest { body, copies: Copies::default() });
            let request = Request::from_parts(head, RequestBody::streamed(upload));
            let exchange = upstreams.send_request(&destination, request).await.unwrap();
            let (head, body) = exchange.response.into_parts();
            let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
            Response::from_parts(head, ResponseBody::whole(body))
        })
    });
    let mut client = connect(listen(&server, ClientPolicy::default())).await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nthe beginning").await.unwrap();
    let (mut engine, _) = backend.accept().await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"the beginning") {
        received.push(engine.read_u8().await.unwrap());
    }
    engine.write_all(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
    let answered = Instant::now();
    assert!(response(&mut client).await.starts_with("HTTP/1.1 429 "));
    assert!(answered.elapsed() < Duration::from_secs(5), "{:?}", answered.elapsed());
    let _ = timeout(Duration::from_secs(5), engine.read_to_end(&mut Vec::new())).await.expect("the connection is not kept");
    assert_eq!(kept.kept(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let (dropped, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = server(move |_| {
        let guard = Guard(dropped.clone());
        Box::pin(async move {
            sleep(Duration::from_secs(60)).await;
            drop(guard);
            Response::new(ResponseBody::empty())
        })
    });
    let address = listen(&server, ClientPolicy::default());
    let mut client = connect(address).await;
    client.write_all(REQUEST).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    let left = Instant::now();
    drop(client);
    timeout(Duration::from_secs(5), told.recv()).await.unwrap().unwrap();
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
}

/// Tells when it is dropped.
struct Guard(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_server_name_nobody_answers_for_is_met_with_silence() {
    use pailou_snapshot::{HostPattern, Listener, ListenerName, Name, RouteTable, ServerTls, TlsListener, TlsVersion};
    let key = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let private = rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let signing = rustls::crypto::ring::sign::any_supported_type(&private).unwrap();
    let tls = ServerTls {
        client_certificates: None,
        certificates: vec![Arc::new(rustls::sign::CertifiedKey::new(vec![key.cert.der().clone()], signing))],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        alpn: vec![b"http/1.1".to_vec()],
        ciphers: Vec::new(),
    };
    let pattern = HostPattern::new("a.example");
    let port = port("127.0.0.1:0", ClientPolicy::default());
    let listener = Listener {
        name: ListenerName { gateway: Name::new("default", "gateway"), set: None, section: "https".into() },
        hostname: Some(pattern.clone()),
        tls: Some(Arc::new(tls)),
        client: Arc::clone(&port.client),
        filters: Vec::new(),
        identity_headers: Arc::default(),
        costs: None,
        geo: None,
        tracing: pailou_snapshot::ListenerTracing::default(),
        access_log: pailou_snapshot::ListenerAccessLog::default(),
        routes: RouteTable::default(),
    };
    let mut listeners = HostMap::default();
    listeners.insert(Some(&pattern), TlsListener::Http(Arc::new(listener)));
    let port = Port { service: PortService::Tls(listeners), ..port };
    let server = server(hello);
    assert!(server.reconcile(&[port]).is_empty());
    let address = server.addresses()[0].1;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));

    let mut known = connector.connect("a.example".try_into().unwrap(), connect(address).await).await.unwrap();
    known.write_all(REQUEST).await.unwrap();
    let mut start = [0; 15];
    known.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    let error = connector.connect("b.example".try_into().unwrap(), connect(address).await).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "an alert would be an error of another kind: {error}");
}
