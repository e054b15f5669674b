//! Structured outputs, token counts, models by name, images.

use http::{Method, StatusCode};
use pailou_sim::Config;
use serde_json::{Value, json};

use crate::client::{Client, instant, request, start, text};

async fn get(client: &mut Client, path: &str) -> (StatusCode, Value) {
    let response = client.send(request(Method::GET, path, "")).await.expect("the server answers");
    let status = response.status();
    (status, serde_json::from_str(&text(response).await).expect("the answer is JSON"))
}

#[tokio::test]
async fn an_answer_has_the_form_that_its_schema_asks_for() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["city", "days"],
        "properties": {"city": {"type": "string", "maxLength": 5}, "days": {"type": "integer", "minimum": 2}, "other": {"type": "null"}},
    });
    let expected = json!({"city": "Paris", "days": 2});
    let format = json!({"type": "json_schema", "json_schema": {"name": "trip", "strict": true, "schema": schema}});
    let mut chat = json!({"model": "qwen", "messages": [{"role": "user", "content": "Paris?"}], "response_format": format});
    let (_, whole) = client.json("/v1/chat/completions", &chat).await;
    let said = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(
        (serde_json::from_str::<Value>(said).unwrap(), &whole["choices"][0]["finish_reason"]),
        (expected.clone(), &json!("stop"))
    );
    chat["stream"] = true.into();
    let events = client.stream("/v1/chat/completions", &chat).await;
    let streamed: String = events.iter().filter_map(|event| event.data["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(streamed, said);
    chat["response_format"] = json!({"type": "json_object"});
    chat["stream"] = false.into();
    let (_, object) = client.json("/v1/chat/completions", &chat).await;
    let said = object["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(said).unwrap().is_object());
    for wrong in [json!({"type": "yaml"}), json!({"type": "json_schema"})] {
        chat["response_format"] = wrong;
        assert_eq!(client.json("/v1/chat/completions", &chat).await.0, 400);
    }
    let response =
        json!({"model": "qwen", "input": "Paris?", "text": {"format": {"type": "json_schema", "name": "trip", "schema": schema}}});
    let (_, response) = client.json("/v1/responses", &response).await;
    let said = response["output"][0]["content"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(said).unwrap(), expected);
}

#[tokio::test]
async fn tokens_are_counted_as_a_message_has_them() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let mut body = json!({"model": "qwen", "system": "be brief", "messages": [{"role": "user", "content": "hello there"}]});
    let (status, counted) = client.json("/v1/messages/count_tokens", &body).await;
    body["max_tokens"] = 1.into();
    let (_, message) = client.json("/v1/messages", &body).await;
    let usage = &message["usage"];
    let read = usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!((status, counted["input_tokens"].as_u64()), (StatusCode::OK, Some(read)));
    body.as_object_mut().unwrap().remove("max_tokens");
    let (status, error) = client.json("/v1/messages", &body).await;
    assert_eq!((status, &error["error"]["type"]), (StatusCode::BAD_REQUEST, &json!("invalid_request_error")));
    body["model"] = "none".into();
    let (status, error) = client.json("/v1/messages/count_tokens", &body).await;
    assert_eq!((status, &error["error"]["type"]), (StatusCode::NOT_FOUND, &json!("not_found_error")));
}

#[tokio::test]
async fn a_model_is_found_by_its_name() {
    let sim = start(Config { adapters: vec!["team/style".to_owned()], ..Config::new("one", ["qwen"]).instant() }).await;
    let mut client = Client::connect(sim.addr()).await;
    for (path, id) in
        [("/v1/models/qwen", "qwen"), ("/v1/models/team/style", "team/style"), ("/v1/models/team%2Fstyle", "team/style")]
    {
        let (status, card) = get(&mut client, path).await;
        assert_eq!((status, card["id"].as_str()), (StatusCode::OK, Some(id)));
    }
    assert_eq!(get(&mut client, "/v1/models/none").await.0, 404);
}

#[tokio::test]
async fn images_come_out_and_go_in() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let (_, made) = client.json("/v1/images/generations", &json!({"model": "qwen", "prompt": "a gate", "n": 2})).await;
    assert_eq!(made["data"].as_array().unwrap().len(), 2);
    let image = made["data"][0]["b64_json"].as_str().unwrap();
    assert!(image.starts_with("iVBORw0KGgo"), "a PNG: {image}");
    assert_eq!(client.json("/v1/images/generations", &json!({"prompt": "x", "n": 11})).await.0, 400);
    let mut tokens = Vec::new();
    for images in 0..3 {
        let image = json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{image}")}});
        let content: Vec<_> = std::iter::once(json!({"type": "text", "text": "what is it?"})).chain(vec![image; images]).collect();
        let chat = json!({"model": "qwen", "messages": [{"role": "user", "content": content}], "max_tokens": 1});
        tokens.push(client.json("/v1/chat/completions", &chat).await.1["usage"]["prompt_tokens"].as_u64().unwrap());
    }
    assert!(tokens[0] < tokens[1] && tokens[1] < tokens[2], "{tokens:?}");
}
