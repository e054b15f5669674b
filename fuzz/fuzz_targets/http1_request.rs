//! Bytes that a client sends: the requests that `pailou_http1` reads in them are the first ones that hyper reads in them; they are the same
//! however the bytes are cut, and whether or not heads are remembered.
#![no_main]

mod http1;

use std::{cell::RefCell, convert::Infallible, pin::pin, rc::Rc, task::Context, task::Waker};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use http1::{Fields, Pipe, Plan, allowed_trailers, body, listed, plain_length};
use hyper::{body::Incoming, service::service_fn};
use libfuzzer_sys::fuzz_target;
use pailou_http1::request::Heads;

/// Follows whatever was sent: hidden in a body by one reader and found by the other, it shows.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[derive(Debug, PartialEq)]
struct Seen {
    method: Method,
    target: String,
    version: Version,
    fields: Fields,
    body: Vec<u8>,
    trailers: Fields,
}

fuzz_target!(|input: &[u8]| {
    let Some(plan) = Plan::new(input) else { return };
    let mut bytes = plan.messages().concat();
    bytes.extend_from_slice(LAST);
    let ours = by_ours(&[&bytes], true);
    assert_eq!(by_ours(&plan.cut(&bytes), true), ours, "cut: {:?}", String::from_utf8_lossy(&bytes));
    assert_eq!(by_ours(&[&bytes], false), ours, "without a cache: {:?}", String::from_utf8_lossy(&bytes));
    let theirs = by_hyper(&bytes);
    assert!(theirs.starts_with(&ours), "{:?}\nours: {ours:#?}\nhyper's: {theirs:#?}", String::from_utf8_lossy(&bytes));
});

fn by_ours(pieces: &[&[u8]], remembers: bool) -> Vec<Seen> {
    let (mut pieces, mut read) = (pieces.iter(), BytesMut::new());
    let mut more = |read: &mut BytesMut| pieces.next().map(|piece| read.extend_from_slice(piece)).is_some();
    let (mut heads, mut seen) = (Heads::default(), Vec::new());
    loop {
        let mut head = loop {
            match heads.take(&mut read) {
                Ok(Some(head)) => break head,
                Ok(None) if more(&mut read) => {}
                Ok(None) | Err(_) => return seen,
            }
        };
        let Some((body, trailers)) = body(&mut head.framing, &mut read, &mut more) else { return seen };
        let mut parts = head.parts;
        plain_length(&mut parts.headers);
        let (target, fields) = (parts.uri.to_string(), listed(&parts.headers));
        seen.push(Seen { method: parts.method, target, version: parts.version, fields, body, trailers });
        if !head.wishes.keeps_alive {
            return seen;
        }
        if !remembers {
            heads = Heads::default();
        }
    }
}

fn by_hyper(bytes: &[u8]) -> Vec<Seen> {
    let (pipe, seen) = (Pipe::default(), Rc::new(RefCell::new(Vec::new())));
    pipe.send(bytes);
    pipe.close();
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (mut parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                plain_length(&mut parts.headers);
                let (target, fields) = (parts.uri.to_string(), listed(&parts.headers));
                let trailers = allowed_trailers(body.trailers());
                let body = body.to_bytes().to_vec();
                seen.borrow_mut().push(Seen { method: parts.method, target, version: parts.version, fields, body, trailers });
            }
            let mut response = Response::new(Empty::<Bytes>::new());
            // An answer that switches no protocol, whatever was asked.
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(pipe.clone(), service));
    let mut context = Context::from_waker(Waker::noop());
    // hyper hands on a chunk or so at a poll: as many polls as there are bytes are enough for all that it has read.
    let (mut idle, enough) = (0, 8 + bytes.len());
    while idle < enough {
        let before = (pipe.steps(), seen.borrow().len());
        if Future::poll(connection.as_mut(), &mut context).is_ready() {
            break;
        }
        idle = if before == (pipe.steps(), seen.borrow().len()) { idle + 1 } else { 0 };
    }
    seen.take()
}
