//! The model's name in responses, where the engine got another than the client gave.

use std::sync::Arc;

use pailou_sim::{Config, Sim};
use pailou_snapshot::{ModelTarget, PoolModel};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::by_hand::Gateway;

const WHOLE: &str = r#"{"model":"qwen","max_tokens":4,"messages":[{"role":"user","content":"hi"}]}"#;
const STREAM: &str = r#"{"model":"qwen","stream":true,"max_tokens":4,"messages":[{"role":"user","content":"hi"}]}"#;

async fn gateway(keeps_name: bool) -> (Sim, Gateway) {
    let engine = Sim::start(Config::new("a", ["internal"]).instant()).await.unwrap();
    let gateway = Gateway::with_pool(&[engine.addr()], |pool| {
        let targets = vec![ModelTarget { name: "internal".into(), weight: 1 }];
        pool.models.insert("qwen".into(), Arc::new(PoolModel { targets, keeps_name, ..PoolModel::default() }));
    });
    (engine, gateway)
}

#[tokio::test]
async fn responses_have_the_clients_name_after_a_rewrite() {
    let (_engine, gateway) = gateway(true).await;
    let whole = gateway.chat(WHOLE).await;
    assert!(whole.starts_with("HTTP/1.1 200 OK") && whole.contains(r#""model":"qwen""#), "{whole}");
    assert!(!whole.contains("internal") && whole.ends_with("0\r\n\r\n"), "{whole}");
    let stream = gateway.chat(STREAM).await;
    assert!(stream.matches(r#""model":"qwen""#).count() >= 4 && stream.contains("data: [DONE]"), "{stream}");
    assert!(!stream.contains("internal"), "{stream}");
}

#[tokio::test]
async fn responses_have_the_engines_name_after_a_target_model() {
    let (_engine, gateway) = gateway(false).await;
    for call in [WHOLE, STREAM] {
        let answer = gateway.chat(call).await;
        assert!(answer.contains(r#""model":"internal""#) && !answer.contains("qwen"), "{answer}");
    }
}

#[tokio::test]
async fn engines_are_not_asked_for_compressed_responses() {
    let (engine, gateway) = gateway(true).await;
    let call = crate::support::by_hand::chat(WHOLE).replace("host:", "accept-encoding: gzip\r\naccept-encoding: br\r\nhost:");
    let answer = gateway.exchange(&call, |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let seen = engine.stats().last_request.unwrap();
    let accepted: Vec<_> = seen.headers.get_all("accept-encoding").iter().collect();
    assert_eq!(accepted, ["identity"]);
}

#[tokio::test]
async fn no_digest_of_another_body_goes_with_a_changed_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let targets = vec![ModelTarget { name: "internal".into(), weight: 1 }];
    let gateway = Gateway::with_pool(&[listener.local_addr().unwrap()], |pool| {
        pool.models.insert("qwen".into(), Arc::new(PoolModel { targets, keeps_name: true, ..PoolModel::default() }));
    });
    let digests = "content-digest: sha-256=:AA==:\r\nrepr-digest: sha-256=:AA==:\r\ndigest: sha-256=AA==\r\ncontent-md5: AA==\r\n";
    let call = crate::support::by_hand::chat(WHOLE).replace("host:", &format!("{digests}host:"));
    let asked = tokio::spawn(async move { gateway.exchange(&call, |_| false).await });
    let head = loop {
        let mut stream = listener.accept().await.unwrap().0;
        let mut read = Vec::new();
        while stream.read_buf(&mut read).await.unwrap() > 0 && !read.ends_with(b"}") && !read.starts_with(b"GET /metrics") {}
        if !read.starts_with(b"POST") {
            continue;
        }
        let body = r#"{"model":"internal","choices":[]}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\netag: \"1\"\r\n{digests}");
        stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
        break String::from_utf8(read).unwrap();
    };
    assert!(head.contains(r#""model":"internal""#) && !head.contains("digest") && !head.contains("content-md5"), "{head}");
    let answer = asked.await.unwrap();
    assert!(answer.contains(r#""model":"qwen""#), "{answer}");
    assert!(!answer.contains("digest") && !answer.contains("content-md5") && !answer.contains("etag"), "{answer}");
}
