//! Receipts in memory.

use pailou_proxy::receipts::ReceiptFilter;

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, model_route},
};

#[tokio::test]
async fn a_client_s_long_model_takes_little_room() {
    let ear = Ear::start().await;
    let gateway = Gateway::serve(&(model_route("ear", ["a", "b"]) + &backend("ear", ear.address, "")));
    let body = format!(r#"{{"model":"{}"}}"#, "x".repeat(100_000));
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\nconnection: close", body.len());
    let answer = gateway.raw(&format!("{head}\r\n\r\n{body}")).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    gateway.log.line("404").await;
    let newest = async {
        loop {
            if let [receipt] = &gateway.proxy.receipts().newest(&ReceiptFilter::default(), 9).receipts[..] {
                return receipt.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let receipt = tokio::time::timeout(std::time::Duration::from_secs(10), newest).await.unwrap();
    let json = receipt.to_json();
    assert!(json.contains("\"asked\":\"xxx") && json.len() <= 4096 && receipt.size() <= 4096, "{json}: {}", receipt.size());
    // It is found by the model as the client gave it.
    let by_model = ReceiptFilter { model: Some("x".repeat(500)), ..ReceiptFilter::default() };
    assert_eq!(gateway.proxy.receipts().newest(&by_model, 9).receipts.len(), 1);
}
