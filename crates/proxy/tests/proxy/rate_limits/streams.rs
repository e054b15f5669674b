//! Reservations of tokens: streams of unknown length, prompts, backends that are too slow.

use super::*;

/// A limit of tokens under this key.
fn tokens(limit: u64, key: &str) -> String {
    format!(
        "{{global: {{rules: [{{limit: {{requests: {limit}, unit: Year}}, cost: {{request: {{from: Number, number: 0}}, response: {{from: Metadata, \
         metadata: {{namespace: io.envoy.ai_gateway, key: {key}}}}}}}}}]}}}}"
    )
}

/// A chat call with this body.
fn chat(body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

const STREAM: &str = r#"{"model":"qwen","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

#[tokio::test]
async fn a_hundred_streams_of_unknown_length_after_small_answers_see_each_other() {
    // 30 answers of 25 tokens, and 5 of 8 of the prompt and 256.
    let (gateway, mut engine) = serve(&tokens(30 * 25 + 5 * 264, "llm_total_token")).await;
    for _ in 0..30 {
        let request = call("");
        let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
        assert_eq!(status(&answer), "200");
    }
    let address = gateway.address;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        calls.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(chat(STREAM).as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
    }
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(engine.next().await);
    }
    // All others are refused while these five go on.
    for _ in 0..95 {
        let answer = tokio::time::timeout(Duration::from_secs(60), calls.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(status(&answer), "429");
    }
    for stream in &mut streams {
        stream.write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
    }
    assert!(calls.join_all().await.iter().all(|answer| status(answer) == "500"));
}

#[tokio::test]
async fn room_that_is_held_grows_with_a_stream() {
    let (gateway, mut engine) = serve(&tokens(1_000, "llm_output_token")).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(chat(STREAM).as_bytes()).await.unwrap();
    let mut upstream = engine.next().await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await.unwrap();
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let (mut read, mut seen) = (Vec::new(), 0);
    let mut reserved = Vec::new();
    for more in [100, 300, 300] {
        seen += more;
        upstream.write_all(event.repeat(more).as_bytes()).await.unwrap();
        while String::from_utf8_lossy(&read).matches("data: ").count() < seen {
            assert!(client.read_buf(&mut read).await.unwrap() > 0);
        }
        reserved.push(gateway.proxy.limits(&CounterQuery::default())[0].reserved);
    }
    assert_eq!(reserved[0], 256);
    assert!(reserved[1] >= 400 && reserved[2] >= 700 && reserved[2] <= 1_000, "{reserved:?}");
    // The stream is whole; what it says of itself counts.
    drop((upstream, client));
}

#[tokio::test]
async fn a_backend_that_is_too_slow_costs_the_prompt() {
    let engine = Engine::start().await;
    let rule = TO_ENGINE.replacen('{', "{timeouts: {request: 300ms}, ", 1);
    let gateway =
        Gateway::serve(&[route(&rule), backend("engine", engine.address, ""), policy(&tokens(1_000, "llm_total_token"))].concat());
    let answer = gateway.raw(&call("")).await;
    assert_eq!(status(&answer), "504");
    let counter = &gateway.proxy.limits(&CounterQuery::default())[0];
    assert_eq!((counter.spent, counter.reserved), (8, 0));
}

#[tokio::test]
async fn all_texts_of_a_body_count_as_its_prompt() {
    let (gateway, mut engine) = serve(&tokens(1_000_000, "llm_input_token")).await;
    let tools = format!(r#"[{{"type":"function","function":{{"name":"f","description":"{}"}}}}]"#, "d".repeat(4_000));
    let mut spent = 0;
    for (body, expected) in [
        (format!(r#"{{"model":"qwen","messages":[],"tools":{tools}}}"#), 1_000..1_100),
        (format!(r#"{{"model":"qwen","messages":[],"prompt":"{0}","input":["{0}","{0}"]}}"#, "p".repeat(4_000)), 3_000..3_100),
        (format!(r#"{{"model":"qwen","messages":[],"system":[{{"type":"text","text":"{}"}}]}}"#, "s".repeat(4_000)), 1_000..1_100),
    ] {
        let request = chat(&body);
        let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
        let left: u64 = header(&answer, "x-ratelimit-remaining").unwrap().parse().unwrap();
        let held = 1_000_000 - left - spent;
        assert!(expected.contains(&held), "{held} {}", &body[..60]);
        spent += 5;
    }
}
