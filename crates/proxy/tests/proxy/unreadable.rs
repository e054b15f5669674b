//! Model calls to a pool whose body cannot be read.

use pailou_sim::{Config, Sim};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::objects::{Gateway, route};

/// A gateway that sends everything to a pool of this engine, which gives `qwen` another name.
fn gateway(engine: &Sim) -> Gateway {
    let rule = "{backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: pool}]}";
    let pool = format!(
        "---\napiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {{name: pool}}\nspec: {{selector: {{matchLabels: \
         {{app: a}}}}, targetPorts: [{{number: {}}}]}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: a, labels: {{app: a}}}}\nspec: \
         {{containers: [{{name: e, image: x}}]}}\nstatus: {{podIP: {}, conditions: [{{type: Ready, status: \"True\"}}]}}\n---\napiVersion: \
         llm-d.ai/v1alpha2\nkind: InferenceModelRewrite\nmetadata: {{name: r}}\nspec: {{poolRef: {{name: pool}}, rules: [{{matches: [{{model: \
         {{value: qwen}}}}], targets: [{{modelRewrite: inner}}]}}]}}\n",
        engine.addr().port(),
        engine.addr().ip()
    );
    Gateway::serve(&[route(rule), pool].concat())
}

async fn post(gateway: &Gateway, path: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const BODY: &str = r#"{"model":"qwen","max_tokens":2,"messages":[{"role":"user","content":"hi"}]}"#;
const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn a_pool_serves_no_model_call_that_it_cannot_read() {
    let engine = Sim::start(Config::new("a", ["inner"]).instant()).await.unwrap();
    let gateway = gateway(&engine);
    let served = post(&gateway, "/v1/chat/completions", JSON, BODY.as_bytes()).await;
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
    let wide: Vec<u8> = BODY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = ["\u{feff}".as_bytes(), BODY.as_bytes()].concat();
    let cases = [
        ("content-encoding: compress\r\ncontent-type: application/json\r\n", BODY.as_bytes(), "415", "Content-Encoding"),
        ("content-type: application/octet-stream\r\n", BODY.as_bytes(), "415", "Content-Type"),
        ("content-type: text/json; charset=utf-16\r\n", &wide, "400", "`model`"),
        (JSON, &marked, "400", "`model`"),
        (JSON, b"[]", "400", "`model`"),
        (JSON, &BODY.as_bytes()[..20], "400", "`model`"),
    ];
    for (headers, body, status, reason) in cases {
        for (path, shape) in [("/v1/chat/completions", r#"{"error":{"message":"#), ("/v1/messages", r#"{"type":"error","error":"#)]
        {
            let answer = post(&gateway, path, headers, body).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {answer}");
            assert!(answer.contains(reason) && answer.contains(shape), "{headers}: {answer}");
            assert_eq!(answer.contains("accept-encoding: gzip"), reason == "Content-Encoding", "{answer}");
        }
    }
    assert_eq!(engine.stats().requests, 1);
}

#[tokio::test]
async fn other_requests_to_a_pool_pass_as_they_are() {
    let engine = Sim::start(Config::new("a", ["inner"]).instant()).await.unwrap();
    let gateway = gateway(&engine);
    let wide: Vec<u8> = BODY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (path, headers, body) in [
        ("/tokenize", JSON, &wide[..]),
        ("/detokenize", "content-type: application/octet-stream\r\n", BODY.as_bytes()),
        ("/upload", "content-encoding: compress\r\n", BODY.as_bytes()),
        ("/v1/files", JSON, b"["),
    ] {
        let answer = post(&gateway, path, &format!("{headers}x-sim-echo: 1\r\n"), body).await;
        assert!(answer.contains("x-sim-server: a\r\n"), "{path}: {answer}");
    }
    // An engine may read it, and there hosts to fetch KV cache from.
    let big_endian = BODY.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for body in [wide, big_endian, [b"\xef\xbb\xbf", BODY.as_bytes()].concat()] {
        let answer = post(&gateway, "/generate", JSON, &body).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    for path in ["/health", "/metrics"] {
        let answer = gateway.ask(&format!("GET {path} HTTP/1.1\r\nhost: a.test\r\ncontent-type: text/html")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}
