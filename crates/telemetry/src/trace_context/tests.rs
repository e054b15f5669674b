use proptest::prelude::*;
use regex::bytes::Regex;

use super::*;

/// Reads a value as the specification's grammar says, by a regular expression.
fn oracle(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>, u8)> {
    let grammar = Regex::new(r"(?-u)^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})((?s:-.*)?)$").unwrap();
    let found = grammar.captures(value)?;
    let is_zero = |text: &[u8]| text.iter().all(|&byte| byte == b'0');
    if &found[1] == b"ff" || (&found[1] == b"00" && !found[5].is_empty()) || is_zero(&found[2]) || is_zero(&found[3]) {
        return None;
    }
    let flags = u8::from_str_radix(std::str::from_utf8(&found[4]).unwrap(), 16).unwrap();
    Some((found[2].to_vec(), found[3].to_vec(), flags))
}

/// Values that are nearly valid.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let valid = r"(00|01|cc|ff)-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(|-|-x|x)";
    let zeros = r"00-(0{32}|0{31}1)-(0{16}|0{15}1)-0[0-3]";
    (prop_oneof![3 => valid, 1 => zeros, 1 => ".{0,60}"], any::<Option<(prop::sample::Index, u8)>>()).prop_map(|(text, change)| {
        let mut bytes = text.into_bytes();
        if let (Some((at, byte)), false) = (change, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn a_traceparent_reads_as_its_grammar_says(value in nearly()) {
        let read = Traceparent::parse(&value);
        let parts = read.map(|it| (it.trace_id.to_hex().to_vec(), it.span_id.to_hex().to_vec(), it.flags()));
        prop_assert_eq!(parts, oracle(&value).map(|(trace, span, flags)| (trace, span, flags & 3)));
    }

    #[test]
    fn what_is_written_reads_the_same(trace in any::<u128>(), span in any::<u64>(), is_sampled: bool, is_random: bool) {
        let (trace_id, span_id) = (TraceId::from_random(trace), SpanId::from_random(span));
        let written = Traceparent { trace_id, span_id, is_sampled, is_random };
        prop_assert_eq!(Traceparent::parse(&written.to_bytes()), Some(written));
    }

    #[test]
    fn a_tracestate_is_valid_as_its_grammar_says(members in prop::collection::vec("[a-c0@A]{0,2}(@|=|==)?[a-c ~\u{7f}]{0,2}", 0..36)) {
        let member = Regex::new(r"(?-u)^[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{1,256}$").unwrap();
        let kept: Vec<&str> = members.iter().map(|it| it.trim_matches([' ', '\t'])).filter(|it| !it.is_empty()).collect();
        let keys: std::collections::BTreeSet<&str> = kept.iter().filter_map(|it| Some(it.split_once('=')?.0)).collect();
        let expected = kept.len() <= 32 && keys.len() == kept.len() && kept.iter().all(|it| member.is_match(it.as_bytes()));
        prop_assert_eq!(is_tracestate([members.join(",").as_bytes()]), expected);
        // Several lines are one list.
        prop_assert_eq!(is_tracestate(members.iter().map(|it| it.as_bytes())), expected);
    }
}

#[test]
fn a_value_of_a_later_version_is_read_as_far_as_it_is_known() {
    let value = b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-what-comes-later";
    let read = Traceparent::parse(value).unwrap();
    assert_eq!(&read.to_bytes(), b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03");
}

#[test]
fn a_tracestate_has_32_members_at_most() {
    let state = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(" , ");
    assert!(is_tracestate([state(32).as_bytes()]));
    assert!(!is_tracestate([state(33).as_bytes()]));
    assert!(is_tracestate([]));
}
