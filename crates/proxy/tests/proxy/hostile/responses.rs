//! Backends that answer with what is no HTTP, with two answers to one request, or without an end.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::recorder::LIMIT;
use crate::support::objects::{Gateway, backend, route};

/// Expected result for the client.
enum Gets {
    /// This status and body, with an end.
    Whole(u16, &'static str),
    /// This status, and a body that does not look whole.
    Cut(u16),
    /// The gateway's own word that the backend speaks no HTTP.
    Refused,
}
use Gets::{Cut, Refused, Whole};

/// A backend's immediate answers to a GET. The gateway must not reuse a connection after them.
const ANSWERS: &[(&str, Gets)] = &[
    // Two answers: the second is nobody's.
    ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", Whole(200, "ok")),
    ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", Whole(200, "")),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\npoison", Whole(200, "ok")),
    ("HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\npoison", Whole(204, "")),
    ("HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\npoison", Whole(304, "")),
    ("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n", Whole(204, "")),
    // Two ends: the chunks count, and the length is passed on by nobody.
    ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Whole(200, "ok")),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n2\r\nok\r\n0\r\n\r\n", Whole(200, "ok")),
    ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk", Refused),
    ("HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nokk", Refused),
    ("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Refused),
    ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Refused),
    // Chunks that are none.
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n", Cut(200)),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", Cut(200)),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", Cut(200)),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n", Cut(200)),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nok\r\n0\r\n\r\n", Cut(200)),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n10000000000000000\r\n\r\n", Cut(200)),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx : y\r\n\r\n", Cut(200)),
    // Heads that are none.
    ("poison\r\n\r\n", Refused),
    ("ICY 200 OK\r\n\r\n", Refused),
    ("HTTP/2 200 OK\r\n\r\n", Refused),
    ("HTTP/1.1 99 Low\r\n\r\n", Refused),
    ("HTTP/1.1 2000 High\r\n\r\n", Refused),
    ("HTTP/1.1 OK 200\r\n\r\n", Refused),
    ("HTTP/1.1 -20 OK\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\nx: y\rz: w\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\nx: y\0z\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\nx y: z\r\n\r\n", Refused),
    ("HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok", Refused),
    ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Refused),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", Refused),
    // Another protocol, which nobody asked for.
    ("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\npoison", Refused),
    // Interim answers are no answer.
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        Whole(200, "ok"),
    ),
    ("HTTP/1.1 100 Continue\r\ncontent-length: 6\r\n\r\npoisonHTTP/1.1 200 OK\r\n\r\n", Refused),
];

/// Answers the path `/bad` with these bytes, any other properly; but whoever asks where `/bad` was answered gets poison.
async fn answering(bad: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let bad = bad.clone();
            // A client that has read enough may have closed.
            tokio::spawn(async move { drop(answer(stream, &bad).await) });
        }
    });
    address
}

async fn answer(mut stream: TcpStream, bad: &[u8]) -> std::io::Result<()> {
    let mut answer: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        if head.starts_with(b"GET /bad ") {
            stream.write_all(bad).await?;
            answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
        } else {
            stream.write_all(answer).await?;
        }
    }
}

fn gateway(to: SocketAddr) -> Gateway {
    let rule = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}";
    Gateway::serve(&(route(rule) + &backend("b", to, "")))
}

async fn asked(gateway: SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // It may be a reset that says that the answer is not whole.
    let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await.unwrap_or_else(|_| panic!("{path}: no end"));
    answer
}

/// Status, header, and body where it is whole.
fn parsed(answer: &[u8]) -> (u16, String, Option<String>) {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let fields = |name: &str| {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
    };
    let (lengths, codings) = (fields("content-length"), fields("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "two ends: {answer}");
    let whole = match (lengths.first(), codings.first()) {
        (Some(length), _) => (body.len().to_string() == *length || (status == 304 && body.is_empty())).then(|| body.to_owned()),
        (None, Some(_)) => body.strip_suffix("0\r\n\r\n").map(unchunked),
        (None, None) => Some(body.to_owned()),
    };
    (status, head.to_owned(), whole)
}

fn unchunked(body: &str) -> String {
    body.split("\r\n").skip(1).step_by(2).collect()
}

#[tokio::test]
async fn one_answer_is_passed_on_or_none() {
    let mut wrong = Vec::new();
    for (bytes, gets) in ANSWERS {
        let gateway = gateway(answering(bytes.as_bytes().to_vec()).await);
        let (status, head, body) = parsed(&asked(gateway.address, "/bad").await);
        let is_right = match gets {
            Whole(expected, text) => status == *expected && body.as_deref() == Some(text),
            Cut(expected) => status == *expected && body.is_none(),
            Refused => status == 502 && head.contains("x-pailou-response-flag: UPE"),
        };
        if !is_right {
            wrong.push(format!("{bytes:?}: {head:?} {body:?}"));
        }
        // Nor is anything left for the next one who asks.
        for _ in 0..2 {
            let (status, _, body) = parsed(&asked(gateway.address, "/good").await);
            assert_eq!((status, body.as_deref()), (200, Some("good")), "behind {bytes:?}");
        }
    }
    assert!(wrong.is_empty(), "{} are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn answers_beyond_measure_are_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(4 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n".repeat(100_000);
    let line = format!("HTTP/1.1 200 {}\r\n\r\n", "y".repeat(4 << 20));
    for bytes in [long, many, interim, line] {
        let gateway = gateway(answering(bytes.as_bytes().to_vec()).await);
        let (status, head, _) = parsed(&asked(gateway.address, "/bad").await);
        assert!(status == 502 && head.contains("x-pailou-response-flag: UPE"), "{}...: {head}", &bytes[..40]);
        assert_eq!(parsed(&asked(gateway.address, "/good").await).0, 200);
    }
}
