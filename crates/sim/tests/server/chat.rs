use serde_json::{Value, json};

use crate::client::{Client, instant, request};

const CHAT: &str = "/v1/chat/completions";

fn chat(content: &str) -> Value {
    json!({"model": "qwen", "messages": [{"role": "user", "content": content}]})
}

fn with(mut body: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().expect("the fields are an object") {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn whole_and_streamed_answers_say_the_same() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let (status, whole) = client.json(CHAT, &chat("Tell me of 牌樓.")).await;
    assert_eq!(status, 200);
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["model"], "qwen");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    let body = with(chat("Tell me of 牌樓."), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let events = client.stream(CHAT, &body).await;
    let deltas = || events.iter().filter_map(|event| event.data["choices"][0]["delta"]["content"].as_str());
    assert_eq!(deltas().collect::<String>(), whole["choices"][0]["message"]["content"].as_str().unwrap());
    let tokens = whole["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(deltas().count() as u64, tokens + 1, "one chunk a token, and one with the role");
    assert_eq!(events[0].data["choices"][0]["delta"]["role"], "assistant");
    let [.., finish, usage, done] = events.as_slice() else { panic!("too few events") };
    assert_eq!(finish.data["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish.data["usage"], Value::Null);
    assert_eq!(usage.data["choices"], json!([]));
    assert_eq!(usage.data["usage"]["completion_tokens"], tokens);
    assert_eq!(done.data, "[DONE]");
}

#[tokio::test]
async fn max_tokens_and_stop_cut_the_answer() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let (_, cut) = client.json(CHAT, &with(chat("hello"), json!({"max_tokens": 3}))).await;
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(cut["usage"]["completion_tokens"], 3);
    let (_, stopped) = client.json(CHAT, &with(chat("hello"), json!({"stop": "said"}))).await;
    assert_eq!(stopped["choices"][0]["message"]["content"], "You ");
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    let (_, long) = client.json(CHAT, &with(chat("hello"), json!({"max_tokens": 400, "ignore_eos": true}))).await;
    assert_eq!(long["usage"]["completion_tokens"], 400);
}

#[tokio::test]
async fn several_choices_come_whole_and_interleaved() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let (_, whole) = client.json(CHAT, &with(chat("hello"), json!({"n": 3, "max_tokens": 20}))).await;
    let texts: Vec<_> = (0..3).map(|i| whole["choices"][i]["message"]["content"].as_str().unwrap()).collect();
    assert_ne!(texts[0], texts[1]);
    assert_eq!(whole["usage"]["completion_tokens"], 60);
    let body = with(chat("hello"), json!({"n": 3, "max_tokens": 20, "stream": true}));
    let mut streamed = vec![String::new(); 3];
    for event in client.stream(CHAT, &body).await {
        let choice = &event.data["choices"][0];
        if let Some(text) = choice["delta"]["content"].as_str() {
            streamed[choice["index"].as_u64().unwrap() as usize].push_str(text);
        }
    }
    assert_eq!(streamed, texts);
}

#[tokio::test]
async fn a_tool_is_called_whole_and_streamed_and_its_result_is_spoken_of() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tools = json!({"tools": [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]});
    let (_, whole) = client.json(CHAT, &with(chat("Paris"), tools.clone())).await;
    let message = &whole["choices"][0]["message"];
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(message["content"], Value::Null);
    assert_eq!(message["tool_calls"][0]["function"], json!({"name": "weather", "arguments": r#"{"city":"Paris"}"#}));

    let events = client.stream(CHAT, &with(with(chat("Paris"), tools.clone()), json!({"stream": true}))).await;
    let calls = || events.iter().map(|event| &event.data["choices"][0]["delta"]["tool_calls"][0]["function"]);
    assert_eq!(calls().find_map(|call| call["name"].as_str()), Some("weather"));
    let arguments: String = calls().filter_map(|call| call["arguments"].as_str()).collect();
    assert_eq!(arguments, r#"{"city":"Paris"}"#);

    let mut second = with(chat("Paris"), tools);
    let turns = second["messages"].as_array_mut().unwrap();
    turns.push(message.clone());
    turns.push(json!({"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"}));
    let (_, spoken) = client.json(CHAT, &second).await;
    assert_eq!(spoken["choices"][0]["finish_reason"], "stop");
    assert!(spoken["choices"][0]["message"]["content"].is_string());
}

#[tokio::test]
async fn the_next_turn_finds_the_conversation_cached() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let mut body = chat(&"a long question ".repeat(20));
    let (_, first) = client.json(CHAT, &body).await;
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(first["choices"][0]["message"].clone());
    turns.push(json!({"role": "user", "content": "and then?"}));
    let (_, second) = client.json(CHAT, &body).await;
    let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let told = first["usage"]["total_tokens"].as_u64().unwrap();
    assert!(cached > told - 32 && cached <= told, "{cached} of {told} tokens were found");
    let (_, salted) = client.json(CHAT, &with(body, json!({"cache_salt": "mine"}))).await;
    assert_eq!(salted["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let cases = [
        (with(chat("x"), json!({"model": "nobody"})), 404, "`nobody` does not exist"),
        (json!({"model": "qwen"}), 400, "messages"),
        (json!({"model": "qwen", "messages": []}), 400, "must not be empty"),
        (with(chat("x"), json!({"n": 99})), 400, "`n`"),
        (with(chat("x"), json!({"max_tokens": 0})), 400, "max_tokens"),
        (with(chat("x"), json!({"max_tokens": 40000})), 400, "maximum context length is 32768"),
        (chat(&"word".repeat(33_000)), 400, "maximum context length is 32768"),
    ];
    for (body, status, words) in cases {
        let (got, error) = client.json(CHAT, &body).await;
        assert_eq!(got, status);
        assert_eq!(error["error"]["code"], status);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    let malformed = request(http::Method::POST, CHAT, r#"{"model": "qwen","#);
    assert_eq!(client.send(malformed).await.unwrap().status(), 400);
}

#[tokio::test]
async fn of_a_repeated_key_the_last_counts() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let twice = r#"{"model":"nobody","model":"qwen","messages":[{"role":"user","content":"x"}]}"#;
    assert_eq!(client.send(request(http::Method::POST, CHAT, twice)).await.unwrap().status(), 200);
}
