//! HTTP filters of a BackendTrafficPolicy, as clients and backends see them.

use std::{net::SocketAddr, sync::Arc};

use compression_codecs::{BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder};
use compression_core::util::{PartialBuffer, WriteBuffer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::support::objects::{Gateway, backend, nowhere, route};

const TO_BACKEND: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
const JSON: &str =
    "{\"words\": \"one two three four five six seven eight nine ten one two three four five six seven eight nine ten\"}";

/// A backend that answers every request with the same bytes, and keeps the heads it gets.
async fn scripted(response: String) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (kept, response) = (kept.clone(), response.clone());
            tokio::spawn(async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                    if let Some((head, _)) = String::from_utf8_lossy(&read).split_once("\r\n\r\n") {
                        kept.lock().push(head.to_ascii_lowercase());
                        let _ = stream.write_all(response.as_bytes()).await;
                        read.clear();
                    }
                }
            });
        }
    });
    (address, heads)
}

fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: policy}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n{spec}"
    )
}

async fn gateway(response: String, rule: &str, spec: &str) -> (Gateway, Arc<Mutex<Vec<String>>>) {
    let (address, heads) = scripted(response).await;
    (Gateway::serve(&[backend("main", address, ""), route(rule), policy(spec)].concat()), heads)
}

fn plain(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_fault_delays_then_fails_its_share_of_requests() {
    let fault = |fault: &str| format!("  faultInjection: {fault}\n");
    let (gateway, heads) = gateway(
        plain("200 OK", "", "hello"),
        TO_BACKEND,
        &fault("{delay: {fixedDelay: 5ms}, abort: {httpStatus: 418, percentage: 100}}"),
    )
    .await;
    let refused = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(refused.starts_with("HTTP/1.1 418 "), "{refused}");
    assert!(refused.contains("x-pailou-response-flag: FI\r\n") && refused.ends_with("\r\n\r\nfault filter abort\n"), "{refused}");
    let refused = gateway.ask("POST /a.B/C HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\ncontent-length: 0").await;
    assert!(refused.contains("grpc-message: fault filter abort"), "{refused}");
    assert!(heads.lock().is_empty(), "no aborted request reaches the backend");
}

#[tokio::test]
async fn a_fault_has_a_grpc_status_for_both_kinds_of_clients() {
    let (gateway, _) = gateway(plain("200 OK", "", "hello"), TO_BACKEND, "  faultInjection: {abort: {grpcStatus: 7}}\n").await;
    let grpc = gateway.ask("POST /a.B/C HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\ncontent-length: 0").await;
    assert!(grpc.starts_with("HTTP/1.1 200 ") && grpc.contains("grpc-status: 7\r\n"), "{grpc}");
    let http = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(http.starts_with("HTTP/1.1 403 "), "{http}");
}

#[tokio::test]
async fn a_share_of_nothing_is_no_fault() {
    let spec = "  faultInjection: {delay: {fixedDelay: 1h, percentage: 0}, abort: {httpStatus: 503, percentage: 0.0}}\n";
    let (gateway, _) = gateway(plain("200 OK", "", "hello"), TO_BACKEND, spec).await;
    assert!(gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await.ends_with("hello"));
}

const OVERRIDES: &str = r#"  responseOverride:
  - match: {statusCodes: [{value: 404}]}
    source: Backend
    response:
      contentType: text/html
      body: {inline: "<b>%RESPONSE_CODE%</b> %PROTOCOL% %REQ(x-who?host)% %RESP(server):3%"}
      header: {set: [{name: x-set, value: "was-%RESPONSE_CODE%"}], add: [{name: x-add, value: "1"}, {name: x-add, value: "2"}]}
  - match: {statusCodes: [{type: Range, range: {start: 500, end: 599}}]}
    source: Local
    response: {statusCode: 418, body: {inline: "sorry: %LOCAL_REPLY_BODY%"}}
  - match: {statusCodes: [{value: 401}], responseHeaders: [{name: www-authenticate, value: {type: Prefix, value: Bearer}}]}
    redirect: {scheme: https, hostname: login.test, path: {type: ReplaceFullPath, replaceFullPath: /login}}
"#;

#[tokio::test]
async fn an_overridden_response_has_nothing_of_the_original() {
    let original = plain("404 Not Found", "server: engine\r\nx-secret: 1\r\ncontent-encoding: gzip\r\n", "stack trace");
    let rule = "{filters: [{type: CORS, cors: {allowOrigins: [\"https://app.test\"]}}], backendRefs: [{group: gateway.envoyproxy.io, \
                kind: Backend, name: main}]}";
    let (gateway, heads) = gateway(original, rule, OVERRIDES).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    // The second request on the connection shows that the first response was framed well.
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nx-who: me\r\norigin: https://app.test\r\n\r\n").await.unwrap();
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).ends_with("<b>404</b> HTTP/1.1 me eng") {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
        }
        let response = String::from_utf8(read).unwrap();
        assert!(response.starts_with("HTTP/1.1 404 ") && response.contains("content-type: text/html\r\n"), "{response}");
        assert!(response.contains("x-set: was-404\r\n") && response.contains("x-add: 1\r\nx-add: 2\r\n"), "{response}");
        // Scripts may read it.
        assert!(response.contains("access-control-allow-origin: https://app.test\r\n"), "{response}");
        assert!(!response.contains("x-secret") && !response.contains("content-encoding"), "{response}");
    }
    assert_eq!(heads.lock().len(), 2);
}

#[tokio::test]
async fn the_source_and_all_conditions_count() {
    let (unauthorized, _) = gateway(plain("401 Unauthorized", "www-authenticate: Bearer x\r\n", ""), TO_BACKEND, OVERRIDES).await;
    let response = unauthorized.ask("GET /a?b HTTP/1.1\r\nhost: a.test").await;
    assert!(response.starts_with("HTTP/1.1 302 ") && response.contains("location: https://login.test/login?b\r\n"), "{response}");

    let (basic, _) = gateway(plain("401 Unauthorized", "www-authenticate: Basic x\r\n", "no"), TO_BACKEND, OVERRIDES).await;
    assert!(basic.ask("GET / HTTP/1.1\r\nhost: a.test").await.ends_with("\r\n\r\nno"));

    let (failing, _) = gateway(plain("503 Service Unavailable", "", "busy"), TO_BACKEND, OVERRIDES).await;
    assert!(failing.ask("GET / HTTP/1.1\r\nhost: a.test").await.ends_with("\r\n\r\nbusy"), "a backend's own 503 stays");

    let objects = [backend("main", nowhere(), ""), route(TO_BACKEND), policy(OVERRIDES)].concat();
    let response = Gateway::serve(&objects).ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(response.starts_with("HTTP/1.1 418 ") && response.contains("\r\n\r\nsorry: no connection"), "{response}");
}

const COMPRESSOR: &str =
    "  compressor: [{type: Brotli, brotli: {}}, {type: Gzip, gzip: {}, minContentLength: 20}, {type: Zstd, zstd: {}}]\n";

fn decode(mut decoder: impl DecodeV2, mut data: &[u8]) -> String {
    let mut text = vec![0; 1 << 20];
    let mut output = WriteBuffer::new_initialized(&mut text);
    let mut input = PartialBuffer::new(std::mem::take(&mut data));
    while !input.unwritten().is_empty() && !decoder.decode(&mut input, &mut output).unwrap() {}
    decoder.flush(&mut output).unwrap();
    String::from_utf8(output.written().to_vec()).unwrap()
}

/// The head of a response, and its body freed of its chunks.
async fn ask(gateway: &Gateway, head: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    let end = read.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(read[..end].to_vec()).unwrap() + "\r\n";
    let body = &read[end + 4..];
    if head.contains("transfer-encoding: chunked") { (head, unchunked(body)) } else { (head, body.to_vec()) }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
}

#[tokio::test]
async fn responses_are_compressed_as_the_client_prefers() {
    let original = plain("200 OK", "content-type: application/json; charset=utf-8\r\netag: \"1\"\r\n", JSON);
    let (gateway, heads) = gateway(original, TO_BACKEND, COMPRESSOR).await;
    for (accept, coding) in [
        ("gzip, br, zstd", Some("br")),
        ("GZIP;q=1.0, br;q=0.5", Some("gzip")),
        ("*", Some("br")),
        ("br;q=0, *;q=0.5", Some("gzip")),
        ("zstd\r\naccept-encoding: gzip;q=0.1", Some("zstd")),
        ("br;q=0, gzip;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("deflate", None),
    ] {
        let (head, body) = ask(&gateway, &format!("GET / HTTP/1.1\r\nhost: a.test\r\naccept-encoding: {accept}")).await;
        assert!(head.contains("vary: Accept-Encoding\r\n"), "{accept}: {head}");
        let found = head.lines().find_map(|line| line.strip_prefix("content-encoding: "));
        assert_eq!(found, coding, "{accept}");
        assert_eq!(head.contains("etag: W/\"1\"\r\n"), coding.is_some(), "{head}");
        let body = match coding {
            None => String::from_utf8(body).unwrap(),
            Some("br") => decode(BrotliDecoder::new(), &body),
            Some("gzip") => decode(GzipDecoder::new(), &body),
            Some(_) => decode(ZstdDecoder::new(), &body),
        };
        assert_eq!(body, JSON, "{accept}");
    }
    assert!(heads.lock().iter().all(|head| !head.contains("accept-encoding")), "backends answer plainly");
}

#[tokio::test]
async fn what_must_stay_as_it_is_stays() {
    for (headers, body) in [
        ("content-type: text/event-stream\r\n", "data: one two three four five six seven eight\n\n"),
        ("content-type: image/png\r\n", "one two three four five six seven eight nine ten"),
        ("content-type: text/plain\r\ncache-control: public, no-transform\r\n", "one two three four five six seven eight nine"),
        ("content-type: text/plain\r\ncontent-encoding: x\r\n", "one two three four five six seven eight nine ten"),
        ("content-type: text/plain\r\n", "short"),
    ] {
        let (gateway, _) = gateway(plain("200 OK", headers, body), TO_BACKEND, COMPRESSOR).await;
        let (head, found) = ask(&gateway, "GET / HTTP/1.1\r\nhost: a.test\r\naccept-encoding: gzip, br, zstd").await;
        assert_eq!(String::from_utf8(found).unwrap(), body, "{head}");
        assert!(!head.contains("vary"), "{head}");
    }
}

#[tokio::test]
async fn a_compressed_piece_goes_out_as_soon_as_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (next, mut told) = mpsc::channel::<()>(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut read).await.unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .await
            .unwrap();
        told.recv().await.unwrap();
        stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    });
    let gateway = Gateway::serve(&[backend("main", address, ""), route(TO_BACKEND), policy(COMPRESSOR)].concat());
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\naccept-encoding: zstd\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    // The first piece is there while the backend waits to be told to go on.
    let body = loop {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let body = [&read[end + 4..], b"0\r\n\r\n"].concat();
        if body.len() > 5 && body[..body.len() - 5].ends_with(b"\r\n") {
            break end + 4;
        }
    };
    let first = unchunked(&[&read[body..], b"0\r\n\r\n"].concat());
    assert_eq!(decode(ZstdDecoder::new(), &first), "first");
    next.send(()).await.unwrap();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(decode(ZstdDecoder::new(), &unchunked(&read[body..])), "firstsecond");
}
