//! Bytes that a backend answers with: a response that `pailou_http1` takes for whole is one for hyper, and the same one; it is the same however
//! the bytes are cut, and whether or not heads are remembered.
#![no_main]

mod http1;

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Empty};
use http1::{Fields, Pipe, Plan, allowed_trailers, body, listed};
use hyper::client::conn::http1::SendRequest;
use libfuzzer_sys::fuzz_target;
use pailou_http1::{Framing, ReasonPhrase, response::Heads};

#[derive(Debug, PartialEq)]
struct Seen {
    status: StatusCode,
    version: Version,
    reason: Option<Vec<u8>>,
    fields: Fields,
    body: Vec<u8>,
    trailers: Fields,
}

fuzz_target!(|input: &[u8]| {
    let Some(plan) = Plan::new(input) else { return };
    let messages = plan.messages();
    let whole: Vec<Vec<&[u8]>> = messages.iter().map(|message| vec![&message[..]]).collect();
    let cut: Vec<Vec<&[u8]>> = messages.iter().map(|message| plan.cut(message)).collect();
    let method = [Method::GET, Method::POST, Method::HEAD, Method::CONNECT][usize::from(plan.choice) % 4].clone();
    let ours = by_ours(&whole, &method, true);
    let shown = || String::from_utf8_lossy(&messages[0]);
    assert_eq!(by_ours(&cut, &method, true), ours, "cut: {:?}", shown());
    assert_eq!(by_ours(&whole, &method, false), ours, "without a cache: {:?}", shown());
    let theirs = by_hyper(&messages, &method);
    assert!(theirs.starts_with(&ours), "{method} {:?}\nours: {ours:#?}\nhyper's: {theirs:#?}", shown());
});

/// Reads the answers to one request after the other, for as long as the connection can be kept.
fn by_ours(answers: &[Vec<&[u8]>], method: &Method, remembers: bool) -> Vec<Seen> {
    let (mut heads, mut seen, mut read) = (Heads::default(), Vec::new(), BytesMut::new());
    for pieces in answers {
        let mut pieces = pieces.iter();
        let mut more = |read: &mut BytesMut| pieces.next().map(|piece| read.extend_from_slice(piece)).is_some();
        let mut head = loop {
            match heads.take(&mut read, method) {
                Ok(Some(head)) => break head,
                Ok(None) if more(&mut read) => {}
                Ok(None) | Err(_) => return seen,
            }
        };
        let Some((body, trailers)) = body(&mut head.framing, &mut read, &mut more) else { return seen };
        let parts = head.parts;
        let reason = parts.extensions.get::<ReasonPhrase>().map(|reason| reason.as_bytes().to_vec());
        seen.push(Seen { status: parts.status, version: parts.version, reason, fields: listed(&parts.headers), body, trailers });
        if !head.keeps_alive || head.framing == Framing::Switched || !read.is_empty() || more(&mut read) {
            return seen;
        }
        if !remembers {
            heads = Heads::default();
        }
    }
    seen
}

fn by_hyper(answers: &[Vec<u8>], method: &Method) -> Vec<Seen> {
    let (pipe, mut seen) = (Pipe::default(), Vec::new());
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok((mut sender, connection))) =
        pin!(hyper::client::conn::http1::handshake(pipe.clone())).poll(&mut context)
    else {
        unreachable!("it waits for nothing")
    };
    let mut connection = pin!(connection);
    for answer in answers {
        let Some(read) = exchange(&pipe, &mut sender, connection.as_mut(), answer, method) else { break };
        seen.push(read);
    }
    seen
}

fn exchange(
    pipe: &Pipe,
    sender: &mut SendRequest<Empty<Bytes>>,
    mut connection: Pin<&mut impl Future>,
    answer: &[u8],
    method: &Method,
) -> Option<Seen> {
    let target = if *method == Method::CONNECT { "a:80" } else { "/" };
    let request = Request::builder().method(method).uri(target).header(header::HOST, "a").body(Empty::new()).expect("it is valid");
    let written = pipe.written();
    let mut exchanging = pin!(async {
        sender.ready().await.ok()?;
        read(sender.send_request(request).await.ok()?).await
    });
    let mut context = Context::from_waker(Waker::noop());
    let (mut idle, mut is_answered) = (0, false);
    let mut is_open = true;
    while idle < 16 {
        let before = pipe.steps();
        if is_open {
            is_open = connection.as_mut().poll(&mut context).is_pending();
        }
        if let Poll::Ready(read) = exchanging.as_mut().poll(&mut context) {
            return read;
        }
        if !is_answered && pipe.written() > written {
            pipe.send(answer);
            is_answered = true;
        } else if before == pipe.steps() {
            idle += 1;
        }
        if idle == 8 {
            // Only the connection's end can be missing.
            pipe.close();
        }
    }
    None
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Option<Seen> {
    let (mut parts, body) = response.into_parts();
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        // It does not count beside the other, and this crate takes it out.
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let body = body.collect().await.ok()?;
    let reason = parts.extensions.get::<hyper::ext::ReasonPhrase>().map(|reason| reason.as_bytes().to_vec());
    let (fields, trailers) = (listed(&parts.headers), allowed_trailers(body.trailers()));
    Some(Seen { status: parts.status, version: parts.version, reason, fields, body: body.to_bytes().to_vec(), trailers })
}
