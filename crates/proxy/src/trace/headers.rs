//! Trace context in headers, in the forms that a tracer reads and writes.

use http::{HeaderMap, HeaderName, HeaderValue};
use pailou_telemetry::{
    b3::{self, Multiple},
    ids::SpanId,
    propagators::Propagators,
    trace_context::{RemoteContext, Traceparent, is_tracestate},
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Reads a request's context: W3C's first, then B3 in one header, then in several. Of W3C's, what is not valid is removed.
pub(super) fn extract(map: &mut HeaderMap, forms: Propagators) -> RemoteContext {
    if forms.has_trace_context {
        let has_parent = map.contains_key(TRACEPARENT);
        let parsed = if has_parent { only(map, &TRACEPARENT).and_then(Traceparent::parse) } else { None };
        // It belongs to the span that `traceparent` names.
        if parsed.is_none() || !is_tracestate(map.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes)) {
            map.remove(TRACESTATE);
        }
        if let Some(parsed) = parsed {
            return parsed.into();
        }
        // Most clients send none: a name is looked for by its hash each time.
        if has_parent {
            map.remove(TRACEPARENT);
        }
    }
    let single = || only(map, &B3).and_then(b3::parse_single);
    let multiple = || {
        b3::parse_multiple(Multiple {
            trace_id: only(map, &B3_TRACE_ID),
            span_id: only(map, &B3_SPAN_ID),
            sampled: only(map, &B3_SAMPLED),
            flags: only(map, &B3_FLAGS),
        })
    };
    let found = if forms.has_b3 { single() } else { None };
    found.or_else(|| if forms.has_b3_multiple { multiple() } else { None }).unwrap_or_default()
}

/// Members of a valid `tracestate`, on one line.
pub(super) fn trace_state(map: &HeaderMap) -> String {
    let lines: Vec<&str> = map.get_all(TRACESTATE).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(",")
}

/// The forms of which no header `is_edited`.
pub(super) fn unedited(forms: Propagators, is_edited: impl Fn(&HeaderName) -> bool) -> Propagators {
    let multiple = [B3_TRACE_ID, B3_SPAN_ID, B3_PARENT_SPAN_ID, B3_SAMPLED];
    Propagators {
        has_trace_context: forms.has_trace_context && !is_edited(&TRACEPARENT),
        has_b3: forms.has_b3 && !is_edited(&B3),
        has_b3_multiple: forms.has_b3_multiple && !multiple.iter().any(is_edited),
    }
}

/// Writes the context of an attempt's span, whose parent is the request's span.
pub(super) fn inject(map: &mut HeaderMap, forms: Propagators, context: Traceparent, parent: SpanId) {
    let Traceparent { trace_id, span_id, is_sampled, .. } = context;
    let mut put = |name: HeaderName, value: &[u8]| {
        // Digits and hyphens make a value.
        if let Ok(value) = HeaderValue::from_bytes(value) {
            map.insert(name, value);
        }
    };
    if forms.has_trace_context {
        put(TRACEPARENT, &context.to_bytes());
    }
    if forms.has_b3 {
        put(B3, &b3::to_single(trace_id, span_id, is_sampled, parent));
    }
    if forms.has_b3_multiple {
        put(B3_TRACE_ID, &trace_id.to_hex());
        put(B3_SPAN_ID, &span_id.to_hex());
        put(B3_PARENT_SPAN_ID, &parent.to_hex());
        put(B3_SAMPLED, if is_sampled { b"1" } else { b"0" });
        map.remove(B3_FLAGS);
    }
}

/// The value of a header that is there once.
fn only<'m>(map: &'m HeaderMap, name: &HeaderName) -> Option<&'m [u8]> {
    let mut values = map.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    fn all() -> Propagators {
        Propagators::parse("tracecontext,b3,b3multi").unwrap()
    }

    fn trace_of(lines: &[(&'static str, &'static str)]) -> (Option<String>, Option<bool>) {
        let found = extract(&mut map(lines), all());
        (found.parent.map(|parent| parent.trace_id.to_string()), found.is_sampled)
    }

    #[test]
    fn a_context_is_read_in_each_form() {
        let (trace, b3) = ("0af7651916cd43dd8448eb211c80319c", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0");
        assert_eq!(trace_of(&[("traceparent", PARENT), ("b3", b3)]), (Some(trace.to_owned()), Some(true)));
        assert_eq!(trace_of(&[("b3", b3)]), (Some("80f198ee56343ba864fe8b2a57d3eff7".to_owned()), Some(false)));
        let several = [("x-b3-traceid", "64fe8b2a57d3eff7"), ("x-b3-spanid", "e457b5a2e4d86bd1"), ("x-b3-sampled", "1")];
        assert_eq!(trace_of(&several), (Some("000000000000000064fe8b2a57d3eff7".to_owned()), Some(true)));
        assert_eq!(trace_of(&[("b3", "0")]), (None, Some(false)));
        assert_eq!(trace_of(&[]), (None, None));
        assert_eq!(trace_of(&[("traceparent", PARENT), ("traceparent", PARENT)]), (None, None));
    }

    #[test]
    fn a_context_that_is_not_valid_does_not_go_on() {
        let state_of = |lines: &[(&'static str, &'static str)]| {
            let mut map = map(lines);
            extract(&mut map, all());
            (map.contains_key(TRACEPARENT), map.get_all(TRACESTATE).iter().count())
        };
        assert_eq!(state_of(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=1")]), (true, 2));
        assert_eq!(state_of(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "a=2")]), (true, 0));
        assert_eq!(state_of(&[("traceparent", "00-0"), ("tracestate", "a=1")]), (false, 0));
        assert_eq!(state_of(&[("tracestate", "a=1")]), (false, 0));
        let mut untouched = map(&[("traceparent", "00-0"), ("tracestate", "a=1")]);
        extract(&mut untouched, Propagators::parse("b3").unwrap());
        assert_eq!(untouched.len(), 2);
    }

    #[test]
    fn a_form_that_is_edited_is_not_written() {
        let left = |edited: HeaderName| unedited(all(), |name| *name == edited);
        assert_eq!(left(TRACEPARENT), Propagators { has_trace_context: false, ..all() });
        assert_eq!(left(B3), Propagators { has_b3: false, ..all() });
        assert_eq!(left(B3_SAMPLED), Propagators { has_b3_multiple: false, ..all() });
        assert_eq!(left(TRACESTATE), all());
    }

    #[test]
    fn a_context_is_written_in_each_form() {
        let context = Traceparent::parse(PARENT.as_bytes()).unwrap();
        let mut map = map(&[("x-b3-flags", "1"), ("traceparent", "00-0")]);
        inject(&mut map, all(), context, SpanId::from_random(1));
        let text = |name: &str| map.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(text("traceparent"), Some(PARENT));
        assert_eq!(text("b3"), Some("0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1-0000000000000001"));
        assert_eq!(text("x-b3-traceid"), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!((text("x-b3-parentspanid"), text("x-b3-sampled")), (Some("0000000000000001"), Some("1")));
        assert_eq!(text("x-b3-flags"), None);
    }
}
