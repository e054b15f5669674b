//! Bodies of both parts, as engines get them.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::KvConnector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{pool, two};
use crate::support::everything_to;

/// Bodies that an engine got, oldest first.
type Bodies = Arc<Mutex<Vec<String>>>;

/// An engine that answers each POST with this JSON, and keeps the bodies.
async fn engine(address: Ipv4Addr, answer: &'static str) -> Bodies {
    let listener = TcpListener::bind((address, 8000)).await.expect("the address is free");
    let bodies = Bodies::default();
    let kept = Arc::clone(&bodies);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer, Arc::clone(&kept)));
        }
    });
    bodies
}

async fn serve(stream: TcpStream, answer: &str, bodies: Bodies) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length, mut is_post) = (String::new(), 0, false);
    while stream.read_line(&mut line).await? > 2 {
        is_post |= line.starts_with("POST");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let (status, answer) = if is_post { ("200 OK", answer) } else { ("404 Not Found", "{}") };
    if is_post {
        bodies.lock().expect("the lock").push(String::from_utf8_lossy(&body).into_owned());
    }
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", answer.len());
    stream.write_all(format!("{head}connection: close\r\n\r\n{answer}").as_bytes()).await
}

async fn serve_pool(list: Vec<Value>) -> Gateway {
    let more = [objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    Setup::with(list.into_iter().chain(more)).serve().await
}

/// A gateway to a pool that prefills at one address and decodes at the other.
async fn serve_apart(prefill: Ipv4Addr, decode: Ipv4Addr) -> Gateway {
    serve_apart_by(&[], prefill, decode).await
}

async fn serve_apart_by(annotations: &[(&str, &str)], prefill: Ipv4Addr, decode: Ipv4Addr) -> Gateway {
    let mut list = pool(&[], annotations);
    for (name, role, address) in [("p", "prefill", prefill), ("d", "decode", decode)] {
        let mut pod = objects::pod(name, "qwen", address);
        pod["metadata"]["labels"]["llm-d.ai/role"] = role.into();
        list.push(pod);
    }
    serve_pool(list).await
}

#[tokio::test]
async fn vllms_prefill_is_one_token_and_its_reply_goes_to_the_decode_as_it_stands() {
    const PARAMS: &str = r#"{"do_remote_prefill": true, "remote_block_ids": [[1, 2]], "x" : 1.50}"#;
    const REPLY: &str = r#"{"choices":[],"kv_transfer_params" : {"do_remote_prefill": true, "remote_block_ids": [[1, 2]], "x" : 1.50},"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    const ANSWER: &str =
        r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":8}}}"#;
    let [p, d] = [loopback(), loopback()];
    let [prefills, decodes] = [engine(p, REPLY).await, engine(d, ANSWER).await];
    let gateway = serve_apart(p, d).await;
    let rest = format!(
        r#" "model" : "qwen","temperature":0.50,"stream":true,"stream_options":{{"include_usage":true}},"max_tokens":50,"messages":[{{"role":"user","content":"{}"}}] }}"#,
        "what the model is to know. ".repeat(120)
    );
    let reply = Call::json(CHAT, format!("{{{rest}")).send(gateway.http()).await;
    assert_eq!(reply.text(), ANSWER.replace("\"cached_tokens\":8", "\"cached_tokens\":4"));
    assert_eq!(*decodes.lock().expect("the lock"), [format!("{{\"kv_transfer_params\":{PARAMS},{rest}")]);
    let prefill: Value = serde_json::from_str(&prefills.lock().expect("the lock")[0]).expect("JSON");
    let asked = json!({
        "do_remote_decode": true, "do_remote_prefill": false, "remote_engine_id": null, "remote_block_ids": null, "remote_host": null,
        "remote_port": null,
    });
    let expected = [
        ("stream", json!(false)),
        ("stream_options", json!(null)),
        ("max_tokens", json!(1)),
        ("max_completion_tokens", json!(1)),
        ("min_tokens", json!(1)),
        ("temperature", json!(0.5)),
        ("kv_transfer_params", asked),
    ];
    for (name, value) in expected {
        assert_eq!(prefill[name], value, "{name}");
    }
}

#[tokio::test]
async fn several_prompts_begin_at_a_room_of_sglangs_and_have_none_of_vllms() {
    let texts = [1, 2].map(|topic| format!("{topic} {}", "what the model is to know. ".repeat(120)));
    let prompts = json!({"model": "qwen", "prompt": texts}).to_string();
    for connector in [KvConnector::Sglang, KvConnector::Nixl] {
        let [p, d] = two(connector).await;
        let gateway = serve_pool(pool(&[(&p, "prefill"), (&d, "decode")], &[("kv-connector", super::name(connector))])).await;
        let reply = Call::json("/v1/completions", prompts.clone()).echo().send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"), "{connector:?}: {}", reply.text());
        let body: Value = serde_json::from_str(reply.json()["body"].as_str().expect("a body")).expect("JSON");
        if connector == KvConnector::Nixl {
            assert_eq!((p.stats().requests, &body["kv_transfer_params"]), (0, &Value::Null));
            continue;
        }
        // Engines number the rooms on from this one.
        let host = p.addr().ip().to_string();
        assert_eq!((&body["bootstrap_host"], &body["bootstrap_port"]), (&json!(host), &json!(8998)));
        assert!(body["bootstrap_room"].as_u64().is_some_and(|room| room < (1 << 63) - (1 << 20)), "{body}");
    }
}

/// Clients do not say which hosts an engine fetches from, on whatever path, and although nothing prefills.
#[tokio::test]
async fn an_engine_without_others_hears_nothing_of_hosts_from_clients() {
    for connector in ["nixl", "sglang", "none"] {
        let d = loopback();
        let bodies = engine(d, "{}").await;
        let mut list = pool(&[], &[("kv-connector", connector)]);
        let mut pods = vec![objects::pod("d", "qwen", d)];
        pods[0]["metadata"]["labels"]["llm-d.ai/role"] = if connector == "sglang" { "both" } else { "decode" }.into();
        if connector == "none" {
            // Another role says that the engines hand something over.
            let mut other = objects::pod("p", "qwen", loopback());
            other["metadata"]["labels"]["llm-d.ai/role"] = "prefill".into();
            pods.push(other);
        }
        list.append(&mut pods);
        let gateway = serve_pool(list).await;
        for (path, body, expected) in [
            (CHAT, r#"{"model":"qwen","messages":[],"kv_transfer_params":{"remote_host":"h"}}"#, {
                r#"{"model":"qwen","messages":[],"kv_transfer_params":null}"#
            }),
            ("/generate", r#"{"text":"a","bootstrap_host":"h","bootstrap_port":1}"#, {
                r#"{"text":"a","bootstrap_host":null,"bootstrap_port":null}"#
            }),
            ("/inference/v1/generate", r#"{"sampling_params":{"extra_args":{"kv_transfer_params":{"remote_host":"h"}}}}"#, {
                r#"{"sampling_params":{"extra_args":{"kv_transfer_params":null}}}"#
            }),
        ] {
            let reply = Call::json(path, body).send(gateway.http()).await;
            assert_eq!(reply.status, 200, "{connector} {path}: {}", reply.text());
            assert_eq!(bodies.lock().expect("the lock").pop().as_deref(), Some(expected), "{connector} {path}");
        }
        // Another reader may read it as an object.
        let reply = Call::json("/generate", r#"{"bootstrap_host":"h","x":NaN}"#).send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), bodies.lock().expect("the lock").len()), (400, 0), "{connector}");
    }
}

/// An engine closes connections that are idle as the next request comes.
#[tokio::test]
async fn a_prefill_that_meets_a_closing_connection_is_sent_again() {
    const REPLY: &str = r#"{"choices":[],"kv_transfer_params":{"x":1},"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    let [p, d] = [loopback(), loopback()];
    let listener = TcpListener::bind((p, 8000)).await.expect("the address is free");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_once(stream, REPLY));
        }
    });
    let decodes = engine(d, r#"{"choices":[]}"#).await;
    let gateway = serve_apart(p, d).await;
    for number in 0..6 {
        assert_eq!(super::long(&format!("topic {number}"), false).send(gateway.http()).await.status, 200);
    }
    let decodes = decodes.lock().expect("the lock");
    assert!(decodes.iter().all(|body| body.starts_with(r#"{"kv_transfer_params":{"x":1},"#)), "{decodes:?}");
    assert_eq!(decodes.len(), 6);
}

/// Answers the first request of a connection, which it keeps, and closes it at the next one.
async fn serve_once(stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    let mut is_post = false;
    while stream.read_line(&mut line).await? > 2 {
        is_post |= line.starts_with("POST");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
        line.clear();
    }
    stream.read_exact(&mut vec![0; length]).await?;
    let status = if is_post { "200 OK" } else { "404 Not Found" };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
    stream.write_all(format!("{head}{answer}").as_bytes()).await?;
    stream.read_line(&mut line).await.map(drop)
}

/// TensorRT-LLM's engine says in its only choice where the context is, and which tokens the prompt has.
#[tokio::test]
async fn tensorrt_llms_context_goes_to_the_generation_with_the_prompts_tokens() {
    const REPLY: &str = r#"{"choices":[{"index":0,"finish_reason":"not_finished","disaggregated_params":{"request_type":"context_only","first_gen_tokens":[5],"ctx_request_id":7,"encoded_opaque_state":"b64","draft_tokens":null}}],"prompt_token_ids":[1, 2, 3],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let [p, d] = [loopback(), loopback()];
    let [prefills, decodes] = [engine(p, REPLY).await, engine(d, r#"{"choices":[]}"#).await];
    let gateway = serve_apart_by(&[("kv-connector", "trt-llm")], p, d).await;
    let text = "what the model is to know. ".repeat(120);
    let messages = json!([{"role": "user", "content": text}]);
    let chat = json!({"model": "qwen", "stream": true, "max_tokens": 50, "messages": messages, "disaggregated_params": {"x": 1}});
    let completion = json!({"model": "qwen", "max_tokens": 50, "prompt": format!("other {text}")});
    for (path, body) in [(CHAT, chat), ("/v1/completions", completion)] {
        assert_eq!(Call::json(path, body.to_string()).send(gateway.http()).await.status, 200);
        let [prefill, decode] = [&prefills, &decodes].map(|bodies| bodies.lock().expect("the lock").pop().expect("a body"));
        let [prefill, decode]: [Value; 2] = [prefill, decode].map(|body| serde_json::from_str(&body).expect("JSON"));
        assert_eq!((prefill["stream"] == json!(false), &prefill["max_tokens"]), (true, &json!(50)));
        let params = &prefill["disaggregated_params"];
        assert_eq!((&params["request_type"], params.as_object().map(|params| params.len())), (&json!("context_only"), Some(2)));
        assert!(params["disagg_request_id"].as_u64().is_some_and(|id| (1 << 42..1 << 63).contains(&id)), "{params}");
        let expected = json!({
            "request_type": "generation_only", "first_gen_tokens": [5], "ctx_request_id": 7, "encoded_opaque_state": "b64",
            "draft_tokens": null,
        });
        assert_eq!(decode["disaggregated_params"], expected);
        let (name, stream) = if path == CHAT { ("prompt_token_ids", json!(true)) } else { ("prompt", Value::Null) };
        assert_eq!((&decode[name], &decode["stream"]), (&json!([1, 2, 3]), &stream), "{path}");
    }
}

/// Mooncake's parts know each other by an identifier, and the engine by the name that its bootstrap server gives at the time.
#[tokio::test]
async fn mooncakes_two_parts_name_one_transfer_and_the_engine_of_the_bootstrap_server() {
    let p = super::apart("p", pailou_sim::Role::Prefill, KvConnector::Mooncake).await;
    let d = super::apart("d", pailou_sim::Role::Decode, KvConnector::Mooncake).await;
    let gateway = serve_pool(pool(&[(&p, "prefill"), (&d, "decode")], &[("kv-connector", "mooncake")])).await;
    let call = super::long("gates", false);
    let reply = call.header("x-data-parallel-rank", "5").echo().send(gateway.http()).await;
    assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"), "{}", reply.text());
    let decode: Value = serde_json::from_str(reply.json()["body"].as_str().expect("a body")).expect("JSON");
    let params = &decode["kv_transfer_params"];
    let id = params["transfer_id"].as_str().expect("an identifier").to_owned();
    assert!(id.starts_with("xfer-"), "{id}");
    let expected = json!({
        "do_remote_decode": false, "do_remote_prefill": true, "transfer_id": id, "remote_engine_id": "p",
        "remote_bootstrap_addr": format!("http://{}:8998", p.addr().ip()),
    });
    assert_eq!((params, &decode["max_tokens"]), (&expected, &json!(12)));
    let head = p.stats().last_request.expect("a prefill");
    assert_eq!(head.headers["x-data-parallel-rank"], "0");
    assert!(!d.stats().last_request.expect("a decode").headers.contains_key("x-data-parallel-rank"), "a client chooses no rank");
}

/// By Mooncake's protocol the engine that decodes has the prompt before the other one replies.
#[tokio::test]
async fn a_first_token_does_not_wait_for_the_reply_of_mooncakes_prefill() {
    const ANSWER: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    let [p, d] = [loopback(), loopback()];
    // It takes requests and replies to none.
    let prefill = TcpListener::bind((p, 8000)).await.expect("the address is free");
    let bootstrap = TcpListener::bind((p, 8998)).await.expect("the address is free");
    tokio::spawn(async move {
        while let Ok((stream, _)) = bootstrap.accept().await {
            tokio::spawn(bootstrap_reply(stream));
        }
    });
    let decodes = engine(d, ANSWER).await;
    let gateway = serve_apart_by(&[("kv-connector", "mooncake"), ("prefill-timeout", "1h")], p, d).await;
    let reply = wait::within("the answer", super::long("gates", false).send(gateway.http())).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, ANSWER.into()));
    assert_eq!(decodes.lock().expect("the lock").len(), 1);
    drop(prefill);
}

/// Names one engine, whatever is asked.
async fn bootstrap_reply(mut stream: TcpStream) -> std::io::Result<()> {
    const ENGINES: &str = r#"{"0":{"engine_id":"p"}}"#;
    let mut reader = BufReader::new(&mut stream);
    let mut line = String::new();
    while reader.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", ENGINES.len());
    stream.write_all(format!("{head}{ENGINES}").as_bytes()).await
}
