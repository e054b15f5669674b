use super::*;

fn head(text: &str) -> Result<Option<Head>, Refusal> {
    take(&mut BytesMut::from(text), &mut 0)
}

fn whole(text: &str) -> Head {
    head(text).unwrap().unwrap()
}

#[test]
fn a_head_is_taken_whole_wherever_it_is_cut_and_what_follows_stays() {
    let text = "\r\nPOST /v1/chat?x=y HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nx: 1\r\nx: 2\r\n\r\n";
    for first in 0..text.len() {
        let (mut read, mut seen) = (BytesMut::from(&text[..first]), 0);
        assert!(take(&mut read, &mut seen).unwrap().is_none(), "cut at {first}");
        read.extend_from_slice(&text.as_bytes()[first..]);
        read.extend_from_slice(b"ok");
        let head = take(&mut read, &mut seen).unwrap().unwrap_or_else(|| panic!("cut at {first}"));
        assert_eq!(
            (head.parts.method, head.parts.uri, head.parts.version),
            (Method::POST, "/v1/chat?x=y".parse().unwrap(), Version::HTTP_11)
        );
        assert_eq!(head.parts.headers.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((head.framing, &read[..], seen), (Framing::Length(2), &b"ok"[..], 0));
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_ends_where_it_ends() {
    for text in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n", "GET / HTTP/1.1\r\nhost: a\n\r\n"] {
        let (mut read, mut seen) = (BytesMut::new(), 0);
        for (at, byte) in text.bytes().enumerate() {
            read.extend_from_slice(&[byte]);
            assert_eq!(take(&mut read, &mut seen).unwrap().is_some(), at + 1 == text.len(), "{text:?} at {at}");
        }
    }
}

#[test]
fn a_body_ends_as_its_head_says() {
    let framing = |fields: &str| whole(&format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).framing;
    assert_eq!(framing(""), Framing::Length(0));
    assert_eq!(framing("content-length: 7\r\ncontent-length: 07\r\n"), Framing::Length(7));
    let said = whole("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\ncontent-length: 07\r\n\r\n").parts.headers;
    assert_eq!(said.get_all("content-length").iter().collect::<Vec<_>>(), ["7"], "it is passed on once");
    assert_eq!(framing("transfer-encoding: Chunked\r\n"), Framing::chunked());
    // Not understood, but its end can be told: it is refused further on.
    assert_eq!(framing("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"), Framing::chunked());
}

#[test]
fn what_others_might_read_differently_is_refused() {
    for fields in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length: -5",
        "content-length: 0x5",
        "content-length: ",
        "content-length: 99999999999999999999",
        "content-length : 5",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 0",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: chunked, ",
        "transfer-encoding: xchunked",
        "transfer-encoding\u{b}: chunked",
        "transfer-encoding : chunked",
        "x: 1\r\n y: 2",
        "x\0: 1",
        "x: a\0b",
    ] {
        let refusal = head(&format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n")).unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{fields:?}");
    }
    assert!(head("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    for line in [
        "GET / HTTP/2.0",
        "GET  / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET a.example HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "\u{16}\u{3}\u{1}",
    ] {
        assert_eq!(head(&format!("{line}\r\nhost: a\r\n\r\n")).unwrap_err().status, StatusCode::BAD_REQUEST, "{line:?}");
    }
}

#[test]
fn heads_are_bounded() {
    let status = |text: &str| head(text).unwrap_err().status;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "a".repeat(MAX_HEAD));
    assert_eq!(status(&long), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: 1\r\n".repeat(MAX_FIELDS + 1));
    assert_eq!(status(&many), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[test]
fn every_form_of_a_target_is_known() {
    for (line, target) in [
        ("GET http://a.example:8080/x?y HTTP/1.1", "http://a.example:8080/x?y"),
        ("OPTIONS * HTTP/1.1", "*"),
        ("CONNECT a.example:443 HTTP/1.1", "a.example:443"),
    ] {
        assert_eq!(whole(&format!("{line}\r\nhost: a\r\n\r\n")).parts.uri, target, "{line}");
    }
}

#[test]
fn what_a_client_wants_of_its_connection() {
    let wishes = |version: &str, fields: &str| whole(&format!("POST / {version}\r\n{fields}\r\n")).wishes;
    let plain = Wishes { keeps_alive: true, asks: false, upgrades: false, trailers: false };
    assert_eq!(wishes("HTTP/1.1", ""), plain);
    assert_eq!(wishes("HTTP/1.1", "connection: x, Close\r\n"), Wishes { keeps_alive: false, ..plain });
    assert_eq!(wishes("HTTP/1.0", ""), Wishes { keeps_alive: false, ..plain });
    assert_eq!(wishes("HTTP/1.0", "connection: Keep-Alive\r\n"), plain);
    assert_eq!(wishes("HTTP/1.1", "expect: 100-Continue\r\ncontent-length: 1\r\n"), Wishes { asks: true, ..plain });
    assert_eq!(wishes("HTTP/1.1", "expect: 100-continue\r\n"), plain, "there is no body");
    assert_eq!(wishes("HTTP/1.1", "te: trailers\r\n"), Wishes { trailers: true, ..plain });
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    assert_eq!(wishes("HTTP/1.1", upgrade), Wishes { upgrades: true, ..plain });
    assert_eq!(
        wishes("HTTP/1.1", &format!("{upgrade}content-length: 1\r\n")),
        plain,
        "its body would be taken for the other protocol"
    );
}
