//! The model's name in responses, where the engine got another than the client gave.

use std::sync::Arc;

use pailou_sim::{Config, Sim};
use pailou_snapshot::{ModelTarget, PoolModel};

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
