//! Backends that fail at each stage of a request: the right answer comes, and in time, and nothing is left of it.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::recorder::LIMIT;
use crate::support::objects::{Gateway, backend, nowhere, route};

/// A backend's actions on each connection, in this order.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Reads the request's head, with what comes along.
    Read,
    Says(&'static str),
    /// Says it byte by byte.
    Drips(&'static str),
    /// Closes its direction, and reads on.
    HalfCloses,
    Resets,
    /// Does nothing, until the gateway closes.
    Hangs,
    /// Does not even read.
    Sleeps,
}
use Does::{Drips, HalfCloses, Hangs, Read, Resets, Says, Sleeps};

/// Result for the client: a status, with a flag if it is the gateway's own, and whether the body is whole.
type Gets = (u16, &'static str, bool);

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";

/// Without a further action the connection closes.
const FAULTS: &[(&[Does], Gets)] = &[
    (&[], (503, "UC", true)),
    (&[Resets], (503, "UC", true)),
    (&[Read], (503, "UC", true)),
    (&[Read, Resets], (503, "UC", true)),
    (&[Read, HalfCloses], (503, "UC", true)),
    (&[Read, Hangs], (504, "UT", true)),
    (&[Sleeps], (504, "UT", true)),
    (&[Read, Says("HTTP/1.1 2")], (503, "UC", true)),
    (&[Read, Says("HTTP/1.1 200 OK\r\ncontent-le"), Resets], (503, "UC", true)),
    (&[Read, Says("HTTP/1.1 200 OK\r\n"), Hangs], (504, "UT", true)),
    (&[Read, Says("HTTP/1.1 100 Continue\r\n\r\n")], (503, "UC", true)),
    (&[Read, Says("HTTP/1.1 100 Continue\r\n\r\n"), Hangs], (504, "UT", true)),
    (&[Read, Says("garbage\r\n\r\n"), Hangs], (502, "UPE", true)),
    (&[Read, Says(HEAD), Says("go")], (200, "", false)),
    (&[Read, Says(HEAD), Says("go"), Resets], (200, "", false)),
    (&[Read, Says(HEAD), Says("go"), HalfCloses], (200, "", false)),
    (&[Read, Says(HEAD), Says("go"), Hangs], (200, "", false)),
    (&[Read, Says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ngo\r\n")], (200, "", false)),
    (&[Read, Says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ngo\r\n0\r\n")], (200, "", false)),
    (&[Read, Says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ngo\r\n"), Resets], (200, "", false)),
    (&[Read, Says("HTTP/1.1 200 OK\r\n\r\ngo"), Resets], (200, "", false)),
    (&[Read, Says(HEAD), Says("good"), HalfCloses], (200, "", true)),
    (&[Read, Says(HEAD), Says("good"), Resets], (200, "", true)),
    (&[Read, Drips("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood")], (200, "", true)),
];

async fn failing(script: &'static [Does]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(act(stream, script).await) });
        }
    });
    address
}

async fn act(mut stream: TcpStream, script: &[Does]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for does in script {
        match does {
            Read => drop(stream.read(&mut vec![0; 64 << 10]).await?),
            Says(text) => {
                stream.write_all(text.as_bytes()).await?;
                // The gateway must read the text before the fault, since a reset would take it away, on a busy machine too.
                sleep(Duration::from_millis(200)).await;
            }
            Drips(text) => {
                for byte in text.as_bytes() {
                    stream.write_all(&[*byte]).await?;
                    tokio::task::yield_now().await;
                }
            }
            HalfCloses => {
                stream.shutdown().await?;
                while stream.read(&mut [0; 1024]).await? > 0 {}
            }
            Resets => return SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
            Hangs => while stream.read(&mut [0; 1024]).await? > 0 {},
            Sleeps => sleep(Duration::from_secs(60)).await,
        }
    }
    Ok(())
}

/// A gateway that waits two seconds for answers, and one for connections.
fn gateway(to: &str) -> Gateway {
    let rule = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}], timeouts: {request: 2s}}";
    let policy = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: p}\nspec:\n  targetRefs: [{group: \
                  gateway.networking.k8s.io, kind: Gateway, name: gw}]\n  timeout: {tcp: {connectTimeout: 1s}}\n";
    Gateway::serve(&[&route(rule), to, policy].concat())
}

/// Status, flag, and whether the body is whole.
async fn asked(gateway: SocketAddr, body: usize) -> (u16, String, bool) {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    let head = format!("POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {body}\r\n\r\n");
    let mut answer = Vec::new();
    let exchange = async {
        let (mut read, mut write) = stream.split();
        let sending = async {
            // It may be answered before all of it is sent.
            let _ = write.write_all(head.as_bytes()).await;
            let _ = write.write_all(&vec![b'x'; body]).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = sending => {}
            _ = read.read_to_end(&mut answer) => {}
        }
    };
    timeout(LIMIT, exchange).await.expect("an answer in time");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
    let length = field("content-length: ");
    let whole = if length.is_empty() { body.ends_with("0\r\n\r\n") } else { length == body.len().to_string() };
    (head.get(9..12).unwrap_or("").parse().unwrap_or(0), field("x-pailou-response-flag: "), whole)
}

/// Nothing counts as under way any more.
pub(crate) async fn assert_nothing_is_left(gateway: &Gateway, what: &str) {
    let left = || {
        let mut text = String::new();
        gateway.proxy.encode_metrics(&mut text);
        let held = |line: &&str| {
            ["pailou_requests_active", "pailou_endpoint_requests_active", "pailou_request_body_bytes"]
                .iter()
                .any(|name| line.starts_with(name))
                || (line.starts_with("pailou_breaker_active") && !line.contains("connections"))
        };
        let lines = text.lines().filter(held).filter(|line| !line.ends_with(" 0") && !line.ends_with(" 0.0"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let gone = async {
        while !left().is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LIMIT, gone).await.unwrap_or_else(|_| panic!("{what}: {:?}", left()));
}

#[tokio::test]
async fn whatever_a_backend_does_there_is_an_answer_and_nothing_is_left() {
    let mut all = tokio::task::JoinSet::new();
    for (script, (status, flag, whole)) in FAULTS {
        all.spawn(async move {
            let gateway = gateway(&backend("b", failing(script).await, ""));
            assert_eq!(asked(gateway.address, 3).await, (*status, (*flag).to_owned(), *whole), "{script:?}");
            assert_nothing_is_left(&gateway, &format!("{script:?}")).await;
        });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
}

#[tokio::test]
async fn an_upload_that_nobody_takes_ends() {
    for (script, expected) in [
        (&[Sleeps][..], (504, "UT")),
        (&[Read, Resets], (503, "UC")),
        (&[Read, Says("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")], (413, "")),
    ] {
        let gateway = gateway(&backend("b", failing(script).await, ""));
        let (status, flag, _) = asked(gateway.address, 32 << 20).await;
        assert_eq!((status, flag.as_str()), expected, "{script:?}");
        assert_nothing_is_left(&gateway, &format!("{script:?}")).await;
    }
}

#[tokio::test]
async fn where_nobody_can_be_reached_the_answer_says_so() {
    // Nobody listens.
    let closed = nowhere();
    let refusing = backend("b", closed, "");
    // Somebody listens whose queue is full: the system drops what comes.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _waiting: Vec<_> = (0..4)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let dropping = backend("b", address, "");
    // A name that is nobody's (RFC 6761, 6.4).
    let unknown = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: b}\nspec: {endpoints: [{fqdn: {hostname: \
                   nobody.invalid, port: 80}}]}\n";
    for (to, status, flags) in
        [(refusing.as_str(), 503, ["UF", "UF"]), (&dropping, 503, ["UF", "UT"]), (unknown, 503, ["UF", "UF"])]
    {
        let gateway = gateway(to);
        let (found, flag, _) = asked(gateway.address, 3).await;
        // On a machine that stands still, either clock may be seen first.
        assert!(flags.contains(&flag.as_str()) && (found == status || flag == "UT"), "{to}: {found} {flag}");
        assert_nothing_is_left(&gateway, to).await;
    }
}
