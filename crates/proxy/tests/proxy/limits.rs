//! Limits on what is sent to backends, over real sockets.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use pailou_sim::{Config, Fault, FaultKind, Sim};
use pailou_snapshot::{CircuitBreaker, Retry};

use crate::support::by_hand::Gateway;

async fn engine(name: &str) -> Sim {
    Sim::start(Config::new(name, ["qwen"]).instant()).await.unwrap()
}

const CALL: &str = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":4,"model":"qwen"}"#;

#[tokio::test]
async fn where_no_retry_is_free_the_first_answer_stands() {
    let engine = engine("a").await;
    engine.faults().add(Fault::new(FaultKind::Status(500)));
    let limits = CircuitBreaker { max_parallel_retries: 0, ..CircuitBreaker::default() };
    let gateway = Gateway::start(&[engine.addr()], |rule| {
        Arc::make_mut(&mut rule.policy).retry = Some(Retry {
            attempts: 3,
            on: Vec::new(),
            statuses: vec![StatusCode::INTERNAL_SERVER_ERROR],
            backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(1),
            attempts_per_priority: None,
        });
        Arc::make_mut(&mut rule.policy).breaker = Some(limits);
    });
    let answer = gateway.chat(CALL).await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("x-sim-server: a"), "{answer}");
    assert_eq!(engine.stats().requests, 1);
    assert!(gateway.proxy.ready());
}
