use std::sync::Arc;

use http::Method;
use pailou_sim::{Config, Sim};
use pailou_tokenizer::{ModelFiles, ModelTokenizer};
use serde_json::{Value, json};

use crate::client::{Client, instant, request, text};

#[tokio::test]
async fn embeddings_are_floats_or_base64_of_the_same_vector() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let mut body = json!({"model": "qwen", "input": ["one", "two"], "dimensions": 6});
    let (_, floats) = client.json("/v1/embeddings", &body).await;
    assert_eq!(floats["data"][1]["index"], 1);
    assert_eq!(floats["data"][0]["embedding"].as_array().unwrap().len(), 6);
    assert_ne!(floats["data"][0]["embedding"], floats["data"][1]["embedding"]);
    assert_eq!(floats["usage"]["prompt_tokens"], 2);
    body["encoding_format"] = "base64".into();
    let (_, encoded) = client.json("/v1/embeddings", &body).await;
    assert_eq!(encoded["data"][0]["embedding"].as_str().unwrap().len(), 32);
    body["dimensions"] = 100_000.into();
    assert_eq!(client.json("/v1/embeddings", &body).await.0, 400);
}

#[tokio::test]
async fn responses_stream_goes_through_its_lifecycle() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let mut body = json!({"model": "qwen", "input": "hello", "instructions": "be brief", "max_output_tokens": 5});
    let (_, whole) = client.json("/v1/responses", &body).await;
    assert_eq!((&whole["status"], &whole["usage"]["output_tokens"]), (&json!("incomplete"), &json!(5)));
    let said = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    body["stream"] = true.into();
    let events = client.stream("/v1/responses", &body).await;
    let mut names: Vec<_> = events.iter().map(|event| event.name.as_deref().unwrap()).collect();
    names.dedup();
    let lifecycle = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ];
    assert_eq!(names, lifecycle);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event.data["sequence_number"], number);
        assert_eq!(event.data["type"], event.name.as_deref().unwrap());
    }
    assert_eq!(events.iter().filter_map(|event| event.data["delta"].as_str()).collect::<String>(), said);
    let last = &events.last().unwrap().data["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], said);
}

#[tokio::test]
async fn responses_call_functions() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let parameters = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let tools = json!([{"type": "function", "name": "count", "parameters": parameters}]);
    let (_, whole) = client.json("/v1/responses", &json!({"model": "qwen", "input": "go", "tools": tools})).await;
    assert_eq!(whole["status"], "completed");
    let item = &whole["output"][0];
    assert_eq!((&item["type"], &item["arguments"]), (&json!("function_call"), &json!(r#"{"n":1}"#)));
}

#[tokio::test]
async fn messages_stream_goes_through_its_lifecycle() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let mut body = json!({
        "model": "qwen", "max_tokens": 4, "system": [{"type": "text", "text": "be brief"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    });
    let (_, whole) = client.json("/v1/messages", &body).await;
    assert_eq!((&whole["type"], &whole["stop_reason"]), (&json!("message"), &json!("max_tokens")));
    assert_eq!(whole["usage"]["output_tokens"], 4);
    body["stream"] = true.into();
    let events = client.stream("/v1/messages", &body).await;
    let mut names: Vec<_> = events.iter().map(|event| event.name.as_deref().unwrap()).collect();
    names.dedup();
    let lifecycle =
        ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"];
    assert_eq!(names, lifecycle);
    let said: String = events.iter().filter_map(|event| event.data["delta"]["text"].as_str()).collect();
    assert_eq!(whole["content"][0]["text"], said);
    body["model"] = "nobody".into();
    let (status, error) = client.json("/v1/messages", &body).await;
    assert_eq!((status.as_u16(), &error["error"]["type"]), (404, &json!("not_found_error")));
}

#[tokio::test]
async fn messages_use_tools() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let body = json!({
        "model": "qwen", "max_tokens": 50, "tools": [{"name": "weather", "input_schema": schema}],
        "messages": [{"role": "user", "content": "Paris"}],
    });
    let (_, whole) = client.json("/v1/messages", &body).await;
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!(whole["content"][0]["input"], json!({"city": "Paris"}));
}

#[tokio::test]
async fn documents_are_ranked_and_pairs_scored() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let body = json!({
        "model": "qwen", "query": "stone gate", "top_n": 2,
        "documents": ["a boat", "a gate of stone", {"text": "a gate"}],
    });
    for path in ["/v1/rerank", "/rerank"] {
        let (_, ranked) = client.json(path, &body).await;
        let order: Vec<_> = ranked["results"].as_array().unwrap().iter().map(|result| &result["index"]).collect();
        assert_eq!(order, [1, 2]);
    }
    let body = json!({"model": "qwen", "text_1": "gate", "text_2": ["gate", "boat"]});
    for path in ["/v1/score", "/score"] {
        let (_, scores) = client.json(path, &body).await;
        assert!(scores["data"][0]["score"].as_f64() > scores["data"][1]["score"].as_f64());
    }
    let uneven = json!({"model": "qwen", "text_1": ["a", "b"], "text_2": ["c"]});
    assert_eq!(client.json("/score", &uneven).await.0, 400);
}

#[tokio::test]
async fn text_becomes_tokens_and_text_again() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let text = "The gate 牌樓 stands.";
    let (_, tokens) = client.json("/tokenize", &json!({"model": "qwen", "prompt": text})).await;
    assert_eq!(tokens["count"], tokens["tokens"].as_array().unwrap().len());
    let (_, back) = client.json("/detokenize", &json!({"model": "qwen", "tokens": tokens["tokens"]})).await;
    assert_eq!(back["prompt"], text);
    assert_eq!(client.json("/detokenize", &json!({"model": "qwen", "tokens": [255]})).await.0, 400);
    let completion = json!({"model": "qwen", "prompt": tokens["tokens"], "echo": true, "max_tokens": 1});
    let (_, completed) = client.json("/v1/completions", &completion).await;
    assert!(completed["choices"][0]["text"].as_str().unwrap().starts_with(text));
}

#[tokio::test]
async fn special_tokens_come_with_a_completion_unless_the_request_says_otherwise() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tokenizer/tests/data/llama3.json");
    let files = ModelFiles { tokenizer: std::fs::read(path).unwrap(), ..ModelFiles::default() };
    let tokenizer = Some(Arc::new(ModelTokenizer::new(&files).unwrap()));
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), tokenizer, ..Config::new("sim", ["qwen"]).instant() };
    let sim = Sim::start(config).await.unwrap();
    let mut client = Client::connect(sim.addr()).await;
    let mut counts = Vec::new();
    for adds in [json!(null), json!(true), json!(false)] {
        let body = json!({"model": "qwen", "prompt": "The gate", "add_special_tokens": adds, "max_tokens": 1});
        let (_, tokens) = client.json("/tokenize", &body).await;
        let (_, rendered) = client.json("/v1/completions/render", &body).await;
        let (_, completed) = client.json("/v1/completions", &body).await;
        assert_eq!(rendered[0]["token_ids"], tokens["tokens"]);
        assert_eq!(completed["usage"]["prompt_tokens"], tokens["count"]);
        counts.push(tokens["count"].as_u64().unwrap());
    }
    assert_eq!(counts, [counts[2] + 1, counts[2] + 1, counts[2]]);
}

#[tokio::test]
async fn a_recording_is_transcribed_by_its_bytes() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    let mut transcripts = Vec::new();
    for sound in ["RIFF one", "RIFF one", "RIFF two"] {
        let form = format!(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{sound}\r\n\
             --b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nqwen\r\n--b--\r\n"
        );
        let mut sent = request(Method::POST, "/v1/audio/transcriptions", form);
        sent.headers_mut().insert("content-type", "multipart/form-data; boundary=b".parse().unwrap());
        let answer: Value = serde_json::from_str(&text(client.send(sent).await.unwrap()).await).unwrap();
        assert_eq!(answer["usage"]["seconds"], 1);
        transcripts.push(answer["text"].clone());
    }
    assert_eq!(transcripts[0], transcripts[1]);
    assert_ne!(transcripts[0], transcripts[2]);
    let bare = client.json("/v1/audio/transcriptions", &json!({})).await;
    assert_eq!(bare.0, 400);
}

#[tokio::test]
async fn models_version_and_health_answer() {
    let sim = instant().await;
    let mut client = Client::connect(sim.addr()).await;
    assert!(client.get("/v1/models").await.1.contains(r#""id":"qwen""#));
    assert!(client.get("/version").await.1.contains("version"));
    assert_eq!(client.get("/health").await.0, 200);
    assert_eq!(client.get("/v1/chat/completions").await.0, 404);
}
