//! Bodies of both parts, as engines get them.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{address::loopback, objects};
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

#[tokio::test]
async fn vllms_prefill_is_one_token_and_its_reply_goes_to_the_decode_as_it_stands() {
    const PARAMS: &str = r#"{"do_remote_prefill": true, "remote_block_ids": [[1, 2]], "x" : 1.50}"#;
    const REPLY: &str = r#"{"choices":[],"kv_transfer_params" : {"do_remote_prefill": true, "remote_block_ids": [[1, 2]], "x" : 1.50},"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    const ANSWER: &str =
        r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":8}}}"#;
    let [p, d] = [loopback(), loopback()];
    let [prefills, decodes] = [engine(p, REPLY).await, engine(d, ANSWER).await];
    let mut list = pool(&[], &[]);
    for (name, role, address) in [("p", "prefill", p), ("d", "decode", d)] {
        let mut pod = objects::pod(name, "qwen", address);
        pod["metadata"]["labels"]["llm-d.ai/role"] = role.into();
        list.push(pod);
    }
    let gateway = serve_pool(list).await;
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
async fn each_of_several_prompts_has_a_room_of_sglangs_and_none_of_vllms() {
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
        let host = p.addr().ip().to_string();
        assert_eq!((&body["bootstrap_host"], &body["bootstrap_port"]), (&json!([host, host]), &json!([8998, 8998])));
        let rooms: Vec<_> = body["bootstrap_room"].as_array().expect("rooms").iter().map(|room| room.as_u64()).collect();
        assert!(rooms.len() == 2 && rooms.iter().all(Option::is_some) && rooms[0] != rooms[1], "{rooms:?}");
    }
}
