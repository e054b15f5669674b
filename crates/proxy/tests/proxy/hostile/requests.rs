//! Requests that are two things at once: one body with two ends, one host with two names, one field that is two.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    recorder::{LIMIT, Recorder},
    strict::Request,
};
use crate::support::objects::{Gateway, backend, route};

/// Behind everything that is sent: where it is answered, the gateway took it for a request of its own.
const LAST: &str = "GET /last HTTP/1.1\r\nhost: last\r\nconnection: close\r\n\r\n";

/// Bytes, the statuses that the client gets, and what reaches the backend. Where the last status is an error, the connection is
/// closed with it and [`LAST`] is answered by nobody; everything else is followed by it.
type Case = (&'static str, &'static [u16], &'static [&'static str]);

/// A body whose end two readers could find in two places.
const FRAMING: &[Case] = &[
    // Content-Length and Transfer-Encoding, in either order, and with either made to be overlooked.
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\nx: y\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\t: chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\u{b}: chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\nx: y\rtransfer-encoding: chunked\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\nx: y\0transfer-encoding: chunked\r\n\r\n", &[400], &[]),
    // Several codings, or one that only looks like the known one.
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n", &[501], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[501], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[501], &[]),
    ("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: cHuNkEd\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        &[200, 200],
        &["POST / a abc", "GET /last last"],
    ),
    // Lengths that are no length, or several.
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 4\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -3\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3 3\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3.0\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 3\r\n\r\nabc", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length\u{b}: 3\r\n\r\nabc", &[400], &[]),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        &[200, 200],
        &["POST / a abc", "GET /last last"],
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 003\r\n\r\nabc", &[200, 200], &["POST / a abc", "GET /last last"]),
    // A body where few expect one is passed on with its length (what calls itself CL.0 hopes that it is not).
    (
        "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 24\r\n\r\nGET /b HTTP/1.1\r\nx: y\r\n\r\n",
        &[200, 200],
        &["GET /a a GET /b HTTP/1.1\r\nx: y", "GET /last last"],
    ),
    ("HEAD /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", &[200, 200], &["HEAD /a a abc", "GET /last last"]),
    (
        "GET /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        &[200, 200],
        &["GET /a a abc", "GET /last last"],
    ),
    (
        "POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
        &[200, 200],
        &["POST /a a abc", "GET /last last"],
    ),
    (
        "POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n",
        &[200, 200],
        &["POST /a a", "GET /last last"],
    ),
];

/// Chunks.
const CHUNKS: &[Case] = &[
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3 3\r\nabc\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n;x\r\nabc\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx : y\r\n\r\n", &[400], &[]),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x\n;\r\nabc\r\n0\r\n\r\n", &[400], &[]),
    // Extensions and unannounced trailers end here.
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=\"0\"\r\nabc\r\n0;y\r\n\r\n",
        &[200, 200],
        &["POST / a abc", "GET /last last"],
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0003\r\nabc\r\n000\r\n\r\n",
        &[200, 200],
        &["POST / a abc", "GET /last last"],
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ncontent-length: 9\r\nx: y\r\n\r\n",
        &[200, 200],
        &["POST / a abc", "GET /last last"],
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntrailer: content-length, host\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ncontent-length: 9\r\nhost: b\r\n\r\n",
        &[200, 200],
        &["POST / a abc", "GET /last last"],
    ),
];

/// Heads.
const HEADS: &[Case] = &[
    ("GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n folded\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n\tfolded\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", &[400], &[]),
    ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET /\tHTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET / a HTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1 x\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET /\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET / http/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("G(T / HTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    // Line ends without a CR, and lines before the first, are read in one way by all; they do not reach the backend.
    ("GET /a HTTP/1.1\nhost: a\nx: y\n\n", &[200, 200], &["GET /a a", "GET /last last"]),
    ("\r\n\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n", &[200, 200], &["GET /a a", "GET /last last"]),
    // Bytes that a backend might decode stay encoded.
    (
        "GET /%0d%0ax:%20y?%0d%0az:%20y HTTP/1.1\r\nhost: a\r\nx: %0d%0az: y\r\n\r\n",
        &[200, 200],
        &["GET /%0D%0Ax:%20y?%0d%0az:%20y a", "GET /last last"],
    ),
    // No client takes out what says who asks, or how long the body is.
    (
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: content-length, host, x-forwarded-for\r\n\r\nabc",
        &[200, 200],
        &["POST /a a abc", "GET /last last"],
    ),
    (
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: transfer-encoding\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        &[200, 200],
        &["POST /a a abc", "GET /last last"],
    ),
];

/// Hosts and targets of requests.
const TARGETS: &[Case] = &[
    ("GET / HTTP/1.1\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\tb\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a?b\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a#b\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\\b\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a:80:81\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: \u{e9}\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost : b\r\n\r\n", &[400], &[]),
    ("GET http://user@a/ HTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET a HTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET ?x HTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET http:/x HTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n", &[400], &[]),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost:\r\n\r\n", &[400], &[]),
    // The target's host counts, and it alone is passed on.
    ("GET http://b/x HTTP/1.1\r\nhost: a\r\n\r\n", &[200, 200], &["GET /x b", "GET /last last"]),
    ("GET http://b HTTP/1.1\r\nhost: a\r\n\r\n", &[200, 200], &["GET / b", "GET /last last"]),
    ("GET http://b?x HTTP/1.1\r\nhost: a\r\n\r\n", &[200, 200], &["GET /?x b", "GET /last last"]),
    ("GET //b/x HTTP/1.1\r\nhost: a\r\n\r\n", &[200, 200], &["GET /b/x a", "GET /last last"]),
    ("GET /x#y HTTP/1.1\r\nhost: a\r\n\r\n", &[200, 200], &["GET /x a", "GET /last last"]),
    ("GET /http://b/x HTTP/1.1\r\nhost: a\r\n\r\n", &[200, 200], &["GET /http:/b/x a", "GET /last last"]),
    ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", &[404, 200], &["GET /last last"]),
    // A tunnel to wherever the client says is nothing that a gateway gives.
    ("CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\n\r\n", &[501], &[]),
    ("CONNECT / HTTP/1.1\r\nhost: b:80\r\n\r\n", &[400], &[]),
];

/// A gateway in front of this backend: bodies stream through, or are read before, as those for a pool are.
pub(crate) fn gateway(to: SocketAddr, is_read: bool) -> Gateway {
    if !is_read {
        let rule = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}";
        return Gateway::serve(&(route(rule) + &backend("b", to, "")));
    }
    let rule = "{backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: pool}]}";
    let pool = format!(
        "---\napiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {{name: pool}}\nspec:\n  selector: {{matchLabels: \
         {{app: engine}}}}\n  targetPorts: [{{number: {}}}]\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: engine, labels: {{app: \
         engine}}}}\nstatus: {{podIP: {}, conditions: [{{type: Ready, status: 'True'}}]}}\n",
        to.port(),
        to.ip()
    );
    Gateway::serve(&(route(rule) + &pool))
}

/// The statuses of the answers in what a client has read.
fn statuses(answers: &str) -> Vec<u16> {
    answers.split("HTTP/1.").skip(1).filter_map(|answer| answer.get(2..5)?.parse().ok()).collect()
}

/// Sends bytes, and [`LAST`] behind them; the answers to the connection's end.
async fn said_to(gateway: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    // It may have heard enough before the end.
    let _ = stream.write_all(&[bytes.as_bytes(), LAST.as_bytes()].concat()).await;
    let mut answers = Vec::new();
    let read = timeout(LIMIT, stream.read_to_end(&mut answers)).await;
    let answers = String::from_utf8_lossy(&answers).into_owned();
    assert!(matches!(read, Ok(Ok(_))), "{bytes:?}: the connection does not end well: {read:?} {answers:?}");
    answers
}

async fn check_all(cases: &[Case]) {
    let mut wrong = Vec::new();
    for is_read in [false, true] {
        let recorder = Recorder::start().await;
        let gateway = gateway(recorder.address, is_read);
        for (bytes, expected, upstream) in cases {
            let answers = said_to(gateway.address, bytes).await;
            let (seen, _) = recorder.take(bytes).await;
            let seen: Vec<_> = seen.iter().map(Request::shown).collect();
            if statuses(&answers) != *expected || seen != *upstream {
                wrong.push(format!("{bytes:?}\n  to the client: {answers:?}\n  to the backend: {seen:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_body_has_one_end_or_none() {
    check_all(FRAMING).await;
}

#[tokio::test]
async fn chunks_are_what_they_say() {
    check_all(CHUNKS).await;
}

#[tokio::test]
async fn a_line_is_one_field() {
    check_all(HEADS).await;
}

#[tokio::test]
async fn one_host_is_asked_for_one_thing() {
    check_all(TARGETS).await;
}
