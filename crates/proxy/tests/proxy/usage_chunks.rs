//! Usage of streams that limits charge: asked of the engine, and kept from clients that did not ask.

use pailou_limits::CounterQuery;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    codings::encode,
    support::objects::{Gateway, backend, route},
};

const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":20,\"total_tokens\":25}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const LIMIT: &str = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: limits}\nspec:\n  targetRefs: [{group: \
                     gateway.networking.k8s.io, kind: HTTPRoute, name: route}]\n  retry: {retryOn: {httpStatusCodes: \
                     [503]}}\n  rateLimit: {global: {rules: [{limit: {requests: 1000, unit: Year}, cost: {request: {from: Number, number: \
                     0}, response: {from: Metadata, metadata: {namespace: io.envoy.ai_gateway, key: llm_total_token}}}}]}}\n";
const TO_ENGINE: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: engine}]}";

/// A request that an engine got, and the way to answer it.
async fn accept(listener: &TcpListener) -> (String, TcpStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    loop {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return (text.into_owned(), stream);
        }
    }
}

async fn stream(stream: &mut TcpStream, pieces: &[&str]) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in pieces {
        stream.write_all(piece.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

fn request(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn ask(gateway: &Gateway, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn serve() -> (Gateway, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let objects = [route(TO_ENGINE), backend("engine", listener.local_addr().unwrap(), ""), LIMIT.to_owned()];
    (Gateway::serve(&objects.concat()), listener)
}

/// Room left once the response has been charged.
async fn left(gateway: &Gateway) -> u64 {
    for _ in 0..500 {
        if gateway.metric("pailou_requests_active") == 0.0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let [counter] = &*gateway.proxy.limits(&CounterQuery::default()) else { panic!("one counter") };
    assert_eq!(counter.reserved, 0);
    counter.limit - counter.spent
}

#[tokio::test]
async fn a_stream_is_charged_its_usage_and_clients_get_none_that_they_did_not_ask_for() {
    let asked = r#""stream_options":{"include_usage":true}"#;
    for (path, body, is_stripped) in [
        ("/v1/chat/completions", r#"{"model":"qwen","stream":true}"#.to_owned(), true),
        ("/v1/completions", r#"{"model":"qwen","stream":true,"stream_options":{}}"#.to_owned(), true),
        ("/v1/chat/completions", format!("{{\"model\":\"qwen\",\"stream\":true,{asked}}}"), false),
    ] {
        let (gateway, listener) = serve().await;
        let engine = async {
            let (request, mut connection) = accept(&listener).await;
            assert!(request.contains(asked), "{request}");
            // The chunk comes in pieces.
            stream(&mut connection, &[TEXT, &USAGE[..30], &USAGE[30..], DONE]).await;
        };
        let request = request(path, "", body.as_bytes());
        let (answer, ()) = tokio::join!(ask(&gateway, &request), engine);
        assert!(answer.contains("\"content\":\"hi\"") && answer.contains("[DONE]"), "{answer}");
        assert_eq!(answer.contains("prompt_tokens"), !is_stripped, "{answer}");
        assert_eq!(left(&gateway).await, 975);
    }
}

#[tokio::test]
async fn what_streams_nothing_or_has_no_such_option_stays_as_it_is() {
    for (path, body) in [
        ("/v1/chat/completions", r#"{"model":"qwen"}"#),
        ("/v1/responses", r#"{"model":"qwen","stream":true}"#),
        ("/v1/messages", r#"{"model":"qwen","stream":true}"#),
    ] {
        let (gateway, listener) = serve().await;
        let engine = async {
            let (request, mut connection) = accept(&listener).await;
            assert!(request.ends_with(body), "{request}");
            stream(&mut connection, &[TEXT, USAGE, DONE]).await;
        };
        let request = request(path, "", body.as_bytes());
        let (answer, ()) = tokio::join!(ask(&gateway, &request), engine);
        assert!(answer.contains("prompt_tokens"), "{answer}");
    }
}

#[tokio::test]
async fn a_compressed_request_and_a_retry_ask_too() {
    let (gateway, listener) = serve().await;
    let body = encode("gzip", br#"{"model":"qwen","stream":true}"#);
    let engine = async {
        for attempt in 0..2 {
            let (request, mut connection) = accept(&listener).await;
            let lower = request.to_ascii_lowercase();
            assert!(request.contains("\"include_usage\":true") && !lower.contains("content-encoding"), "{request}");
            assert!(lower.contains("accept-encoding: identity"), "{request}");
            match attempt {
                0 => connection.write_all(b"HTTP/1.1 503 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap(),
                _ => stream(&mut connection, &[&[TEXT, USAGE, DONE].concat()]).await,
            }
        }
    };
    let request = request("/v1/chat/completions", "content-encoding: gzip\r\naccept-encoding: gzip\r\n", &body);
    let (answer, ()) = tokio::join!(ask(&gateway, &request), engine);
    assert!(answer.contains("[DONE]") && !answer.contains("prompt_tokens"), "{answer}");
    assert_eq!(left(&gateway).await, 975);
}

/// Usage as `/v1/responses` and `/v1/messages` tell it, whole and streamed.
const RESPONSE: &str = r#"{"object":"response","usage":{"input_tokens":5,"output_tokens":20,"total_tokens":25}}"#;
const MESSAGE: &str = r#"{"type":"message","usage":{"input_tokens":5,"output_tokens":20}}"#;
const RESPONSE_EVENTS: [&str; 2] = [
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":20,\"total_tokens\":25}}}\n\n",
];
const MESSAGE_EVENTS: [&str; 3] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":20}}\n\n",
];

#[tokio::test]
async fn responses_and_messages_are_charged_whole_and_streamed() {
    for (path, whole, events) in [("/v1/responses", RESPONSE, &RESPONSE_EVENTS[..]), ("/v1/messages", MESSAGE, &MESSAGE_EVENTS[..])]
    {
        for is_streamed in [false, true] {
            let (gateway, listener) = serve().await;
            let engine = async {
                let (_, mut connection) = accept(&listener).await;
                if is_streamed {
                    return stream(&mut connection, events).await;
                }
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    whole.len()
                );
                connection.write_all(format!("{head}{whole}").as_bytes()).await.unwrap();
            };
            let request = request(path, "", format!("{{\"model\":\"qwen\",\"stream\":{is_streamed}}}").as_bytes());
            let (answer, ()) = tokio::join!(ask(&gateway, &request), engine);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert_eq!(left(&gateway).await, 975, "{path}, streamed: {is_streamed}");
        }
    }
}

#[tokio::test]
async fn a_stream_without_usage_is_charged_for_what_came() {
    let (gateway, listener) = serve().await;
    let engine = async {
        let (_, mut connection) = accept(&listener).await;
        stream(&mut connection, &[TEXT, TEXT, TEXT, DONE]).await;
    };
    let body = r#"{"model":"qwen","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
    let request = request("/v1/chat/completions", "", body.as_bytes());
    let (answer, ()) = tokio::join!(ask(&gateway, &request), engine);
    assert!(answer.contains("[DONE]"), "{answer}");
    // At least a token for each event, and the prompt.
    assert!(left(&gateway).await <= 996, "{}", left(&gateway).await);
}
