use http::HeaderValue;

use super::*;

fn head(bytes: &str, method: Method) -> Result<Option<Head>, Malformed> {
    take(&mut BytesMut::from(bytes), &method, &mut 0)
}

fn framing_of(bytes: &str) -> Framing {
    head(bytes, Method::GET).unwrap().unwrap().framing
}

#[test]
fn a_head_is_taken_whole_and_what_follows_stays() {
    let text = "HTTP/1.1 200 Fine\r\nserver: a\r\ncontent-length: 2\r\nx: 1\r\nx: 2\r\n\r\n";
    let mut read = BytesMut::from(text);
    for end in 0..text.len() {
        assert!(take(&mut BytesMut::from(&text[..end]), &Method::GET, &mut 0).unwrap().is_none(), "cut at {end}");
    }
    read.extend_from_slice(b"ok");
    let head = take(&mut read, &Method::GET, &mut 0).unwrap().unwrap();
    assert_eq!(
        (head.parts.status, &head.parts.headers["server"], &read[..]),
        (StatusCode::OK, &HeaderValue::from_static("a"), &b"ok"[..])
    );
    assert_eq!(head.parts.headers.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(head.parts.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes), Some(&b"Fine"[..]));
    assert!(head.keeps_alive);
}

#[test]
fn interim_responses_are_passed_over() {
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let head = head(text, Method::GET).unwrap().unwrap();
    assert_eq!((head.parts.status, head.parts.headers.len()), (StatusCode::NO_CONTENT, 0));
}

#[test]
fn the_body_ends_as_the_head_says() {
    assert_eq!(framing_of("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), Framing::Length(5));
    assert_eq!(framing_of("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\ncontent-length: 5\r\n\r\n"), Framing::Length(5));
    assert_eq!(framing_of("HTTP/1.1 200 OK\r\n\r\n"), Framing::UntilClose);
    assert_eq!(framing_of("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"), Framing::chunked());
    assert_eq!(framing_of("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"), Framing::Length(0));
    assert_eq!(framing_of("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Framing::Switched);
    let to_head = head("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Method::HEAD).unwrap().unwrap();
    assert_eq!((to_head.framing, &to_head.parts.headers["content-length"]), (Framing::Length(0), &HeaderValue::from_static("5")));
}

#[test]
fn a_length_beside_chunks_is_not_passed_on() {
    let head = head("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", Method::GET).unwrap().unwrap();
    assert_eq!(head.framing, Framing::chunked());
    assert!(!head.parts.headers.contains_key("content-length"));
    assert!(!head.keeps_alive);
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for headers in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: +5",
        "content-length: ",
        "content-length: 99999999999999999999",
        "content-length : 5",
        "x: 1\r\n y: 2",
        "x\0: 1",
    ] {
        assert!(head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n"), Method::GET).is_err(), "{headers:?}");
    }
    assert!(head("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Method::GET).is_err());
    assert!(head("ICY 200 OK\r\n\r\n", Method::GET).is_err());
    assert!(head(&format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(MAX_HEAD)), Method::GET).is_err());
    let many = "x: 1\r\n".repeat(MAX_FIELDS + 1);
    assert!(head(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), Method::GET).is_err());
}

#[test]
fn a_connection_is_kept_as_its_version_and_both_sides_say() {
    for (head_says, kept) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\nconnection: keep-alive", false),
        ("HTTP/1.1 200 OK", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive", true),
    ] {
        assert_eq!(head(&format!("{head_says}\r\n\r\n"), Method::GET).unwrap().unwrap().keeps_alive, kept, "{head_says}");
    }
}
