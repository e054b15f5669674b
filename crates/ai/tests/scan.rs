//! The scan against `serde_json`: what it accepts, what it finds, what a splice leaves alone.

use bytes::Bytes;
use pailou_ai::{Scan, ScanError, Scanner, scan, splice_model};
use proptest::prelude::*;
use serde_json::Value;

/// The scan that `serde_json` implies. `None` if the scan must refuse the body.
fn reference(body: &[u8]) -> Option<Expected> {
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
        return None;
    };
    let string = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let uint = |name: &str| body.get(name).and_then(Value::as_u64);
    let prompts = ["messages", "prompt", "input", "query", "text_1", "text"];
    Some(Expected {
        model: string("model"),
        stream: body.get("stream") == Some(&Value::Bool(true)),
        max_tokens: uint("max_completion_tokens").or(uint("max_tokens")).or(uint("max_output_tokens")),
        cache_salt: string("cache_salt"),
        prompt: prompts.iter().find_map(|name| body.get(*name)).cloned(),
    })
}

#[derive(Debug, PartialEq)]
struct Expected {
    model: Option<String>,
    stream: bool,
    max_tokens: Option<u64>,
    cache_salt: Option<String>,
    prompt: Option<Value>,
}

fn found(body: &[u8]) -> Option<Expected> {
    let Scan { model, stream, max_tokens, cache_salt, prompt, .. } = match scan(body) {
        Ok(scan) => scan,
        // The one refusal that is not about JSON: these bodies have few members.
        Err(ScanError::RepeatedModel) => unreachable!("more models than generated"),
        Err(_) => return None,
    };
    let prompt = prompt.map(|span| serde_json::from_slice(&body[span]).expect("a span is a whole value"));
    Some(Expected { model, stream, max_tokens, cache_salt, prompt })
}

/// JSON text, most of it right: names that matter, escapes, duplicates, numbers of every form, white space.
fn document() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        any::<u64>().prop_map(|n| n.to_string()),
        string(),
        string(),
    ];
    let value = scalar.prop_recursive(4, 24, 4, |inner| {
        let members = prop::collection::vec((name(), space(), inner.clone()), 0..4);
        let items = prop::collection::vec(inner, 0..4);
        prop_oneof![members.prop_map(object), items.prop_map(|items| format!("[{}]", items.join(" , "))),]
    });
    prop::collection::vec((name(), space(), value), 0..7).prop_map(object)
}

fn object(members: Vec<(String, String, String)>) -> String {
    let members: Vec<_> = members.into_iter().map(|(name, space, value)| format!("{name}{space}:{space}{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Bytes that mean something to a JSON reader.
const TELLING: &[u8] = b"{}[]\",:\\0-.eE \x1f\xff";

const NAMES: &[&str] = &[
    "model",
    "mod\\u0065l",
    "\\u006dodel",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "stream_options",
    "include_usage",
    "cache_salt",
    "messages",
    "prompt",
    "input",
    "query",
    "text_1",
    "text",
    "Model",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(NAMES).prop_map(|name| format!("\"{name}\"")),
        1 => string(),
    ]
}

fn string() -> impl Strategy<Value = String> {
    const RIGHT: &[&str] = &["\\n", "\\\"", "\\\\", "\\/", "\\u00e9", "\\ud83d\\uDE00", "\\u4e2d", "\\b\\f\\r\\t"];
    const WRONG: &[&str] = &["\\ud83d", "\\ude00\\ud83d", "\\x", "\\u12g4", "\u{1}", "\\ud83d\\u0041"];
    let part = prop_oneof![
        50 => "[a-z /]{0,40}",
        25 => any::<String>().prop_map(|text| {
            let quoted = serde_json::to_string(&text).expect("text is JSON");
            quoted[1..quoted.len() - 1].to_owned()
        }),
        24 => prop::sample::select(RIGHT).prop_map(str::to_owned),
        1 => prop::sample::select(WRONG).prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn space() -> impl Strategy<Value = String> {
    prop::sample::select(&["", "", " ", "\n\t\r "][..]).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_documents_read_as_serde_json_reads_them(body in document()) {
        prop_assert_eq!(found(body.as_bytes()), reference(body.as_bytes()));
    }

    #[test]
    fn mutated_documents_are_refused_exactly_when_serde_json_refuses_them(
        body in document(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..4),
    ) {
        let mut body = body.into_bytes();
        for (at, byte, how) in mutations {
            let at = at.index(body.len().max(1));
            match how {
                0 if at < body.len() => body[at] = byte,
                1 => body.insert(at, TELLING[usize::from(byte) % TELLING.len()]),
                2 if at < body.len() => { body.remove(at); }
                _ => body.truncate(at),
            }
        }
        prop_assert_eq!(found(&body), reference(&body));
    }

    /// However the bytes come, what is found, or wrong, is the same.
    #[test]
    fn a_body_that_comes_in_pieces_reads_as_a_whole_one(
        body in document(),
        mutation in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(TELLING))),
        pieces in prop::collection::vec(1..20_usize, 1..60),
    ) {
        let mut body = body.into_bytes();
        if let Some((at, byte)) = mutation
            && !body.is_empty()
        {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let (mut scanner, mut there) = (Scanner::default(), 0);
        for piece in pieces {
            there = (there + piece).min(body.len());
            // Elsewhere each time, as in a buffer that grows.
            let elsewhere = body[..there].to_vec();
            scanner.read(&elsewhere);
        }
        prop_assert_eq!(scanner.finish(&body), scan(&body));
    }

    #[test]
    fn a_splice_changes_the_model_and_nothing_else(body in document(), new in any::<String>()) {
        let Ok(scan) = scan(body.as_bytes()) else { return Ok(()) };
        let spliced = splice_model(&Bytes::from(body.clone()), &scan, &new);
        let whole = spliced.to_bytes();
        prop_assert_eq!(spliced.len(), whole.len());
        let mut expected: Value = serde_json::from_str(&body).unwrap();
        if let Some(model) = expected.get_mut("model") {
            *model = Value::from(new);
        }
        prop_assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap(), expected);
    }
}

#[test]
fn a_long_string_may_end_or_break_at_any_offset() {
    const TAILS: [&[u8]; 11] = [
        b"\"}",
        b"\\n\"}",
        b"\\q\"}",
        b"\x1f\"}",
        "é\"}".as_bytes(),
        b"",
        b"\\",
        b"\xff\"}",
        b"\xc3\"}",
        b"\xc3\\n\"}",
        b"\xe4\xb8",
    ];
    for (len, start) in (0..300).flat_map(|len| [(len, ""), (len, "中")]) {
        for tail in TAILS {
            let mut body = format!("{{\"prompt\":\"{start}{}", "x".repeat(len)).into_bytes();
            body.extend(tail);
            assert_eq!(found(&body), reference(&body), "{}", String::from_utf8_lossy(&body));
        }
    }
}

#[test]
fn a_body_may_be_cut_anywhere_while_it_comes() {
    let body = r#" { "model" : "m\u00e9\ud83d\ude00\n中", "stream":true, "max_tokens" : 12.5e+3, "a":[null,-0,{}, [] ,{"b":false}],
        "stream_options":{"include_usage":true},"messages":[{"content":"x"}], "max_completion_tokens":77 } "#;
    let whole = scan(body.as_bytes());
    assert_eq!(whole.as_ref().unwrap().max_tokens, Some(77));
    for first in 0..=body.len() {
        for second in (first..=body.len()).step_by(7) {
            let mut scanner = Scanner::default();
            scanner.read(&body.as_bytes()[..first]);
            scanner.read(&body.as_bytes()[..second]);
            assert_eq!(scanner.finish(body.as_bytes()), whole, "{first} {second}");
        }
    }
}

/// Each byte of a number that never ends could have it read again from its first.
#[test]
fn a_long_number_that_comes_slowly_is_not_read_again_and_again() {
    let body = format!("{{\"a\":{}}}", "1".repeat(300_000));
    let mut scanner = Scanner::default();
    for there in 0..body.len() {
        scanner.read(&body.as_bytes()[..there]);
    }
    assert!(scanner.finish(body.as_bytes()).is_err(), "it overflows a double");
}

#[test]
fn any_byte_may_stand_anywhere_in_a_long_string() {
    for (at, byte) in (0..150).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
        let mut body = format!("{{\"model\":\"{}\"}}", "x".repeat(150)).into_bytes();
        body[10 + at] = byte;
        assert_eq!(found(&body), reference(&body), "{byte:#x} at {at}");
    }
}

#[test]
fn depth_ends_where_serde_json_ends_it() {
    for depth in 120..135 {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[[{\"a\":", "}]]")] {
            let body = format!("{{\"a\":{}1{}}}", open.repeat(depth / open.len().min(3)), close.repeat(depth / open.len().min(3)));
            assert_eq!(found(body.as_bytes()), reference(body.as_bytes()), "{body}");
        }
    }
    let body = format!("{{\"a\":{}", "[".repeat(1_000_000));
    assert_eq!(scan(body.as_bytes()), Err(ScanError::TooDeep { at: 5 + 126 }));
}

#[test]
fn numbers_are_taken_and_refused_as_serde_json_does() {
    let long = "9".repeat(400);
    let numbers = [
        "0",
        "-0",
        "-",
        "01",
        "-01",
        "1.",
        ".5",
        "1.0",
        "1e",
        "1e+",
        "1e5",
        "1E-5",
        "1e400",
        "-1e400",
        "0e400",
        "1e-400",
        "1e99999999999",
        "0e99999999999",
        "1e-99999999999",
        "+1",
        "1_0",
        "0x1",
        "NaN",
        "Infinity",
        "18446744073709551615",
        "18446744073709551616",
        "4294967296.0",
        "1e2",
        &long,
    ];
    for number in numbers {
        let body = format!("{{\"max_tokens\":{number}}}");
        assert_eq!(found(body.as_bytes()), reference(body.as_bytes()), "{number}");
    }
}

#[test]
fn what_is_no_object_names_no_model() {
    assert_eq!(scan(b""), Err(ScanError::Empty));
    assert_eq!(scan(b" \n"), Err(ScanError::Empty));
    assert_eq!(scan(b"[{\"model\":\"a\"}]"), Err(ScanError::NotObject));
    assert_eq!(scan(b"\xEF\xBB\xBF{\"model\":\"a\"}"), Err(ScanError::NotObject));
    assert_eq!(scan(b"{\"model\":\"\xff\"}"), Err(ScanError::NotUtf8 { at: 10 }));
    assert_eq!(scan(b"{\"model\":\"a\"} x"), Err(ScanError::Syntax { at: 14 }));
    assert_eq!(scan(b"{\"model\":\"a\",}"), Err(ScanError::Syntax { at: 13 }));
}

#[test]
fn every_model_is_replaced_whichever_an_engine_reads() {
    let body = Bytes::from_static(b"{ \"model\" : \"a\",\"x\":{\"model\":\"a\"}, \"mod\\u0065l\":7 ,\"model\":\"\\u0062\"}");
    let scan = scan(&body).unwrap();
    assert_eq!(scan.model.as_deref(), Some("b"));
    assert_eq!(
        splice_model(&body, &scan, "c\"\n").to_bytes(),
        &b"{ \"model\" : \"c\\\"\\n\",\"x\":{\"model\":\"a\"}, \"mod\\u0065l\":\"c\\\"\\n\" ,\"model\":\"c\\\"\\n\"}"[..]
    );
}

#[test]
fn a_model_too_often_repeated_is_refused() {
    let body = |n: usize| format!("{{{}}}", vec!["\"model\":\"a\""; n].join(","));
    assert!(scan(body(8).as_bytes()).is_ok());
    assert_eq!(scan(body(9).as_bytes()), Err(ScanError::RepeatedModel));
}

#[test]
fn untouched_bytes_are_shared_with_the_body() {
    let body = Bytes::from(format!("{{\"model\":\"a\",\"prompt\":\"{}\"}}", "x".repeat(1 << 16)));
    let pieces: Vec<_> = splice_model(&body, &scan(&body).unwrap(), "b").into_iter().collect();
    assert_eq!(pieces.len(), 3);
    assert_eq!(pieces[2].as_ptr(), body[12..].as_ptr());
}
