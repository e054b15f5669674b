//! B3, Zipkin's trace context: in one header (`b3`), or in several (`X-B3-…`).

use crate::{
    ids::{SpanId, TraceId},
    trace_context::{ParentSpan, RemoteContext},
};

/// Reads the value of `b3`: `trace-span[-state[-parent]]`, or a state alone. `None` where it is not valid.
pub fn parse_single(value: &[u8]) -> Option<RemoteContext> {
    if let [state] = value {
        return Some(RemoteContext { parent: None, is_sampled: Some(state_of(&[*state])?) });
    }
    let mut parts = value.split(|&byte| byte == b'-');
    let (trace_id, span_id) = (TraceId::from_short_hex(parts.next()?)?, SpanId::from_hex(parts.next()?)?);
    let is_sampled = match parts.next() {
        None => None,
        Some(state) => Some(state_of(state)?),
    };
    if let Some(parent) = parts.next() {
        SpanId::from_hex(parent)?;
    }
    let parent = Some(ParentSpan { trace_id, span_id, is_random: false });
    parts.next().is_none().then_some(RemoteContext { parent, is_sampled })
}

/// Values of the headers `X-B3-TraceId`, `-SpanId`, `-Sampled` and `-Flags`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Multiple<'v> {
    /// The trace.
    pub trace_id: Option<&'v [u8]>,
    /// The span.
    pub span_id: Option<&'v [u8]>,
    /// `1` or `0`; some tracers write `true` and `false`.
    pub sampled: Option<&'v [u8]>,
    /// `1`: debug, which means sampled.
    pub flags: Option<&'v [u8]>,
}

/// Reads the several headers; `None` where there are none, or one is not valid.
pub fn parse_multiple(headers: Multiple<'_>) -> Option<RemoteContext> {
    let is_sampled = match (headers.flags, headers.sampled) {
        (Some(b"1"), _) => Some(true),
        (_, None) => None,
        (_, Some(state)) => Some(state_of(state)?),
    };
    let parent = match (headers.trace_id, headers.span_id) {
        (Some(trace), Some(span)) => {
            Some(ParentSpan { trace_id: TraceId::from_short_hex(trace)?, span_id: SpanId::from_hex(span)?, is_random: false })
        }
        (None, None) => None,
        _ => return None,
    };
    (parent.is_some() || is_sampled.is_some()).then_some(RemoteContext { parent, is_sampled })
}

/// The value of `b3` for a span with a parent.
pub fn to_single(trace_id: TraceId, span_id: SpanId, is_sampled: bool, parent: SpanId) -> [u8; 68] {
    let mut value = [b'-'; 68];
    value[..32].copy_from_slice(&trace_id.to_hex());
    value[33..49].copy_from_slice(&span_id.to_hex());
    value[50] = if is_sampled { b'1' } else { b'0' };
    value[52..].copy_from_slice(&parent.to_hex());
    value
}

fn state_of(state: &[u8]) -> Option<bool> {
    match state {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    proptest! {
        #[test]
        fn one_header_reads_as_its_grammar_says(
            value in prop_oneof!["[0-9a-f]{16}([0-9a-f]{16})?-[0-9a-f]{15,16}(-[01dx])?(-[0-9a-f]{16})?(-)?", "[01dx]{0,2}", "[0-9a-f-]{0,70}"]
        ) {
            let grammar = Regex::new("^(?:([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-(0|1|d|true|false)(?:-([0-9a-f]{16}))?)?|([01d]))$").unwrap();
            let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
            let parts = grammar.captures(&value).filter(|it| ![1, 2, 4].iter().any(|&at| it.get(at).is_some_and(|it| is_zero(it.as_str()))));
            let expected = parts.map(|it| {
                let ids = it.get(1).map(|trace| (format!("{:0>32}", trace.as_str()), it[2].to_owned()));
                let state = it.get(3).or_else(|| it.get(5)).map(|state| matches!(state.as_str(), "1" | "d" | "true"));
                (ids, state)
            });
            let read = parse_single(value.as_bytes()).map(|it| {
                (it.parent.map(|parent| (parent.trace_id.to_string(), parent.span_id.to_string())), it.is_sampled)
            });
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn one_header_written_reads_the_same() {
        let (trace_id, span_id) = (TraceId::from_hex(TRACE.as_bytes()).unwrap(), SpanId::from_hex(SPAN.as_bytes()).unwrap());
        let value = to_single(trace_id, span_id, true, SpanId::from_random(5));
        assert_eq!(std::str::from_utf8(&value).unwrap(), format!("{TRACE}-{SPAN}-1-0000000000000005"));
        let read = parse_single(&value).unwrap();
        assert_eq!((read.parent.unwrap().trace_id, read.is_sampled), (trace_id, Some(true)));
    }

    #[test]
    fn several_headers_are_read_together() {
        let of = |trace: &'static str, span: &'static str, sampled: &'static str, flags: &'static str| {
            let some = |text: &'static str| (!text.is_empty()).then_some(text.as_bytes());
            parse_multiple(Multiple { trace_id: some(trace), span_id: some(span), sampled: some(sampled), flags: some(flags) })
                .map(|it| (it.parent.map(|parent| parent.trace_id.to_string()), it.is_sampled))
        };
        let whole = Some(TRACE.to_owned());
        assert_eq!(of(TRACE, SPAN, "1", ""), Some((whole.clone(), Some(true))));
        assert_eq!(of(TRACE, SPAN, "", ""), Some((whole.clone(), None)));
        assert_eq!(of(TRACE, SPAN, "0", "1"), Some((whole, Some(true))));
        assert_eq!(of(SPAN, SPAN, "0", ""), Some((Some(format!("{:0>32}", SPAN)), Some(false))));
        assert_eq!(of("", "", "0", ""), Some((None, Some(false))));
        for (trace, span, sampled) in [("", "", ""), (TRACE, "", "1"), ("", SPAN, "1"), (TRACE, "x", "1"), (TRACE, SPAN, "2")] {
            assert_eq!(of(trace, span, sampled, ""), None, "{trace} {span} {sampled}");
        }
    }
}
