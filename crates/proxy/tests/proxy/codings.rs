//! Compressed request bodies: decoded where their model decides, passed on as they came.

use std::sync::Arc;

use compression_codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZlibEncoder, ZstdEncoder, brotli};
use compression_core::{
    Level,
    util::{PartialBuffer, WriteBuffer},
};
use pailou_envoy_proto::ext_proc::processing_response::Response as Answer;
use pailou_sim::{Config, Sim};
use pailou_snapshot::{ModelTarget, PoolModel};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::support::{
    by_hand::{Gateway, read_until},
    objects,
    picked::gateway_with,
    picker::{choosing, picker, unchanged},
};

const CALL: &str = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":4,"model":"qwen"}"#;

pub(crate) fn encode(coding: &str, text: &[u8]) -> Vec<u8> {
    let mut encoder: Box<dyn EncodeV2> = match coding {
        "gzip" | "x-gzip" => Box::new(GzipEncoder::new(Level::Precise(6).into())),
        "deflate" => Box::new(ZlibEncoder::new(Level::Precise(6).into())),
        "br" => Box::new(BrotliEncoder::new(brotli::params::EncoderParams::default().quality(Level::Precise(3)))),
        _ => Box::new(ZstdEncoder::new(3)),
    };
    let mut output = vec![0; text.len() / 50 + (1 << 16)];
    let mut buffer = WriteBuffer::new_initialized(&mut output);
    let mut input = PartialBuffer::new(text);
    encoder.encode(&mut input, &mut buffer).unwrap();
    assert!(input.unwritten().is_empty() && encoder.finish(&mut buffer).unwrap());
    let length = buffer.written_len();
    output.truncate(length);
    output
}

async fn post(gateway: &Gateway, coding: &str, body: &[u8]) -> String {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.write_all(body).await;
    read_until(&mut stream, |_| false).await
}

/// A backend that takes one request, answers it, and yields its bytes.
async fn backend() -> (std::net::SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let mut bytes = Vec::new();
        let head = loop {
            stream.read_buf(&mut bytes).await.unwrap();
            if bytes.starts_with(b"GET ") {
                // A scrape of metrics.
                bytes.clear();
                stream = listener.accept().await.unwrap().0;
                continue;
            }
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break String::from_utf8(bytes[..end].to_vec()).unwrap();
            }
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
        while bytes.len() < head.len() + 4 + length {
            stream.read_buf(&mut bytes).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        bytes
    });
    (address, taken)
}

#[tokio::test]
async fn a_compressed_body_is_routed_by_its_model_and_goes_on_as_it_came() {
    for coding in ["gzip", "x-gzip", "deflate", "br", "zstd", "ZSTD"] {
        let (address, taken) = backend().await;
        let gateway = Gateway::start(&[address], |_| {});
        let body = encode(&coding.to_lowercase(), CALL.as_bytes());
        let answer = post(&gateway, coding, &body).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{coding}: {answer}");
        let taken = taken.await.unwrap();
        let head = String::from_utf8_lossy(&taken[..taken.len() - body.len()]).into_owned();
        assert!(head.contains(&format!("\r\ncontent-encoding: {coding}\r\n")), "{head}");
        assert!(head.contains("\r\nx-gateway-model-name: qwen\r\n") && taken.ends_with(&body), "{coding}: {head}");
    }
}

#[tokio::test]
async fn two_codings_are_undone_in_turn() {
    let engine = Sim::start(Config::new("a", ["qwen"]).instant()).await.unwrap();
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    let body = encode("br", &encode("gzip", CALL.as_bytes()));
    // The engine does not know the codings; that it is asked is what counts.
    post(&gateway, "gzip, br", &body).await;
    assert_eq!(engine.stats().requests, 1);
}

#[tokio::test]
async fn a_body_that_is_not_of_its_coding_is_refused_with_a_reason() {
    let engine = Sim::start(Config::new("a", ["qwen"]).instant()).await.unwrap();
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let whole = encode(coding, CALL.as_bytes());
        let with_more = [&whole[..], b"more"].concat();
        for body in [&whole[..whole.len() - 1], CALL.as_bytes(), &with_more] {
            let answer = post(&gateway, coding, body).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{coding}: {answer}");
            assert!(answer.contains(&format!("is not {coding}, as its Content-Encoding says")), "{coding}: {answer}");
        }
    }
    assert_eq!(engine.stats().requests, 0);
}

#[tokio::test]
async fn a_body_that_becomes_too_long_is_refused() {
    let engine = Sim::start(Config::new("a", ["qwen"]).instant()).await.unwrap();
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    // The listener allows 1 MiB.
    let long = format!(r#"{{"model":"qwen","prompt":"{}"}}"#, "x".repeat(4 << 20));
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let answer = post(&gateway, coding, &encode(coding, long.as_bytes())).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("once it is decompressed"), "{coding}: {answer}");
    }
    assert_eq!(engine.stats().requests, 0);
}

#[tokio::test]
async fn an_unknown_coding_is_refused_with_those_that_are_known() {
    let engine = Sim::start(Config::new("a", ["qwen"]).instant()).await.unwrap();
    let gateway = Gateway::start(&[engine.addr()], |_| {});
    for coding in ["compress", "gzip, zstd, br", "snappy"] {
        let answer = post(&gateway, coding, CALL.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 415 "), "{coding}: {answer}");
        assert!(answer.contains("\r\naccept-encoding: gzip, deflate, br, zstd\r\n"), "{coding}: {answer}");
    }
    assert_eq!(engine.stats().requests, 0);
}

#[tokio::test]
async fn a_body_whose_model_gets_another_name_goes_on_without_its_coding() {
    let (address, taken) = backend().await;
    let gateway = Gateway::with_pool(&[address], |pool| {
        let targets = vec![ModelTarget { name: "qwen-2".into(), weight: 1 }];
        pool.models.insert("qwen".into(), Arc::new(PoolModel { targets, ..PoolModel::default() }));
    });
    let answer = post(&gateway, "gzip", &encode("gzip", CALL.as_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let taken = String::from_utf8(taken.await.unwrap()).unwrap();
    assert!(!taken.contains("content-encoding"), "{taken}");
    assert!(taken.ends_with(&CALL.replace("qwen", "qwen-2")), "{taken}");
    let _: Arc<()> = Arc::default();
}

#[tokio::test]
async fn an_endpoint_picker_that_a_retry_turns_to_gets_the_body_decoded() {
    let (address, taken) = backend().await;
    let (told, mut seen) = mpsc::unbounded_channel();
    let at = picker(move |mut talk| {
        let told = told.clone();
        async move {
            talk.headers().await;
            told.send(talk.body().await.0).unwrap();
            talk.say(choosing(&address.to_string()));
            talk.say(Answer::RequestBody(unchanged()));
            talk.close();
        }
    })
    .await;
    // Everything goes to the first, until a retry turns to the pool.
    let rule = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: down}, {group: inference.networking.k8s.io, kind: \
                InferencePool, name: pool, weight: 1}]}";
    let retry = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: retry}\nspec:\n  targetRefs: \
                 [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}]\n  retry: {numRetries: 3, retryOn: {triggers: \
                 [connect-failure]}, perRetry: {backOff: {baseInterval: 1ms, maxInterval: 1ms}}}\n";
    let rule = rule.replace("name: down}", "name: down, weight: 1000000}");
    let more = [&objects::backend("down", objects::nowhere(), ""), retry].concat();
    let gateway = gateway_with(&[address], at, "FailClose", &rule, &more);
    let body = encode("gzip", CALL.as_bytes());
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\n\
                content-encoding: gzip\r\n";
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(format!("{head}content-digest: x\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let answer = read_until(&mut stream, |_| false).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(seen.recv().await.unwrap(), CALL.as_bytes());
    let taken = String::from_utf8(taken.await.unwrap()).unwrap();
    assert!(taken.ends_with(CALL) && !taken.contains("content-encoding") && !taken.contains("content-digest"), "{taken}");
}
