//! Admission control: while too many attempts at a backend fail, most further ones are refused.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::objects::{Gateway, backend, route};

const TO_BACKEND: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
/// Refuses everything after a failure, so that no chance is involved.
const STRICT: &str = "minSuccessRate: 100, maxRejectionPercent: 100, rejectionAggression: 1000000";

/// A backend that answers with these bytes; how many requests it got.
async fn scripted(response: &'static str) -> (std::net::SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                    if read.ends_with(b"\r\n\r\n") {
                        counted.fetch_add(1, Ordering::Relaxed);
                        let _ = stream.write_all(response.as_bytes()).await;
                        read.clear();
                    }
                }
            });
        }
    });
    (address, count)
}

async fn gateway(response: &'static str, control: &str, more: &str) -> (Gateway, Arc<AtomicU32>) {
    let (address, count) = scripted(response).await;
    let policy = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: policy}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n  admissionControl: {{{control}}}\n{more}"
    );
    (Gateway::serve(&[backend("main", address, ""), route(TO_BACKEND), policy].concat()), count)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test";
const FAILURE: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn after_a_failure_requests_are_refused_before_they_reach_the_backend() {
    let (gateway, count) = gateway(FAILURE, STRICT, "").await;
    assert!(gateway.ask(GET).await.starts_with("HTTP/1.1 500 "));
    for _ in 0..5 {
        let refused = gateway.ask(GET).await;
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("x-pailou-response-flag: AC\r\n"), "{refused}");
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let series = "pailou_admission_control_rejected{breaker=\"default/route/0/0\",kind=\"HTTPRoute\"}";
    assert_eq!(gateway.metric(series), 5.0);
}

#[tokio::test]
async fn a_share_of_requests_still_finds_out_whether_it_is_over() {
    let (gateway, count) = gateway(FAILURE, "maxRejectionPercent: 50", "").await;
    let mut asked = 1;
    // By chance one in two passes: a hundred in a row that do not are as good as impossible.
    while count.load(Ordering::Relaxed) < 10 {
        assert!(asked < 1000);
        gateway.ask(GET).await;
        asked += 1;
    }
}

#[tokio::test]
async fn listed_statuses_are_successes_and_few_requests_are_none_of_its_business() {
    let listed = [STRICT, ", successCriteria: {http: {statusCodes: [500]}}"].concat();
    for control in [&*listed, &[STRICT, ", minRequestRate: 1000"].concat()] {
        let (gateway, count) = gateway(FAILURE, control, "").await;
        for _ in 0..4 {
            assert!(gateway.ask(GET).await.starts_with("HTTP/1.1 500 "));
        }
        assert_eq!(count.load(Ordering::Relaxed), 4);
    }
}

#[tokio::test]
async fn a_grpc_response_counts_by_the_status_in_its_trailers() {
    const UNAVAILABLE: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n0\r\ngrpc-status: \
                               14\r\n\r\n";
    let (gateway, count) = gateway(UNAVAILABLE, STRICT, "").await;
    assert!(gateway.ask(GET).await.starts_with("HTTP/1.1 200 "));
    let refused = gateway.ask(&[GET, "\r\ncontent-type: application/grpc"].concat()).await;
    assert!(refused.contains("grpc-status: 14\r\n") && refused.contains("x-pailou-response-flag: AC"), "{refused}");
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn every_attempt_counts_and_a_refused_one_is_not_tried_again() {
    let retry = "  retry: {numRetries: 5, retryOn: {triggers: [5xx]}, perRetry: {backOff: {baseInterval: 1ms}}}\n";
    let (gateway, count) = gateway(FAILURE, STRICT, retry).await;
    let refused = gateway.ask(GET).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("x-pailou-response-flag: AC\r\n"), "{refused}");
    assert_eq!(count.load(Ordering::Relaxed), 1);
}
