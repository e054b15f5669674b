//! Routing by the model that a request's body names.

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{objects, wait, wire};
use pailou_sim::{Config, Sim};
use serde_json::{Value, json};

use crate::support::{engine, instant, pool_of};

/// `qwen` and `deepseek-r1` in a pool each, and everything under `/files` to the first without a look at the body.
async fn two_models() -> (Gateway, [Sim; 2]) {
    let engines = [instant("q", "qwen").await, instant("d", "deepseek-r1").await];
    let rules = json!([
        {"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_pool("qwen")]},
        {"matches": [objects::by_model("deepseek-r1")], "backendRefs": [objects::to_pool("deepseek")]},
    ]);
    let files = json!([{"matches": [objects::by_prefix("/files")], "backendRefs": [objects::to_backend("files")]}]);
    let limit = objects::on_gateway("ClientTrafficPolicy", json!({"connection": {"bufferLimit": "64Ki"}}));
    let mut list = vec![objects::gateway(), objects::route("models", rules), objects::route("files", files), limit];
    list.push(objects::backend("files", &[engines[0].addr()]));
    list.extend(pool_of("qwen", &[&engines[0]]));
    list.extend(pool_of("deepseek", &[&engines[1]]));
    (Setup::with(list).serve().await, engines)
}

/// The backend that answers, or the status if none does.
async fn answered_by(gateway: &Gateway, call: Call) -> String {
    let reply = call.echo().send(gateway.http()).await;
    if reply.status == 200 { reply.server().to_owned() } else { reply.status.as_u16().to_string() }
}

#[tokio::test]
async fn the_model_is_found_wherever_it_stands() {
    let (gateway, _engines) = two_models().await;
    let long = "x".repeat(30_000);
    let cases = [
        (r#"{"model":"qwen"}"#.to_owned(), "q"),
        (r#" { "messages" : [ { "model" : "qwen" } ] , "model" : "deepseek-r1" } "#.to_owned(), "d"),
        (format!(r#"{{"prompt":"{long}","model":"deepseek-r1"}}"#), "d"),
        (r#"{"mod\u0065l":"\u0071wen"}"#.to_owned(), "q"),
        (r#"{"model":"qwen","model":"deepseek-r1"}"#.to_owned(), "d"),
        (r#"{"prompt":"\"model\":\"qwen\"","metadata":{"model":"qwen"},"model":"deepseek-r1"}"#.to_owned(), "d"),
        (r#"{"metadata":{"model":"qwen"}}"#.to_owned(), "404"),
        (r#"{"model":"gpt-4"}"#.to_owned(), "404"),
        (r#"{"model":7}"#.to_owned(), "404"),
        (r#"{"model":"qwen""#.to_owned(), "400"),
        (r#"["model","qwen"]"#.to_owned(), "400"),
        (String::new(), "404"),
    ];
    for (body, server) in cases {
        let shown = body.chars().take(80).collect::<String>();
        assert_eq!(answered_by(&gateway, Call::json(CHAT, body)).await, server, "{shown}");
    }
}

#[tokio::test]
async fn every_path_of_a_model_server_is_routed_by_its_body() {
    let (gateway, _engines) = two_models().await;
    for path in ["completions", "responses", "embeddings", "rerank", "score", "messages", "chat/completions"] {
        let call = Call::json(&format!("/v1/{path}"), r#"{"input":"a","model":"deepseek-r1"}"#);
        assert_eq!(answered_by(&gateway, call).await, "d", "{path}");
    }
    for path in ["/tokenize", "/rerank"] {
        assert_eq!(answered_by(&gateway, Call::json(path, r#"{"model":"deepseek-r1","prompt":"a"}"#)).await, "d", "{path}");
    }
}

#[tokio::test]
async fn a_clients_own_model_header_never_counts() {
    let (gateway, _engines) = two_models().await;
    let forged = |body: &'static str| Call::json(CHAT, body).header("X-Gateway-Model-Name", "qwen");
    assert_eq!(answered_by(&gateway, forged(r#"{"model":"deepseek-r1"}"#)).await, "d");
    assert_eq!(answered_by(&gateway, forged("{}")).await, "404");
    assert_eq!(answered_by(&gateway, Call::get("/v1/files").header("X-Gateway-Model-Name", "qwen")).await, "404");
    let passed = Call::json("/files/a", r#"{"model":"deepseek-r1"}"#).header("x-gateway-model-name", "forged").echo();
    let received = passed.send(gateway.http()).await.received("x-gateway-model-name");
    assert!(!received.contains("forged"), "{received}");
}

#[tokio::test]
async fn the_engine_is_told_the_model() {
    let (gateway, _engines) = two_models().await;
    let reply = Call::json(CHAT, r#"{"model":"deepseek-r1"}"#).echo().send(gateway.http()).await;
    assert_eq!(reply.received("x-gateway-model-name"), "deepseek-r1");
    assert_eq!(reply.json()["body"], r#"{"model":"deepseek-r1"}"#);
}

#[tokio::test]
async fn an_unknown_model_is_told_in_the_clients_terms() {
    let (gateway, _engines) = two_models().await;
    let reply = Call::chat("gpt-4\"<b>", "hello").send(gateway.http()).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (404, "application/json"));
    let error = &reply.json()["error"];
    assert_eq!(error["code"], "model_not_found");
    assert!(error["type"].is_string() && error["message"].as_str().unwrap().contains("gpt-4"), "{error}");
    let messages = Call::json("/v1/messages", r#"{"model":"claude","max_tokens":5,"messages":[]}"#).send(gateway.http()).await;
    assert_eq!(messages.status, 404);
    assert_eq!((&messages.json()["type"], &messages.json()["error"]["type"]), (&json!("error"), &json!("not_found_error")));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_or_not_it_says_its_length() {
    let (gateway, engines) = two_models().await;
    let body = format!(r#"{{"model":"qwen","prompt":"{}"}}"#, "x".repeat(64 << 10));
    let reply = Call::json("/v1/completions", body.clone()).send(gateway.http()).await;
    assert_eq!(reply.status, 413);
    assert!(reply.json()["error"]["message"].is_string());
    let mut wire = wire::Wire::connect(gateway.http()).await;
    let head = "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    wire.write(head).await.unwrap();
    // The answer may come, and the connection be closed, before everything is sent.
    let _ = wire.chunk(body).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 413 "));
    assert_eq!(engines[0].stats().requests, 0, "nothing of it reaches an engine");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_needs_no_look_streams_through_whatever_its_size() {
    const LENGTH: usize = 200 << 20;
    let (gateway, engines) = two_models().await;
    drop(engines);
    let sink = wire::Server::start(|mut wire| async move {
        let head = wire.head().await;
        let length: usize = wire::header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut read = 0;
        while read < length {
            read += wire.some().await?.len();
        }
        wire.answer(200, &json!({ "read": read }).to_string()).await
    })
    .await;
    let rules = json!([{"matches": [objects::by_prefix("/files")], "backendRefs": [objects::to_backend("files")]}]);
    let limit = objects::on_gateway("ClientTrafficPolicy", json!({"connection": {"bufferLimit": "64Ki"}}));
    gateway.save_objects([objects::gateway(), objects::route("files", rules), objects::backend("files", &[sink.address]), limit]);
    let arrived = async {
        while sink.connections() == 0 {
            Call::post("/files/a", "x").send(gateway.http()).await;
        }
    };
    wait::within("the new backend is used", arrived).await;

    let before = gateway.memory();
    let mut wire = wire::Wire::connect(gateway.http()).await;
    wire.write(format!("POST /files/big HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n")).await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut most = 0;
    for sent in 0..LENGTH >> 20 {
        wire.write(&piece).await.unwrap();
        if sent % 10 == 0 {
            most = most.max(gateway.memory());
        }
    }
    assert!(wire.head().await.starts_with("HTTP/1.1 200 "));
    let grown = most.saturating_sub(before) >> 20;
    println!("200 MiB passed; memory grew by {grown} MiB");
    assert!(grown < 24, "memory grew by {grown} MiB");
}

#[tokio::test]
async fn a_transcription_is_routed_by_its_form() {
    let (gateway, _engines) = two_models().await;
    let sound = "RIFF\0\r\n--not the boundary\r\nname=\"model\"\r\n\r\nqwen".repeat(50);
    let body = format!(
        "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: audio/wav\r\n\r\n{sound}\r\n\
         --b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ndeepseek-r1\r\n--b0--\r\n"
    );
    let call = Call::post("/v1/audio/transcriptions", body.clone()).header("content-type", "multipart/form-data; boundary=b0");
    let echo = call.clone().echo().send(gateway.http()).await;
    assert_eq!((echo.server(), &echo.json()["body"]), ("d", &Value::from(body)));
    let reply = call.send(gateway.http()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.json()["text"].is_string());
}

#[tokio::test]
async fn the_apis_answer_through_the_gateway() {
    let (gateway, _engines) = two_models().await;
    let messages = r#"{"model":"qwen","max_tokens":20,"messages":[{"role":"user","content":"hello"}]}"#;
    let reply = Call::json("/v1/messages", messages).send(gateway.http()).await;
    assert_eq!((&reply.json()["type"], &reply.json()["role"]), (&json!("message"), &json!("assistant")), "{}", reply.text());
    let stream = Call::json("/v1/messages", messages.replacen('{', r#"{"stream":true,"#, 1)).send(gateway.http()).await.text();
    assert!(stream.starts_with("event: message_start\n") && stream.contains("event: message_stop"), "{stream}");
    let reply = Call::json("/v1/embeddings", r#"{"model":"qwen","input":["a","b"]}"#).send(gateway.http()).await;
    assert_eq!(reply.json()["data"].as_array().unwrap().len(), 2);
    let reply = Call::json("/v1/responses", r#"{"model":"qwen","input":"hello"}"#).send(gateway.http()).await;
    assert_eq!(reply.json()["object"], "response");
}

#[tokio::test]
async fn an_adapter_is_routed_by_its_base_model() {
    let sim = engine(Config { adapters: vec!["legal".to_owned()], ..Config::new("q", ["qwen"]).instant() }).await;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "adapters", "labels": {"inference.networking.k8s.io/bbr-managed": "true"}},
        "data": {"baseModel": "qwen", "adapters": "- legal\n"},
    });
    let by_base = json!({"headers": [{"name": "X-Gateway-Base-Model-Name", "value": "qwen"}]});
    let rules = json!([{"matches": [by_base], "backendRefs": [objects::to_pool("qwen")]}]);
    let mut list = vec![objects::gateway(), objects::route("models", rules), map];
    list.extend(pool_of("qwen", &[&sim]));
    let gateway = Setup::with(list).serve().await;
    let reply = Call::chat("legal", "hello").echo().send(gateway.http()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.received("x-gateway-base-model-name"), "qwen");
    assert_eq!(Call::chat("other", "hello").send(gateway.http()).await.status, 404);
}
