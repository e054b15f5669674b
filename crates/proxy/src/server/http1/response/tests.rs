use bytes::Bytes;

use super::*;
use crate::response_body::ResponseBody;

const PLAIN: Wishes = Wishes { keeps_alive: true, asks: false, upgrades: false, trailers: false };
const GET: ResponseContext = ResponseContext { is_head: false, version: Version::HTTP_11, wishes: PLAIN };

fn response(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in [("date", "now")].iter().chain(headers) {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

/// All that would be written, and whether the connection is kept.
fn written(response: Response<ResponseBody>, context: &ResponseContext) -> (String, bool) {
    let mut sending = Sending::new(response, context, true);
    let mut text = Vec::new();
    loop {
        let has_more = sending.gather(&mut Context::from_waker(std::task::Waker::noop()));
        let (slices, used) = sending.writer.slices();
        let length = slices[..used].iter().map(|slice| slice.len()).sum();
        slices[..used].iter().for_each(|slice| text.extend_from_slice(slice));
        sending.writer.written(length);
        if sending.writer.has_ended() || !has_more || sending.failed.is_some() {
            return (String::from_utf8(text).unwrap(), sending.keeps_alive);
        }
    }
}

#[test]
fn a_body_is_announced_by_its_length() {
    let (text, kept) = written(response(200, &[("x", "1")], "hello"), &GET);
    assert_eq!(text, "HTTP/1.1 200 OK\r\ndate: now\r\nx: 1\r\ncontent-length: 5\r\n\r\nhello");
    assert!(kept);
    let (text, _) = written(response(404, &[], ""), &GET);
    assert_eq!(text, "HTTP/1.1 404 Not Found\r\ndate: now\r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn what_has_no_body_sends_none() {
    let head = ResponseContext { is_head: true, ..GET };
    assert_eq!(written(response(200, &[], "hello"), &head).0, "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(written(response(204, &[("content-length", "5")], "hello"), &GET).0, "HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n");
    let not_modified = written(response(304, &[("content-length", "7")], ""), &GET).0;
    assert_eq!(not_modified, "HTTP/1.1 304 Not Modified\r\ndate: now\r\ncontent-length: 7\r\n\r\n");
}

#[test]
fn fields_that_frame_the_message_are_the_writers_own() {
    let headers = [("content-length", "5"), ("content-length", "5"), ("transfer-encoding", "gzip"), ("connection", "x-hop")];
    let (text, kept) = written(response(200, &headers, "hello"), &GET);
    assert_eq!(text, "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 5\r\n\r\nhello");
    assert!(kept);
}

#[test]
fn a_body_that_is_not_as_long_as_announced_breaks_the_connection() {
    for length in ["4", "6"] {
        let mut sending = Sending::new(response(200, &[("content-length", length)], "hello"), &GET, true);
        sending.gather(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(sending.failed.is_some(), "{length}");
    }
}

#[test]
fn the_connection_is_kept_where_all_want_it_to_be() {
    let old = |keeps_alive| ResponseContext { version: Version::HTTP_10, wishes: Wishes { keeps_alive, ..PLAIN }, ..GET };
    let close = ResponseContext { wishes: Wishes { keeps_alive: false, ..PLAIN }, ..GET };
    for (context, headers, version, says, kept) in [
        (close, &[][..], "HTTP/1.1", "\r\nconnection: close\r\n", false),
        (GET, &[("connection", "close")][..], "HTTP/1.1", "\r\nconnection: close\r\n", false),
        (old(true), &[][..], "HTTP/1.0", "\r\nconnection: keep-alive\r\n", true),
        (old(false), &[][..], "HTTP/1.0", "\r\nconnection: close\r\n", false),
    ] {
        let (text, keeps) = written(response(200, headers, "hello"), &context);
        assert!(text.starts_with(version) && text.contains(says), "{text}");
        assert_eq!((keeps, text.matches("connection").count()), (kept, 1), "{text}");
    }
}

#[test]
fn a_date_is_added_where_there_is_none() {
    let mut response = response(200, &[], "");
    response.headers_mut().remove("date");
    let text = written(response, &GET).0;
    let date = text.split("date: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    let at = httpdate::parse_http_date(date).unwrap();
    assert!(at.elapsed().unwrap_or_default() < Duration::from_secs(60), "{date}");
}
