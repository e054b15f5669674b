use prost::Message as _;

use super::*;
use crate::export::Resource;

// OTLP's messages, as its definition numbers them, apart from the writer.

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<ResourceAttributes>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceAttributes {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "10")]
    dropped_attributes: u32,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
    #[prost(double, tag = "4")]
    Fraction(f64),
    #[prost(message, tag = "5")]
    List(List),
}

#[derive(Clone, PartialEq, prost::Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<AnyValue>,
}

fn head() -> SpanHead<'static> {
    SpanHead {
        trace_id: TraceId::from_random(7),
        span_id: SpanId::from_random(8),
        parent: Some(SpanId::from_random(9)),
        is_parent_remote: true,
        trace_state: "vendor=1",
        flags: 1,
        kind: SpanKind::Server,
        start: 1_000,
        end: 3_000,
    }
}

fn spans(batch: &[u8]) -> (ResourceAttributes, Vec<Span>) {
    let mut request = Vec::new();
    Resource::new([("service.name", "gateway")], "pailou", "0.1").append_head(&mut request, batch.len());
    request.extend_from_slice(batch);
    let request = Request::decode(&*request).unwrap();
    let [of_resource] = <[_; 1]>::try_from(request.resource_spans).unwrap();
    let [of_scope] = <[_; 1]>::try_from(of_resource.scope_spans).unwrap();
    assert_eq!(of_scope.scope.unwrap(), Scope { name: "pailou".into(), version: "0.1".into() });
    (of_resource.resource.unwrap(), of_scope.spans)
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}

#[test]
fn a_batch_of_spans_reads_as_the_protocol_says() {
    let mut batch = Vec::new();
    append_span(
        &mut batch,
        &head(),
        |name| name.push_all(["POST", " ", "/v1"]),
        |span| {
            span.attributes().text("text", "é");
            span.attributes().number("number", u64::MAX);
            span.attributes().fraction("fraction", 0.25);
            span.attributes().flag("flag", true);
            span.attributes().texts("texts", ["a", "b"]);
            span.event("pick", 2_000, |attributes| attributes.shown("shown", 12));
            span.attributes().option("none", None);
            span.fail();
        },
    );
    let client = SpanHead { kind: SpanKind::Client, parent: None, is_parent_remote: false, trace_state: "", ..head() };
    append_span(&mut batch, &client, |_| {}, |_| {});
    let (resource, spans) = spans(&batch);
    assert_eq!(resource.attributes, [pair("service.name", Value::Text("gateway".into()))]);
    let [server, client] = <[_; 2]>::try_from(spans).unwrap();
    let text = |text: &str| AnyValue { value: Some(Value::Text(text.into())) };
    let expected = Span {
        trace_id: TraceId::from_random(7).as_bytes().to_vec(),
        span_id: SpanId::from_random(8).as_bytes().to_vec(),
        trace_state: "vendor=1".into(),
        parent_span_id: SpanId::from_random(9).as_bytes().to_vec(),
        name: "POST /v1".into(),
        kind: 2,
        start: 1_000,
        end: 3_000,
        attributes: vec![
            pair("text", Value::Text("é".into())),
            pair("number", Value::Number(i64::MAX)),
            pair("fraction", Value::Fraction(0.25)),
            pair("flag", Value::Flag(true)),
            pair("texts", Value::List(List { values: vec![text("a"), text("b")] })),
        ],
        dropped_attributes: 0,
        events: vec![Event { time: 2_000, name: "pick".into(), attributes: vec![pair("shown", Value::Text("12".into()))] }],
        status: Some(Status { message: String::new(), code: 2 }),
        flags: 0x301,
    };
    assert_eq!(server, expected);
    assert_eq!((client.kind, client.parent_span_id.len(), client.status, client.flags), (3, 0, None, 0x101));
}

#[test]
fn texts_and_numbers_of_attributes_are_bounded() {
    let long = "é".repeat(MAX_TEXT);
    let mut batch = Vec::new();
    append_span(
        &mut batch,
        &head(),
        |name| name.push(&long),
        |span| {
            span.attributes().text("text", &long);
            span.attributes().shown("shown", format_args!("x{long}"));
            (0..MAX_ATTRIBUTES).for_each(|number| span.attributes().number("more", number.into()));
            (0..200).for_each(|time| span.event("event", time, |_| {}));
        },
    );
    let (_, spans) = spans(&batch);
    let Some(Value::Text(text)) = spans[0].attributes[0].value.clone().unwrap().value else { panic!("a text") };
    let Some(Value::Text(shown)) = spans[0].attributes[1].value.clone().unwrap().value else { panic!("a text") };
    assert_eq!((text.len(), shown.len(), spans[0].name.len()), (MAX_TEXT, MAX_TEXT - 1, MAX_TEXT));
    assert_eq!((spans[0].attributes.len() as u32, spans[0].dropped_attributes), (MAX_ATTRIBUTES, 2));
    assert_eq!(spans[0].events.len(), 128);
}

#[test]
fn texts_of_any_length_read_as_they_were_written() {
    let lengths = || (0..140).chain([1000, MAX_TEXT]);
    let mut batch = Vec::new();
    let key = |length: usize| "k".repeat(length / 2);
    for length in lengths() {
        append_span(
            &mut batch,
            &head(),
            |_| {},
            |span| {
                let (key, value) = (key(length), "v".repeat(length));
                span.attributes().text(&key, &value);
                span.attributes().built(&key, |text| text.push_all([&value[..length / 3], &value[length / 3..]]));
                span.attributes().number(&key, 1 << (length % 64));
                span.attributes().fraction(&key, length as f64);
                span.attributes().flag(&key, true);
            },
        );
    }
    let (_, spans) = spans(&batch);
    for (length, span) in lengths().zip(spans) {
        let text = || Value::Text("v".repeat(length));
        let number = Value::Number((1_u64 << (length % 64)).min(i64::MAX as u64) as i64);
        let values = [text(), text(), number, Value::Fraction(length as f64), Value::Flag(true)];
        assert_eq!(span.attributes, values.map(|value| pair(&key(length), value)), "{length}");
    }
}
