use proptest::prelude::*;

use super::*;

fn head(text: &str) -> Result<Option<Head>, Refusal> {
    Heads::default().take(&mut BytesMut::from(text))
}

fn whole(text: &str) -> Head {
    head(text).unwrap().unwrap()
}

#[test]
fn a_head_is_taken_whole_wherever_it_is_cut_and_what_follows_stays() {
    let text = "\r\nPOST /v1/chat?x=y HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nx: 1\r\nx: 2\r\n\r\n";
    for first in 0..text.len() {
        let (mut read, mut heads) = (BytesMut::from(&text[..first]), Heads::default());
        assert!(heads.take(&mut read).unwrap().is_none(), "cut at {first}");
        read.extend_from_slice(&text.as_bytes()[first..]);
        read.extend_from_slice(b"ok");
        let head = heads.take(&mut read).unwrap().unwrap_or_else(|| panic!("cut at {first}"));
        assert_eq!(
            (head.parts.method, head.parts.uri, head.parts.version),
            (Method::POST, "/v1/chat?x=y".parse().unwrap(), Version::HTTP_11)
        );
        assert_eq!(head.parts.headers.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((head.framing, &read[..], heads.seen), (Framing::Length(2), &b"ok"[..], 0));
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_ends_where_it_ends() {
    for text in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n", "GET / HTTP/1.1\r\nhost: a\n\r\n"] {
        let (mut read, mut heads) = (BytesMut::new(), Heads::default());
        for (at, byte) in text.bytes().enumerate() {
            read.extend_from_slice(&[byte]);
            assert_eq!(heads.take(&mut read).unwrap().is_some(), at + 1 == text.len(), "{text:?} at {at}");
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

/// Parts of a head that make it like another, nearly like it, or no head at all.
fn made_up() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        6 => Just("POST /v1/chat HTTP/1.1"),
        1 => Just("POST /v1/chatter HTTP/1.1"),
        1 => Just("GET http://b/v1 HTTP/1.1"),
        1 => Just("POST /v1/chat HTTP/1.0"),
    ];
    let field = prop_oneof![
        4 => Just("host: a".to_owned()),
        8 => "(content-length|x|y|authorization): [a-c0-9]{0,3}",
        4 => "content-length: [0-9]{1,2}",
        1 => "(x|y|Content-Length):[ \t]{0,2}[ab1]{0,2}[ \t]{0,2}",
        1 => "(x|content-length): ?[1\\x00\\x01\\x7f\u{e9}\n,]{0,3}",
        2 => "(connection|te|expect|upgrade|transfer-encoding): (close|keep-alive|trailers|100-continue|chunked|h2c)",
        1 => Just(" folded".to_owned()),
    ];
    let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just(" \r\n"), 1 => Just("\r")];
    (line, prop::collection::vec((field, end), 0..6)).prop_map(|(line, fields)| {
        let fields: String = fields.into_iter().map(|(field, end)| field + end).collect();
        format!("{line}\r\n{fields}\r\n")
    })
}

/// Bytes of one connection: a head, again and again, with one byte of it different or none.
fn connection() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let change =
        (any::<prop::sample::Index>(), prop_oneof![Just(b'7'), Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), any::<u8>()]);
    prop::collection::vec(made_up(), 1..3).prop_flat_map(move |bases| {
        let head = (any::<prop::sample::Index>(), prop::option::of(change.clone()), any::<bool>()).prop_map(
            move |(base, change, inserts)| {
                let head = &bases[base.index(bases.len())];
                let mut head = if inserts { head.replace(": close", ": keep-alive") } else { head.clone() }.into_bytes();
                if let Some((at, byte)) = change {
                    let at = at.index(head.len());
                    head.splice(at..at + usize::from(!inserts), [byte]);
                }
                head
            },
        );
        prop::collection::vec(head, 1..12)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_remembered_changes_nothing(heads in connection()) {
        let mut remembering = Heads::default();
        for head in heads {
            let (mut read, mut same) = (BytesMut::from(&head[..]), BytesMut::from(&head[..]));
            let (one, other) = (remembering.take(&mut read), Heads::default().take(&mut same));
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
            if one.is_ok() {
                prop_assert_eq!(read, same);
            }
            remembering.seen = 0;
        }
    }
}

#[test]
fn heads_that_are_alike_are_not_parsed_again() {
    let mut heads = Heads::default();
    for number in 0..20 {
        let text = format!("POST / HTTP/1.1\r\nhost: a\r\nx: {number}\r\ncontent-length: {}\r\n\r\n", number + 7);
        let head = heads.take(&mut BytesMut::from(&text[..])).unwrap().unwrap();
        assert_eq!(
            (head.parts.headers["x"].as_bytes(), head.framing),
            (number.to_string().as_bytes(), Framing::Length(number + 7))
        );
        assert_eq!(heads.memory.helped(), number > 1, "request {number}");
    }
}

#[test]
fn what_decides_how_a_message_is_read_is_never_taken_for_alike() {
    for [one, other] in [
        ["connection: keep-alive", "connection: close"],
        ["te: trailers", "te: gzip"],
        ["transfer-encoding: chunked", "transfer-encoding: gzip, chunked"],
        ["content-length: 5", "content-length: +5"],
        ["content-length: 5", "content-length: 5, 5"],
        ["x: 1", "x: 1\r\n folded"],
        ["x: 1", "x: 1\r\ncontent-length: 5"],
        ["x: 1", "x : 1"],
        ["x: 1", "x: \0"],
    ] {
        let mut heads = Heads::default();
        let mut take = |field: &str| {
            let text = format!("POST / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n");
            let fresh = Heads::default().take(&mut BytesMut::from(&text[..]));
            let taken = heads.take(&mut BytesMut::from(&text[..]));
            assert_eq!(format!("{taken:?}"), format!("{fresh:?}"), "{one:?} and then {field:?}");
            heads.memory.helped()
        };
        assert_eq!([one, one, one].map(&mut take), [false, false, true], "{one:?}");
        take(other);
    }
}
