use serde_json::json;

use super::*;

const BOTH: ContentSides = ContentSides { inputs: true, outputs: true };

fn input(body: &Value) -> (Vec<Value>, Vec<Value>) {
    let mut content = ModelContent::new(BOTH);
    content.read_request(body.to_string().as_bytes());
    (content.instructions.iter().map(Part::to_json).collect(), content.input.iter().map(Message::to_json).collect())
}

fn output(body: &str, is_event_stream: bool, cut: usize) -> Vec<Value> {
    let mut content = ModelContent::new(BOTH);
    body.as_bytes().chunks(cut).for_each(|piece| content.read_response(piece, is_event_stream));
    content.output().iter().map(Message::to_json).collect()
}

fn text(role: &str, content: &str) -> Value {
    json!({"role": role, "parts": [{"type": "text", "content": content}]})
}

#[test]
fn requests_of_each_dialect_have_messages() {
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    let chat = json!({"messages": [
        {"role": "system", "content": "short"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
    ]});
    let call = json!({"type": "tool_call", "id": "c1", "name": "f", "arguments": "{\"a\":1}"});
    let answer = json!({"type": "tool_call_response", "id": "c1", "response": "7"});
    let expected = vec![
        text("system", "short"),
        json!({"role": "user", "parts": [{"type": "text", "content": "look"}, {"type": "image_url"}]}),
        json!({"role": "assistant", "parts": [call]}),
        json!({"role": "tool", "parts": [answer]}),
    ];
    assert_eq!(input(&chat), (vec![], expected));
    let messages = json!({"system": "be kind", "messages": [{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "7"}]}]}]});
    let result = json!({"type": "tool_call_response", "id": "t", "response": "7"});
    let instruction = json!({"type": "text", "content": "be kind"});
    assert_eq!(input(&messages), (vec![instruction.clone()], vec![json!({"role": "user", "parts": [result]})]));
    let responses =
        json!({"instructions": "be kind", "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]});
    assert_eq!(input(&responses), (vec![instruction], vec![text("user", "hi")]));
    assert_eq!(input(&json!({"prompt": "hi"})), (vec![], vec![text("user", "hi")]));
    assert_eq!(input(&json!({"input": "hi"})), (vec![], vec![text("user", "hi")]));
    assert_eq!(input(&json!([1])), (vec![], vec![]));
}

#[test]
fn answers_have_messages_whole_and_in_events() {
    let expected = json!({"role": "assistant", "finish_reason": "stop",
        "parts": [{"type": "reasoning", "content": "so"}, {"type": "text", "content": "hi there"}]});
    let whole = json!({"choices": [{"message": {"content": "hi there", "reasoning_content": "so"}, "finish_reason": "stop"}]});
    let events = "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"so\"}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi \"}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"there\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    for cut in [1, 7, 4096] {
        assert_eq!(output(&whole.to_string(), false, cut), std::slice::from_ref(&expected));
        assert_eq!(output(events, true, cut), std::slice::from_ref(&expected));
    }
    let block = "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\"}}\n\n\
        data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"partial_json\":\"{}\"}}\n\n\
        data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\n";
    let call = json!({"type": "tool_call", "id": "t", "name": "f", "arguments": "{}"});
    assert_eq!(output(block, true, 11), [json!({"role": "assistant", "finish_reason": "tool_use", "parts": [call]})]);
}

#[test]
fn contents_are_bounded_and_the_newest_stay() {
    let long = "x".repeat(20 << 10);
    let messages: Vec<_> = (0..5).map(|number| json!({"role": "user", "content": format!("{number}{long}")})).collect();
    let (_, kept) = input(&json!({"messages": messages}));
    let texts: Vec<_> = kept.iter().map(|message| message["parts"][0]["content"].as_str().unwrap()).collect();
    assert_eq!(texts.iter().map(|text| text.len()).sum::<usize>(), MAX_TEXT - 2 * 32);
    assert!(texts.last().unwrap().starts_with('4') && texts.len() == 2, "{}", texts.len());
    let many: Vec<_> = (0..1000).map(|_| json!({"role": "user", "content": "x"})).collect();
    assert_eq!(input(&json!({"messages": many})).1.len(), MAX_MESSAGES);
    assert_eq!(input(&json!({"prompt": "x".repeat(MAX_BODY)})).1, Vec::<Value>::new());
    let event = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "y".repeat(1000));
    let streamed = output(&event.repeat(200), true, 4096);
    assert_eq!(streamed[0]["parts"][0]["content"].as_str().unwrap().len(), MAX_TEXT - 32);
    assert_eq!(output(&"z".repeat(3 * MAX_BODY), false, 4096), Vec::<Value>::new());
}

#[test]
fn what_may_be_a_credential_is_redacted() {
    for (text, expected) in [
        ("use sk-0123456789abcdef0123 now", "use REDACTED now"),
        ("key=\"sk-0123456789abcdef\"", "key=\"REDACTED\""),
        ("Authorization: Bearer abcdefghijklmnop1\nnext", "Authorization: Bearer REDACTED\nnext"),
        ("see postgres://user:pw@db/main", "see REDACTED"),
        ("a bearer of news, sk-learn is basic", "a bearer of news, sk-learn is basic"),
        ("  two  spaces ", "  two  spaces "),
        ("Bearer  abcdefghijklmnop1", "Bearer  REDACTED"),
        ("Bearer\n  abcdefghijklmnop1", "Bearer\n  REDACTED"),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: Basic REDACTED"),
        ("Basic dXNlcjpwdw==", "Basic REDACTED"),
        ("Basic understanding, a basic-auth proxy", "Basic understanding, a basic-auth proxy"),
        ("authorization=Bearer+abcdefgh1&x=1", "authorization=Bearer+REDACTED&x=1"),
        (r#"{"cmd":"x\nsk-0123456789abcdef"}"#, r#"{"cmd":"x\nREDACTED"}"#),
        (r#"{"h":"x\\nsk-0123456789abcdef\u003c"}"#, r#"{"h":"x\\nREDACTED\u003c"}"#),
        (r#"{"Authorization":"Bearer\tabc"}"#, r#"{"Authorization":"Bearer\tREDACTED"}"#),
        (r#"{"h":"Bearer\tabcdefgh"}"#, r#"{"h":"Bearer\tREDACTED"}"#),
        ("**sk-0123456789abcdef**", "**REDACTED**"),
        ("__sk-0123456789abcdef", "__REDACTED"),
        ("a|sk-0123456789abcdef|b", "a|REDACTED|b"),
        ("<code>sk-0123456789abcdef</code>", "<code>REDACTED</code>"),
        ("x;sk-0123456789abcdef", "x;REDACTED"),
        ("https://a/b?c&key/sk-0123456789abcdef&d", "https://a/b?c&key/REDACTED&d"),
        ("密钥sk-0123456789abcdef。", "密钥REDACTED。"),
        ("task-force-of-sixteen disk-0123456789abcdef", "task-force-of-sixteen disk-0123456789abcdef"),
        (r"a path C:\\new, \", r"a path C:\\new, \"),
        ("postgres://u:p@h?x=Bearer abcdefgh1", "REDACTED REDACTED"),
    ] {
        assert_eq!(redaction::redact(text), expected);
    }
}

#[test]
fn a_side_that_is_hidden_is_not_read() {
    let mut content = ModelContent::new(ContentSides { inputs: false, outputs: false });
    content.read_request(b"{\"prompt\":\"hi\"}");
    content.read_response(b"{\"choices\":[{\"text\":\"ho\"}]}", false);
    assert!(content.input.is_empty() && content.output().is_empty());
}

#[test]
fn instructions_leave_room_for_messages() {
    let body = json!({"system": "s".repeat(40 << 10), "messages": [{"role": "user", "content": "newest"}]});
    let (instructions, messages) = input(&body);
    assert_eq!(instructions[0]["content"].as_str().unwrap().len(), MAX_INSTRUCTIONS - 32);
    assert_eq!(messages, [text("user", "newest")]);
}

#[test]
fn many_small_parts_are_bounded_as_long_texts_are() {
    let parts = vec![json!({"type": "text", "text": "x"}); 30_000];
    let (_, messages) = input(&json!({"messages": [{"role": "user", "content": parts}]}));
    assert_eq!(messages[0]["parts"].as_array().unwrap().len(), 256);
    let short: Vec<_> =
        (0..64).map(|_| json!({"role": "user", "content": vec![json!({"type": "text", "text": "x"}); 400]})).collect();
    let (_, messages) = input(&json!({"messages": short}));
    let length = json!(messages).to_string().len();
    assert!(length < 2 * MAX_TEXT, "{length}");
}

#[test]
fn the_end_of_a_long_stream_is_read() {
    let event = |chunk: Value| format!("data: {}\n\n", json!({"choices": [chunk]}));
    let long = event(json!({"delta": {"content": "y".repeat(1000)}})).repeat(50);
    let call = json!({"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}});
    let end = event(json!({"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}));
    let message = &output(&format!("{long}{end}"), true, 4096)[0];
    assert_eq!(message["finish_reason"], "tool_calls");
    assert_eq!((&message["parts"][1]["name"], &message["parts"][1]["id"]), (&json!("f"), &json!("c")));
    let completed = json!({"type": "response.completed", "response": {"status": "completed", "output": [
        {"type": "message", "content": [{"type": "output_text", "text": "all"}]}]}});
    let delta = json!({"type": "response.output_text.delta", "delta": "z".repeat(40 << 10)});
    let whole = &output(&format!("data: {delta}\n\ndata: {completed}\n\n"), true, 4096)[0];
    assert_eq!((&whole["finish_reason"], &whole["parts"][0]["content"]), (&json!("completed"), &json!("all")));
}

#[test]
fn reasoning_takes_no_room_from_the_answer() {
    let event = |delta: Value| format!("data: {}\n\n", json!({"choices": [{"delta": delta}]}));
    let long = event(json!({"reasoning_content": "r".repeat(1000)})).repeat(50);
    let message = &output(&format!("{long}{}", event(json!({"content": "answer"}))), true, 4096)[0];
    assert_eq!(message["parts"][1], json!({"type": "text", "content": "answer"}));
    assert!(message["parts"][0]["content"].as_str().unwrap().len() > MAX_TEXT / 2);
}
