//! Requests over HTTP/2 that would be two over HTTP/1.1, which is what the backend speaks.

use super::{
    frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, fields, frame},
    recorder::Recorder,
    strict::Request,
};
use crate::support::objects::{Gateway, backend, route};

type Fields = &'static [(&'static str, &'static str)];

/// Fields, and a body.
type Case = (Fields, &'static str);

const START: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

/// Additions to an ordinary request. None reaches the backend as a whole request, or gets another answer than 400 or a reset.
const ADDED: &[Case] = &[
    (&[("x", "y\r\nz: w")], ""),
    (&[("x", "y\nz: w")], ""),
    (&[("x", "y\rz")], ""),
    (&[("x", "y\0z")], ""),
    (&[("x: y\r\nz", "w")], ""),
    (&[("x\r\n", "w")], ""),
    (&[("x y", "w")], ""),
    (&[("x:", "w")], ""),
    (&[("", "w")], ""),
    (&[("X", "w")], ""),
    (&[("transfer-encoding", "chunked")], "0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a\r\n\r\n"),
    (&[("Transfer-Encoding", "chunked")], "0\r\n\r\n"),
    (&[("connection", "close")], ""),
    (&[("connection", "x-y"), ("x-y", "z")], ""),
    (&[("keep-alive", "5")], ""),
    (&[("proxy-connection", "keep-alive")], ""),
    (&[("upgrade", "websocket")], ""),
    (&[("te", "gzip")], ""),
    (&[("content-length", "3")], "abcd"),
    (&[("content-length", "3")], "ab"),
    (&[("content-length", "3")], ""),
    (&[("content-length", "0")], "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n"),
    (&[("content-length", "+3")], "abc"),
    (&[("content-length", "3, 3")], "abc"),
    (&[("content-length", "x")], "abc"),
    (&[("content-length", "3"), ("content-length", "5")], "abc"),
    (&[("content-length", "5"), ("content-length", "3")], "abc"),
    (&[(":path", "/b")], ""),
    (&[(":authority", "b")], ""),
    (&[(":x", "y")], ""),
    (&[("x", "y"), (":path", "/b")], ""),
    (&[("host", "b"), ("host", "c")], ""),
];

/// Whole heads of which the same is true.
const HEADS: &[Fields] = &[
    &[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "b"), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "http://b/"), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "*"), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/ HTTP/1.1\r\nx: y"), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/a b"), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/a\tb"), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "http"), (":authority", "a")],
    &[(":method", "GET / HTTP/1.1\r\nx: y"), (":scheme", "http"), (":path", "/"), (":authority", "a")],
    &[(":method", "G T"), (":scheme", "http"), (":path", "/"), (":authority", "a")],
    &[(":method", ""), (":scheme", "http"), (":path", "/"), (":authority", "a")],
    &[(":scheme", "http"), (":path", "/"), (":authority", "a")],
    &[(":method", "GET"), (":path", "/"), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "http\r\nx: y"), (":path", "/"), (":authority", "a")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a\r\nx: y")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a b")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a/b")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "user@a")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a:80:81")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a b")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a"), ("host", "b")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/")],
];

async fn gateway(recorder: &Recorder) -> Gateway {
    let rule = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}";
    Gateway::serve(&(route(rule) + &backend("b", recorder.address, "")))
}

fn head(fields_of: &[(&str, &str)], body: &str) -> Vec<u8> {
    let end = if body.is_empty() { END_STREAM } else { 0 };
    let mut bytes = frame(HEADERS, END_HEADERS | end, 1, &fields(fields_of));
    if !body.is_empty() {
        bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    bytes
}

#[tokio::test]
async fn what_cannot_be_said_in_http1_is_refused() {
    let recorder = Recorder::start().await;
    let gateway = gateway(&recorder).await;
    let added = ADDED.iter().map(|(more, body)| ([&START[..], more].concat(), *body));
    let heads = HEADS.iter().map(|head| (head.to_vec(), ""));
    let mut wrong = Vec::new();
    for (fields, body) in added.chain(heads) {
        let mut frames = Frames::connect(gateway.address).await;
        // It may have broken off before.
        let _ = frames.send(&head(&fields, body)).await;
        let status = frames.status_of(1).await;
        drop(frames);
        let (seen, _) = recorder.take(&format!("{fields:?}")).await;
        if !matches!(status, None | Some(400)) || !seen.is_empty() {
            wrong.push(format!("{fields:?} {body:?}: {status:?}, to the backend {:?}", shown(&seen)));
        }
    }
    assert!(wrong.is_empty(), "{} are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
}

fn shown(requests: &[Request]) -> Vec<String> {
    requests.iter().map(Request::shown).collect()
}

/// The requests that the gateway forwards.
async fn passed(frames_of: &[Vec<u8>]) -> Vec<Request> {
    let recorder = Recorder::start().await;
    let gateway = gateway(&recorder).await;
    let mut frames = Frames::connect(gateway.address).await;
    frames.send(&frames_of.concat()).await.unwrap();
    assert_eq!(frames.status_of(1).await, Some(200), "{frames_of:?}");
    drop(frames);
    recorder.take("an ordinary request").await.0
}

#[tokio::test]
async fn the_authority_is_the_host() {
    let seen = passed(&[head(&[&START[..], &[("host", "b"), ("x", "y")]].concat(), "abc")]).await;
    assert_eq!(shown(&seen), ["POST / a abc"]);
    assert_eq!(seen[0].header("x"), "y");
    let only_host = [(":method", "GET"), (":scheme", "http"), (":path", "/x?y"), ("host", "b")];
    assert_eq!(shown(&passed(&[head(&only_host, "")]).await), ["GET /x?y b"]);
}

#[tokio::test]
async fn cookies_in_crumbs_are_one_cookie() {
    let seen = passed(&[head(&[&START[..], &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]].concat(), "")]).await;
    assert_eq!(seen[0].header("cookie"), "a=1; b=2; c=3", "RFC 9113, 8.2.3");
}

#[tokio::test]
async fn a_head_in_pieces_is_one_head() {
    let block = fields(&[&START[..], &[("x", "y")]].concat());
    let pieces: Vec<_> = block.chunks(block.len() / 4 + 1).collect();
    let mut frames = vec![frame(HEADERS, END_STREAM, 1, pieces[0])];
    for (index, piece) in pieces.iter().enumerate().skip(1) {
        frames.push(frame(CONTINUATION, if index + 1 == pieces.len() { END_HEADERS } else { 0 }, 1, piece));
    }
    assert_eq!(shown(&passed(&frames).await), ["POST / a"]);
}

#[tokio::test]
async fn trailers_frame_nothing() {
    let start =
        frame(HEADERS, END_HEADERS, 1, &fields(&[&START[..], &[("trailer", "content-length, transfer-encoding, x")]].concat()));
    let trailers = fields(&[("content-length", "9"), ("x-other", "y"), ("host", "b")]);
    let frames = [start, frame(DATA, 0, 1, b"abc"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)];
    assert_eq!(shown(&passed(&frames).await), ["POST / a abc"]);
}
