//! Forms of requests beside chats: each API's limits and transfer, in its own place.

use pailou_e2e::client::Call;
use pailou_sim::{KvConnector, Role};
use serde_json::{Value, json};

use super::{apart, outcomes, serve_apart, two};

/// A prompt of more than 512 tokens in each form, by a topic; with a path, and where the answer's limit is.
fn forms(topic: &str) -> [(&'static str, Value); 4] {
    let text = format!("{topic}: {}", "what the model is to know. ".repeat(120));
    let ids: Vec<u32> = pailou_sim::tokenizer::tokens(&text).map(pailou_sim::tokenizer::token_id).collect();
    [
        ("/v1/completions", json!({"model": "qwen", "prompt": text, "max_tokens": 12})),
        ("/v1/responses", json!({"model": "qwen", "input": text, "max_output_tokens": 12})),
        (
            "/v1/messages",
            json!({
                "model": "qwen", "max_tokens": 12, "system": "Be brief.", "messages": [{"role": "user", "content": text}],
            }),
        ),
        (
            "/inference/v1/generate",
            json!({
                "model": "qwen", "token_ids": ids, "sampling_params": {"max_tokens": 12, "extra_args": {"x": 1}},
            }),
        ),
    ]
}

/// The generated output, without identifiers and times.
fn generated(reply: &Value) -> Value {
    let list = ["choices", "output", "content"].into_iter().find_map(|name| reply.get(name)).expect("an answer").clone();
    let mut text = list.to_string();
    if let Some(id) = list[0]["id"].as_str() {
        text = text.replace(id, "");
    }
    text.into()
}

#[tokio::test]
async fn a_long_prompt_of_any_form_is_computed_by_one_engine_and_answered_by_another() {
    for connector in [KvConnector::Nixl, KvConnector::Mooncake] {
        let [p, d] = two(connector).await;
        let gateway = serve_apart(connector, &[(&p, "prefill"), (&d, "decode")]).await;
        let alone = apart("alone", Role::Both, connector).await;
        let mut served = 0;
        for place in 0..4 {
            for stream in [false, true] {
                // Another prompt each time, for the first is cached where it was decoded.
                let (path, mut body) = forms(&format!("{place} {stream}"))[place].clone();
                body["stream"] = stream.into();
                let reply = Call::json(path, body.to_string()).send(gateway.http()).await;
                assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"), "{connector:?} {path}: {}", reply.text());
                served += 1;
                assert_eq!((p.stats().kv_sent, d.stats().kv_received), (served, served), "{connector:?} {path}");
                let whole = Call::json(path, body.to_string()).send(alone.addr()).await;
                if stream {
                    assert!(reply.header("content-type").starts_with("text/event-stream"), "{connector:?} {path}");
                    assert_eq!(reply.text().matches("data:").count(), whole.text().matches("data:").count(), "{path}");
                } else {
                    assert_eq!(generated(&reply.json()), generated(&whole.json()), "{connector:?} {path}");
                }
            }
        }
        assert_eq!(outcomes(&gateway, "remote").await, served as f64);
        assert_eq!(p.stats().kv_held, 0);
    }
}

#[tokio::test]
async fn what_one_engine_must_answer_by_itself_is_not_told_apart() {
    let [p, d] = two(KvConnector::Nixl).await;
    let gateway = serve_apart(KvConnector::Nixl, &[(&p, "prefill"), (&d, "decode")]).await;
    let [_, (responses, response), _, (generate, generation)] = forms("gates");
    let with = |body: &Value, name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    for (path, body) in [
        (responses, with(&response, "previous_response_id", json!("resp_1"))),
        (responses, with(&response, "tools", json!([{"type": "web_search"}]))),
        (generate, with(&generation, "sampling_params", json!({"n": 2, "max_tokens": 4}))),
        (generate, with(&generation, "sampling_params", json!({"max_tokens": 4, "prompt_logprobs": 1}))),
    ] {
        let reply = Call::json(path, body.to_string()).send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"), "{path}: {}", reply.text());
    }
    assert_eq!((p.stats().requests, outcomes(&gateway, "local").await), (0, 4.0));
}

/// Settings stay where they were, but for those of the part.
#[tokio::test]
async fn the_transfer_of_tokens_for_tokens_is_among_the_settings_of_the_engine() {
    let [p, d] = two(KvConnector::Nixl).await;
    let gateway = serve_apart(KvConnector::Nixl, &[(&p, "prefill"), (&d, "decode")]).await;
    for (topic, extra) in
        [("one", json!({"x": 1})), ("two", Value::Null), ("three", json!({"kv_transfer_params": {"remote_host": "h"}}))]
    {
        let [.., (path, mut body)] = forms(topic);
        body["sampling_params"] = json!({"temperature": 0.5, "max_tokens": 12, "extra_args": extra});
        let reply = Call::json(path, body.to_string()).echo().send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"), "{}", reply.text());
        // The prefill's reply was an echo, too, and handed nothing over: the decode is whole.
        let sent: Value = serde_json::from_str(reply.json()["body"].as_str().expect("a body")).expect("JSON");
        assert_eq!((&sent["sampling_params"]["temperature"], &sent["sampling_params"]["max_tokens"]), (&json!(0.5), &json!(12)));
        assert_eq!(sent["sampling_params"]["extra_args"]["kv_transfer_params"], Value::Null);
    }
    assert_eq!(outcomes(&gateway, "fallback").await, 3.0);
}
