//! Limits of bandwidth: bodies arrive whole, and no sooner than they may.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use pailou_envoy_proto::ext_proc::processing_response::Response as Answer;

use crate::support::{
    objects::{Gateway, backend, route},
    picker::{picker, streamed},
    processor::{gateway_for, go_on, piece, response_headers},
};

const TO_BACKEND: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
/// 400 bytes less those of the first interval, at 1024 bytes a second.
const AT_LEAST: Duration = Duration::from_millis(300);

/// A backend that answers with these bytes once a request's body has this length; the bodies that it gets.
async fn scripted(length: usize, response: String) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (bodies, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
                if read.len() - end - 4 == length {
                    let _ = bodies.send(String::from_utf8_lossy(&read[end + 4..]).into_owned());
                    let _ = stream.write_all(response.as_bytes()).await;
                    break;
                }
            }
        }
    });
    (address, received)
}

fn gateway(address: SocketAddr, spec: &str) -> Gateway {
    gateway_with_rule(address, TO_BACKEND, spec)
}

fn gateway_with_rule(address: SocketAddr, rule: &str, spec: &str) -> Gateway {
    Gateway::serve(&[backend("main", address, ""), route(rule), policy(spec)].concat())
}

fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: policy}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n{spec}"
    )
}

#[tokio::test]
async fn a_response_takes_its_time_and_arrives_whole() {
    let body = "0123456789".repeat(40);
    let (address, _) = scripted(0, format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    let gateway = gateway(address, "  bandwidthLimit: {response: {limit: {value: 1Ki, unit: Second}}}\n");
    let begin = Instant::now();
    let response = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(response.contains("content-length: 400\r\n") && response.ends_with(&["\r\n\r\n", &body].concat()), "{response}");
    assert!(begin.elapsed() >= AT_LEAST, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn trailers_say_how_long_it_took() {
    let body = "0123456789".repeat(40);
    let response = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n190\r\n{body}\r\n0\r\n\r\n");
    let (address, _) = scripted(0, response).await;
    let spec = "  bandwidthLimit: {response: {limit: {value: 60Ki, unit: Minute}, responseTrailers: {prefix: x-eg}}}\n";
    let gateway = gateway(address, spec);
    let response = gateway.ask("GET / HTTP/1.1\r\nhost: a.test\r\nte: trailers").await;
    let trailer = |name: &str| -> u64 {
        let value = response.split_once(&format!("\r\n{name}: ")).and_then(|(_, rest)| rest.split_once("\r\n"));
        value.unwrap_or_else(|| panic!("{name} in {response}")).0.parse().unwrap()
    };
    assert!(trailer("x-eg-bandwidth-response-delay-ms") >= 300);
    assert!(trailer("x-eg-bandwidth-response-filter-delay-ms") >= 300);
    assert!(!response.contains("\r\nx-eg-bandwidth-request-delay-ms"), "there was no request body: {response}");
}

#[tokio::test]
async fn a_request_takes_its_time_be_it_read_before_or_not() {
    let json = format!("{{\"model\": \"m\", \"messages\": [], \"x\": \"{}\"}}", "0123456789".repeat(36));
    let by_model = "  rateLimit: {global: {rules: [{clientSelectors: [{headers: [{name: x-gateway-model-name, value: m}]}], limit: {requests: \
                    9, unit: Hour}}]}}\n";
    for (path, body, more) in [("/", "0123456789".repeat(40), ""), ("/v1/chat/completions", json, by_model)] {
        let (address, mut bodies) = scripted(body.len(), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into()).await;
        let gateway = gateway(address, &format!("  bandwidthLimit: {{request: {{limit: {{value: 1024, unit: Second}}}}}}\n{more}"));
        let begin = Instant::now();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}"
        );
        let response = gateway.raw(&format!("{head}\r\n\r\n{body}")).await;
        assert!(response.ends_with("\r\n\r\nok"), "{response}");
        assert!(begin.elapsed() >= AT_LEAST, "{:?}", begin.elapsed());
        assert_eq!(bodies.recv().await.unwrap(), body);
    }
}

async fn passes_slowly(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    let begin = Instant::now();
    from.write_all(bytes).await.unwrap();
    let mut passed = vec![0; bytes.len()];
    to.read_exact(&mut passed).await.unwrap();
    assert!(passed == bytes && begin.elapsed() >= AT_LEAST, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_upgraded_connection_passes_no_faster_in_either_direction() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits =
        "  bandwidthLimit: {request: {limit: {value: 1Ki, unit: Second}}, response: {limit: {value: 1Ki, unit: Second}}}\n";
    let gateway = gateway(listener.local_addr().unwrap(), limits);
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await.unwrap();
    let (mut backend, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        backend.read_buf(&mut head).await.unwrap();
    }
    backend.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let bytes = "0123456789".repeat(40);
    passes_slowly(&mut client, &mut backend, bytes.as_bytes()).await;
    passes_slowly(&mut backend, &mut client, bytes.as_bytes()).await;
    // Bytes that wait are passed on before the end is.
    backend.write_all(bytes.as_bytes()).await.unwrap();
    drop(backend);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, bytes.as_bytes());
}

/// A rule whose requests take no longer than 1 s.
const IN_A_SECOND: &str = "{timeouts: {request: 1s}, backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";

/// A rule whose requests take no longer than 300 ms.
const IN_TIME: &str = "{timeouts: {request: 300ms}, backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";

#[tokio::test]
async fn a_body_that_cannot_pass_in_time_reaches_no_endpoint() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let by_model = "  bandwidthLimit: {request: {limit: {value: 1024, unit: Second}}}\n  rateLimit: {global: {rules: [{clientSelectors: \
                    [{headers: [{name: x-gateway-model-name, value: m}]}], limit: {requests: 9, unit: Hour}}]}}\n";
    let gateway = gateway_with_rule(listener.local_addr().unwrap(), IN_TIME, by_model);
    let body = format!("{{\"model\": \"m\", \"messages\": [], \"x\": \"{}\"}}", "0123456789".repeat(400));
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json";
    let late = gateway.raw(&format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    assert!(late.starts_with("HTTP/1.1 504 ") && late.contains("x-pailou-response-flag: UT\r\n"), "{late}");
    assert!(listener.accept().is_err(), "no endpoint is to blame");
}

#[tokio::test]
async fn a_slow_response_keeps_to_the_requests_time() {
    let body = "0123456789".repeat(400);
    let (address, _) = scripted(0, format!("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{body}")).await;
    let gateway = gateway_with_rule(address, IN_TIME, "  bandwidthLimit: {response: {limit: {value: 1Ki, unit: Second}}}\n");
    let response = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    let passed = response.split_once("\r\n\r\n").unwrap().1.len();
    assert!(response.starts_with("HTTP/1.1 200 ") && (1..body.len()).contains(&passed), "{passed}");
}

#[tokio::test]
async fn a_slow_response_past_a_processor_keeps_to_the_requests_time() {
    // It goes on for ever.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let backend = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n0123456789").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let processor = picker(|mut talk| async move {
        response_headers(&mut talk).await;
        talk.say(Answer::ResponseHeaders(go_on()));
        piece(&mut talk).await;
        // More than the gateway takes while the first is on its way.
        for _ in 0..9 {
            talk.say(Answer::ResponseBody(streamed(vec![b'z'; 400], false)));
        }
        talk.next().await;
    })
    .await;
    let limit = policy("  bandwidthLimit: {response: {limit: {value: 1Ki, unit: Second}}}\n");
    let mode = "processingMode: {response: {body: FullDuplexStreamed}}";
    let gateway =
        gateway_for(&[route(IN_A_SECOND), limit.replace("name: policy", "name: limit")].concat(), address, &[(processor, mode)]);
    let response = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    let passed = response.bytes().filter(|byte| *byte == b'z').count();
    assert!(response.starts_with("HTTP/1.1 200 ") && (1..2400).contains(&passed), "{passed}: {response}");
    backend.abort();
}

#[tokio::test]
async fn a_slow_response_past_a_processor_keeps_to_the_requests_time_when_the_backend_is_through() {
    let (address, _) = scripted(0, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789".into()).await;
    let processor = picker(|mut talk| async move {
        response_headers(&mut talk).await;
        talk.say(Answer::ResponseHeaders(go_on()));
        while !piece(&mut talk).await.1 {}
        // All of it is there long before the client may have it.
        talk.say(Answer::ResponseBody(streamed(vec![b'z'; 3600], true)));
        talk.close();
    })
    .await;
    let limit = policy("  bandwidthLimit: {response: {limit: {value: 1Ki, unit: Second}}}\n");
    let mode = "processingMode: {response: {body: FullDuplexStreamed}}";
    let gateway =
        gateway_for(&[route(IN_A_SECOND), limit.replace("name: policy", "name: limit")].concat(), address, &[(processor, mode)]);
    let response = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    let passed = response.bytes().filter(|byte| *byte == b'z').count();
    assert!(response.starts_with("HTTP/1.1 200 ") && (1..2400).contains(&passed), "{passed}: {response}");
    assert!(!response.ends_with("0\r\n\r\n"), "it does not look whole");
}

#[tokio::test]
async fn an_endpoint_that_has_little_time_left_is_not_to_blame() {
    let spec = "  bandwidthLimit: {request: {limit: {value: 1024, unit: Second}}}\n  healthCheck: {passive: {consecutiveGatewayErrors: 1, \
                consecutive5XxErrors: 1, baseEjectionTime: 1h, maxEjectionPercent: 100}, panicThreshold: 0}\n  rateLimit: {global: {rules: \
                [{clientSelectors: [{headers: [{name: x-gateway-model-name, value: m}]}], limit: {requests: 9, unit: Hour}}]}}\n";
    // It takes more than 700 ms of the second. Of the two ways one is read before it waits.
    let body = format!("{{\"model\": \"m\", \"messages\": [], \"x\": \"{}\"}}", "0123456789".repeat(76));
    for path in ["/v1/chat/completions", "/"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gateway = gateway_with_rule(listener.local_addr().unwrap(), IN_A_SECOND, spec);
        let head = format!("POST {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json");
        let late = gateway.raw(&format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        assert!(late.starts_with("HTTP/1.1 504 ") && late.contains("x-pailou-response-flag: UT\r\n"), "{path}: {late}");
        assert!(late.contains("the route limits the bandwidth"), "{path}: {late}");
        // Without a body the time is the endpoint's, and it is ejected.
        let late = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
        assert!(late.starts_with("HTTP/1.1 504 ") && late.contains("the backend did not answer in time"), "{late}");
        let ejected = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
        assert!(ejected.starts_with("HTTP/1.1 503 "), "{ejected}");
    }
}
