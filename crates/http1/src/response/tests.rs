use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn head(bytes: &str, method: Method) -> Result<Option<Head>, Malformed> {
    Heads::default().take(&mut BytesMut::from(bytes), &method)
}

fn framing_of(bytes: &str) -> Framing {
    head(bytes, Method::GET).unwrap().unwrap().framing
}

#[test]
fn a_head_is_taken_whole_and_what_follows_stays() {
    let text = "HTTP/1.1 200 Fine\r\nserver: a\r\ncontent-length: 2\r\nx: 1\r\nx: 2\r\n\r\n";
    let mut read = BytesMut::from(text);
    for end in 0..text.len() {
        assert!(Heads::default().take(&mut BytesMut::from(&text[..end]), &Method::GET).unwrap().is_none(), "cut at {end}");
    }
    read.extend_from_slice(b"ok");
    let head = Heads::default().take(&mut read, &Method::GET).unwrap().unwrap();
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

/// Parts of a head that make it like another, nearly like it, or no head at all.
fn made_up() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        6 => Just("HTTP/1.1 200 OK"),
        1 => Just("HTTP/1.1 200 Fine"),
        1 => Just("HTTP/1.1 204 No Content"),
        1 => Just("HTTP/1.1 100 Continue"),
        1 => Just("HTTP/1.0 200 OK"),
    ];
    let field = prop_oneof![
        8 => "(content-length|x|date): [a-c0-9]{0,3}",
        4 => "content-length: [0-9]{1,2}",
        1 => "(x|Content-Length):[ \t]{0,2}[ab1]{0,2}[ \t]{0,2}",
        1 => "(x|content-length): ?[1\\x00\\x01\\x7f\u{e9}\n,]{0,3}",
        2 => "(connection|transfer-encoding|Transfer-Encoding): (close|keep-alive|gzip|chunked|Chunked)",
    ];
    (line, prop::collection::vec(field, 0..6)).prop_map(|(line, fields)| {
        let fields: String = fields.into_iter().map(|field| field + "\r\n").collect();
        format!("{line}\r\n{fields}\r\n")
    })
}

/// Bytes of one connection: a head, again and again, with one byte of it different or none, to requests of any kind.
fn connection() -> impl Strategy<Value = Vec<(Vec<u8>, Method)>> {
    let change =
        (any::<prop::sample::Index>(), prop_oneof![Just(b'7'), Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), any::<u8>()]);
    let method = prop_oneof![4 => Just(Method::POST), 1 => Just(Method::HEAD), 1 => Just(Method::CONNECT)];
    prop::collection::vec(made_up(), 1..3).prop_flat_map(move |bases| {
        let head = (any::<prop::sample::Index>(), prop::option::of(change.clone()), method.clone());
        let head = head.prop_map(move |(base, change, method)| {
            let mut head = bases[base.index(bases.len())].clone().into_bytes();
            if let Some((at, byte)) = change {
                let at = at.index(head.len());
                head[at] = byte;
            }
            (head, method)
        });
        prop::collection::vec(head, 1..12)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_remembered_changes_nothing(heads in connection()) {
        let mut remembering = Heads::default();
        for (head, method) in heads {
            let (mut read, mut same) = (BytesMut::from(&head[..]), BytesMut::from(&head[..]));
            let (one, other) = (remembering.take(&mut read, &method), Heads::default().take(&mut same, &method));
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
            if one.is_ok() {
                prop_assert_eq!(read, same);
            }
        }
    }
}

#[test]
fn heads_that_are_alike_are_not_parsed_again() {
    let mut heads = Heads::default();
    for number in 0..20 {
        let text = format!("HTTP/1.1 200 OK\r\nx: {number}\r\ncontent-length: {}\r\n\r\n", number + 7);
        let head = heads.take(&mut BytesMut::from(&text[..]), &Method::POST).unwrap().unwrap();
        assert_eq!(
            (head.parts.headers["x"].as_bytes(), head.framing),
            (number.to_string().as_bytes(), Framing::Length(number + 7))
        );
        assert_eq!(heads.memory.helped(), number > 1, "response {number}");
    }
}
