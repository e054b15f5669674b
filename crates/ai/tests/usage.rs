//! Responses of each dialect, cut anywhere.

use pailou_ai::{Progress, ResponseReader, Usage};
use proptest::prelude::*;

const CHAT: &str = "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"model\":\"qwen\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n\
data: {\"id\":\"1\",\"model\":\"qwen\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n\
data: {\"id\":\"1\",\"model\":\"qwen\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
data: {\"id\":\"1\",\"model\":\"qwen\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":12,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":8}}}\n\n\
data: [DONE]\n\n";

const RESPONSES: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"model\":\"gpt\",\"status\":\"in_progress\",\"output\":[],\"error\":null,\"usage\":null}}\n\n\
event: response.in_progress\ndata: {\"type\":\"response.in_progress\",\"sequence_number\":1,\"response\":{\"model\":\"gpt\"}}\n\n\
event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"sequence_number\":2,\"item\":{\"type\":\"message\",\"content\":[]}}\n\n\
event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":3,\"delta\":\"Hi\"}\n\n\
event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":4,\"response\":{\"model\":\"gpt\",\"error\":null,\"usage\":{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":8},\"output_tokens\":3,\"output_tokens_details\":{\"reasoning_tokens\":1},\"total_tokens\":12}}}\n\n";

const MESSAGES: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"claude\",\"stop_reason\":null,\"usage\":{\"input_tokens\":1,\"cache_read_input_tokens\":8,\"cache_creation_input_tokens\":0,\"output_tokens\":1}}}\n\n\
event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
event: ping\ndata: {\"type\":\"ping\"}\n\n\
event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n\
event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n\
event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// Each stream, how many of its events merely announce, its model and its reason to finish.
const STREAMS: [(&str, usize, &str, Option<&str>); 3] =
    [(CHAT, 1, "qwen", Some("stop")), (RESPONSES, 3, "gpt", None), (MESSAGES, 3, "claude", Some("end_turn"))];

const USAGE: Usage = Usage {
    input_tokens: 9,
    output_tokens: 3,
    total_tokens: 12,
    cached_tokens: Some(8),
    cache_creation_tokens: None,
    reasoning_tokens: None,
};

fn after_events(stream: &str, count: usize) -> Progress {
    let head: String = stream.split_inclusive("\n\n").take(count).collect();
    ResponseReader::events().feed(head.as_bytes())
}

#[test]
fn a_stream_commits_with_its_first_content() {
    for (stream, lifecycle, ..) in STREAMS {
        assert_eq!(after_events(stream, lifecycle), Progress::default(), "{stream}");
        assert_eq!(after_events(stream, lifecycle + 1), Progress { content: true, ..Progress::default() });
    }
}

#[test]
fn a_stream_cut_off_is_told_from_a_whole_one() {
    for (stream, ..) in STREAMS {
        let events = stream.matches("\n\n").count();
        assert!(after_events(stream, events).done, "{stream}");
        assert!(!after_events(stream, events - 1).done, "{stream}");
        assert!(!after_events(stream, events - 3).may_end(), "{stream}");
    }
}

#[test]
fn what_counts_as_content_in_a_delta() {
    let commits = |choice: &str| {
        let event = format!("data: {{\"choices\":[{choice}]}}\n\n");
        ResponseReader::events().feed(event.as_bytes()).content
    };
    assert!(commits(r#"{"delta":{"role":"assistant","reasoning_content":"Hm"}}"#));
    assert!(commits(r#"{"delta":{"content":null,"tool_calls":[{"index":0,"id":"c1","function":{"name":"f"}}]}}"#));
    assert!(commits(r#"{"delta":{"content":[{"type":"text","text":"a"}]}}"#));
    assert!(commits(r#"{"text":"a","index":0}"#));
    assert!(commits(r#"{"delta":{},"finish_reason":"length"}"#));
    assert!(!commits(r#"{"delta":{"role":"assistant","content":null,"tool_calls":[]},"finish_reason":null}"#));
    assert!(!commits(r#"{"text":"","index":0}"#));
    assert!(!commits(""));
}

#[test]
fn errors_in_a_stream_are_no_content() {
    let errors = [
        "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n",
        "data: {\"object\":\"error\",\"message\":\"overloaded\"}\n\n",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        "event: error\ndata: {\"message\":\"overloaded\"}\n\n",
        "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\"}}}\n\n",
    ];
    for event in errors {
        let progress = ResponseReader::events().feed(event.as_bytes());
        assert_eq!(progress, Progress { error: true, ..Progress::default() }, "{event}");
    }
    let body = ResponseReader::json().feed(b"{\"error\":{\"message\":\"no\"}}");
    assert!(body.error && body.done);
    assert!(!ResponseReader::json().feed(b"{\"error\":null,\"output\":[]}").error);
}

#[test]
fn an_event_too_large_to_read_is_content() {
    let mut reader = ResponseReader::events();
    reader.feed(b"data: ");
    reader.feed(&vec![b'x'; 2 << 20]);
    assert!(reader.feed(b"\n\n").content);
}

#[test]
fn an_error_event_continues_the_numbering() {
    let mut reader = ResponseReader::events();
    assert_eq!(reader.next_sequence_number(), 0);
    reader.feed(RESPONSES.as_bytes());
    assert_eq!(reader.next_sequence_number(), 5);
}

#[test]
fn an_answer_that_is_there_whole_is_read_from_its_ends() {
    let read = |body: &str| {
        let mut reader = ResponseReader::json();
        reader.feed_whole_answer(body.as_bytes());
        (reader.model().map(str::to_owned), reader.finish_reason().map(str::to_owned), reader.usage().map(|it| it.output_tokens))
    };
    let expected = || (Some("qwen".to_owned()), Some("stop".to_owned()), Some(3));
    // The text is no JSON as far as it is not read: what is not JSON has no usage by the other way.
    let head = r#"{"id":"1","model":"qwen","choices":[{"message":{"content":"\"finish_reason\":"}},{not read"#;
    let tail = r#"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;
    assert_eq!(read(&format!("{head}{tail}")), expected());
    // llama.cpp names the model after the choices.
    let after = r#"{"choices":[{not read},"finish_reason" : "stop"}],"model":"qwen","usage":{"completion_tokens":3}}"#;
    assert_eq!(read(after), expected());
    // Not the reason of a choice: all is read.
    let inside = r#"{"model":"qwen","choices":[{"finish_reason":"stop","message":{"x":{"finish_reason":"no"}}}],"usage":{"completion_tokens":3}}"#;
    assert_eq!(read(inside), expected());
    // Of another list.
    for choices in [r#"[{"finish_reason":"stop","index":0} ] "#, r#"[{"finish_reason":"stop"}],"x":1"#] {
        let other =
            format!(r#"{{"model":"qwen","choices":{choices},"y":[{{"finish_reason":"no"}}],"usage":{{"completion_tokens":3}}}}"#);
        assert_eq!(read(&other), expected(), "{other}");
    }
    let other = r#"{"model":"qwen","choices":[],"y":[{"finish_reason":"no"}],"usage":{"completion_tokens":3}}"#;
    assert_eq!(read(other), (Some("qwen".to_owned()), None, Some(3)));
    let within = r#"{"model":"qwen","data":{"choices":[{"finish_reason":"no"}]},"usage":{"completion_tokens":3}}"#;
    assert_eq!(read(within), (Some("qwen".to_owned()), None, Some(3)));
}

#[test]
fn bodies_of_every_api_tell_their_usage() {
    let usage = |body: &str| {
        let mut reader = ResponseReader::json();
        assert!(reader.feed(body.as_bytes()).done, "{body}");
        let mut at_once = ResponseReader::json();
        assert!(at_once.feed_whole(body.as_bytes()).done, "{body}");
        assert_eq!(at_once.usage(), reader.usage(), "{body}");
        let mut answer = ResponseReader::json();
        assert!(answer.feed_whole_answer(body.as_bytes()).done, "{body}");
        let known = |it: &ResponseReader| (it.usage(), it.model().map(str::to_owned), it.finish_reason().map(str::to_owned));
        assert_eq!(known(&answer), known(&reader), "{body}");
        reader.usage()
    };
    let uncached = Usage { cached_tokens: None, ..USAGE };
    let cases = [
        (
            r#"{"choices":[{"message":{"content":"\"usage\":{"}}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":8}}}"#,
            USAGE,
        ),
        (
            r#"{"usage":{"input_tokens":9,"output_tokens":3,"total_tokens":12,"input_tokens_details":{"cached_tokens":8}},"error":null}"#,
            USAGE,
        ),
        (r#"{"type":"message","usage":{"input_tokens":1,"cache_read_input_tokens":8,"output_tokens":3}}"#, USAGE),
        (
            r#"{"type":"message","usage":{"input_tokens":1,"cache_read_input_tokens":6,"cache_creation_input_tokens":2,"output_tokens":3}}"#,
            Usage { cached_tokens: Some(6), cache_creation_tokens: Some(2), ..USAGE },
        ),
        (
            r#"{"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_cache_hit_tokens":8,"completion_tokens_details":{"reasoning_tokens":2}}}"#,
            Usage { reasoning_tokens: Some(2), ..USAGE },
        ),
        (r#"{"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_cache_hit_tokens":8}}"#, USAGE),
        (r#"{"results":[],"meta":{"tokens":{"input_tokens":9,"output_tokens":3}}}"#, uncached),
        (r#"{"response":{"usage":{"input_tokens":9,"output_tokens":3}},"x":{"usage":{}}}"#, uncached),
        (r#"{"results":[],"usage":{"total_tokens":12}}"#, Usage { input_tokens: 12, output_tokens: 0, ..uncached }),
    ];
    for (body, expected) in cases {
        assert_eq!(usage(body), Some(expected), "{body}");
    }
    for body in [r#"{"data":[{"usage":{"prompt_tokens":1}}],"usage":null}"#, r#"{"usage":{"prompt_tokens":-1}}"#, r#"["usage"]"#] {
        assert_eq!(usage(body), None, "{body}");
    }
}

/// Any value whose members have the names of usage, at any depth, and whose texts look like members.
fn body() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<u8>().prop_map(serde_json::Value::from),
        prop::sample::select(vec!["\"usage\":{", "usage", ",\"usage\":{\"total_tokens\":1}}", "}", ""])
            .prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let name = prop::sample::select(vec!["usage", "usage", "prompt_tokens", "total_tokens", "choices", "z", "\"usage\":{"]);
        let member = (name.prop_map(str::to_owned), inner.clone());
        prop_oneof![
            4 => prop::collection::vec(member, 0..4).prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            1 => prop::collection::vec(inner, 0..3).prop_map(serde_json::Value::from),
        ]
    })
}

/// An event that differs from others by little: mostly by a text, and now and then by what counts.
fn event() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["", "", "event: content_block_delta\n", "event: error\n"]);
    let shape = prop::sample::select(vec![
        r#"{"model":"M","choices":[{"delta":{"content":"TEXT"},"finish_reason":END}],"usage":COUNTS}"#,
        r#"{"model":"M","choices":[{"delta":{"content":"TEXT"},"finish_reason":END}],"usage":COUNTS}"#,
        r#"{"choices": [{"text": "TEXT", "finish_reason": END}], "model": "M"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"TEXT"}}"#,
        r#"{"type":"TEXT","delta":{"stop_reason":END},"usage":COUNTS}"#,
        r#"{"type":"response.output_text.delta","sequence_number":3,"delta":"TEXT"}"#,
        r#"{"error":"TEXT","choices":[],"model":"M"}"#,
        r#"{"of_no_shape":"TEXT"}"#,
    ]);
    let text =
        prop::sample::select(vec!["", "a", "b", " the", " that", "ping", "error", r"a\n", r#"a\"b"#, r#"a","error":"b"#, "\u{e9}"]);
    let end = prop::sample::select(vec!["null", "null", "null", "null", r#""stop""#, r#""length""#]);
    let counts = prop::sample::select(vec!["null", "null", "null", r#"{"prompt_tokens":9}"#, r#"{"completion_tokens":3}"#]);
    let model = prop::sample::select(vec!["qwen", "qwen", "qwen", "other"]);
    (name, shape, text, end, counts, model).prop_map(|(name, shape, text, end, counts, model)| {
        let data = shape.replace("TEXT", text).replace("END", end).replace("COUNTS", counts).replace('M', model);
        format!("{name}data: {data}\n\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(stream in 0..3usize, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let usage = [
            USAGE,
            Usage { reasoning_tokens: Some(1), ..USAGE },
            Usage { cache_creation_tokens: Some(0), ..USAGE },
        ][stream];
        let (stream, _, model, finish_reason) = STREAMS[stream];
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).chain([stream.len()]).collect();
        cuts.sort_unstable();
        let (mut reader, mut from) = (ResponseReader::events(), 0);
        for to in cuts {
            reader.feed(&stream.as_bytes()[from..to]);
            from = to;
        }
        let finished = finish_reason.is_some();
        prop_assert_eq!(reader.progress(), Progress { content: true, finish_reason: finished, done: true, error: false });
        prop_assert_eq!((reader.usage(), reader.model(), reader.finish_reason()), (Some(usage), Some(model), finish_reason));
    }

    #[test]
    fn events_that_are_alike_tell_what_they_tell_apart(events in prop::collection::vec(event(), 1..24)) {
        let (mut reader, mut apart) = (ResponseReader::events(), ResponseReader::events());
        for event in &events {
            reader.feed(event.as_bytes());
            // Between two of these no event is like the one before.
            apart.feed(b"data: {\"type\":\"ping\"}\n\n");
            apart.feed(event.as_bytes());
            prop_assert_eq!(reader.progress(), apart.progress(), "{:?}", events);
            prop_assert_eq!(reader.usage(), apart.usage(), "{:?}", events);
            prop_assert_eq!((reader.model(), reader.finish_reason()), (apart.model(), apart.finish_reason()), "{:?}", events);
            prop_assert_eq!(reader.next_sequence_number(), apart.next_sequence_number(), "{:?}", events);
        }
    }

    #[test]
    fn read_at_once_a_body_tells_the_same_usage(body in body(), spaces in any::<bool>()) {
        let body = if spaces { serde_json::to_string_pretty(&body).unwrap() + "\n" } else { body.to_string() };
        let (mut at_once, mut in_order) = (ResponseReader::json(), ResponseReader::json());
        at_once.feed_whole(body.as_bytes());
        in_order.feed(body.as_bytes());
        prop_assert_eq!(at_once.usage(), in_order.usage(), "{}", body);
        let mut answer = ResponseReader::json();
        answer.feed_whole_answer(body.as_bytes());
        prop_assert_eq!(answer.usage(), in_order.usage(), "{}", body);
        prop_assert_eq!((answer.model(), answer.finish_reason()), (in_order.model(), in_order.finish_reason()), "{}", body);
    }

    #[test]
    fn an_embedding_of_any_size_is_read_in_any_cuts(
        numbers in prop::collection::vec(any::<f32>(), 0..200),
        cut in 1..97usize,
    ) {
        let numbers: Vec<_> = numbers.iter().map(|n| format!("{n:e}")).collect();
        let body = format!(
            "{{\"data\":[{{\"embedding\":[{}],\"usage\":{{\"prompt_tokens\":1}}}}],\"model\":\"bge\",\"usage\":{{\"prompt_tokens\":9,\"total_tokens\":9}}}}",
            numbers.join(",")
        );
        let mut reader = ResponseReader::json();
        for chunk in body.as_bytes().chunks(cut) {
            reader.feed(chunk);
        }
        prop_assert!(reader.progress().done);
        let usage = Usage { input_tokens: 9, total_tokens: 9, ..Usage::default() };
        prop_assert_eq!((reader.usage(), reader.model()), (Some(usage), Some("bge")));
    }
}
