//! Prompts that the gateway tokenizes itself, by the files of the engines' model.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::picker::Picker;
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::{Config, EventEncoding, KvEvents, Sim};
use pailou_tokenizer::{ModelFiles, ModelTokenizer};
use serde_json::{Value, json};

use crate::support::{everything_to, pool_of};

const IN_PROCESS: &str = "pailou_prompt_in_process_tokenizations";
const TOKENIZATIONS: &str = "pailou_prompt_tokenizations";

/// A file of the tokenizers' own tests.
fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tokenizer/tests/data").join(name)).unwrap()
}

/// A directory with the files of `qwen`, gone when dropped.
struct Models(PathBuf);

impl Models {
    fn new(tokenizer: &[u8]) -> Self {
        let name = format!("pailou-e2e-models-{}-{}", std::process::id(), u32::from(loopback()));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("qwen")).unwrap();
        fs::write(path.join("qwen/tokenizer.json"), tokenizer).unwrap();
        fs::write(path.join("qwen/chat_template.jinja"), data("chatml.jinja")).unwrap();
        Self(path)
    }
}

impl Drop for Models {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An engine with a model's own tokenizer.
async fn engine(name: &str) -> Sim {
    let address: Ipv4Addr = loopback();
    let at = |port| SocketAddr::from((address, port));
    let events = KvEvents { listen: at(5557), replay_listen: Some(at(5558)), encoding: EventEncoding::Map, topic: "kv".into() };
    let files = ModelFiles { tokenizer: data("qwen.json"), config: None, template: Some(data("chatml.jinja")) };
    let tokenizer = Some(Arc::new(ModelTokenizer::new(&files).unwrap()));
    let config = Config { listen: at(8000), kv_events: Some(events), tokenizer, ..Config::new(name, ["qwen"]).instant() };
    Sim::start(config).await.unwrap()
}

fn pool(engines: &[&Sim]) -> Vec<Value> {
    let mut pool = pool_of("qwen", engines);
    pool[0]["metadata"]["annotations"] = json!({
        "inference.networking.x-k8s.io/routing-strategy": "PREFIX_CACHE",
        "pailou.dev/kv-events-port": "5557",
        "pailou.dev/kv-events-replay-port": "5558",
    });
    pool
}

async fn serve(engines: &[&Sim], models: &Models) -> Gateway {
    let gateway = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    let setup = Setup::with(gateway.into_iter().chain(pool(engines))).args([
        "--receipts-sample".as_ref(),
        "1".as_ref(),
        "--tokenizers".as_ref(),
        models.0.as_os_str(),
    ]);
    let gateway = setup.serve().await;
    let known = async || gateway.metric("pailou_kv_publishers", &["state=\"complete\""]).await;
    wait::within("all engines are heard", async { while known().await != engines.len() as f64 {} }).await;
    gateway
}

fn chat(topic: &str, question: usize) -> Call {
    let messages = json!([
        {"role": "system", "content": format!("{topic}: {}", "what the model is to know. ".repeat(80))},
        {"role": "user", "content": format!("question {question}")},
    ]);
    let tools = json!([{"type": "function", "function": {"name": topic, "parameters": {"type": "object"}}}]);
    Call::json(CHAT, json!({"model": "qwen", "messages": messages, "tools": tools, "max_tokens": 1}).to_string())
}

fn completion(topic: &str, question: usize) -> Call {
    let prompt = format!("{topic}: {}<|im_end|>{question}", "what the model is to know. ".repeat(80));
    Call::json("/v1/completions", json!({"model": "qwen", "prompt": prompt, "max_tokens": 1}).to_string())
}

/// Has one engine compute a prompt behind the gateway's back, and sees that those that begin like it go there.
async fn draws(gateway: &Gateway, (engine, name): (&Sim, &str), call: impl Fn(usize) -> Call) {
    let stored = async || gateway.metric("pailou_kv_event_blocks", &["kind=\"stored\""]).await;
    let before = stored().await;
    assert_eq!(call(0).send(engine.addr()).await.status, 200);
    wait::within("the blocks are known", async { while stored().await < before + 20.0 {} }).await;
    let mut in_a_row = 0;
    let drawn = async {
        for question in 1.. {
            let reply = call(question).send(gateway.http()).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            in_a_row = if reply.server() == name { in_a_row + 1 } else { 0 };
            if in_a_row == 8 {
                return;
            }
        }
    };
    wait::within(&format!("requests go to {name}"), drawn).await;
}

async fn count(gateway: &Gateway, metric: &str, result: &str) -> f64 {
    gateway.metric(metric, &[&format!("result=\"{result}\"")]).await
}

#[tokio::test]
async fn prompts_are_tokenized_in_the_gateway_as_engines_do() {
    let models = Models::new(&data("qwen.json"));
    let [a, b] = [engine("a").await, engine("b").await];
    let gateway = serve(&[&a, &b], &models).await;
    for (topic, engine, name) in [("gates", &b, "b"), ("bridges", &a, "a")] {
        draws(&gateway, (engine, name), |question| chat(topic, question)).await;
        draws(&gateway, (engine, name), |question| completion(topic, question)).await;
    }
    let computed = count(&gateway, TOKENIZATIONS, "computed").await;
    let (tokenized, loading) = (count(&gateway, IN_PROCESS, "tokenized").await, count(&gateway, IN_PROCESS, "loading").await);
    assert!(computed >= 24.0 && computed == tokenized, "{computed} {tokenized} {loading}");
    assert_eq!(gateway.metric("pailou_prompt_token_mismatches", &[]).await, 0.0);
    assert_eq!(chat("gates", 99).header("x-request-id", "told").send(gateway.http()).await.status, 200);
    let receipt = crate::receipts::receipt(&gateway, "told").await;
    assert_eq!(receipt["pick"]["tokens"], json!({"by": "in_process", "result": "computed"}), "{receipt}");
}

#[tokio::test]
async fn files_of_another_model_are_found_out_and_engines_asked() {
    let models = Models::new(&data("llama3.json"));
    let [a, b] = [engine("a").await, engine("b").await];
    let gateway = serve(&[&a, &b], &models).await;
    let asked = async {
        for question in 0.. {
            assert_eq!(chat("gates", question).send(gateway.http()).await.status, 200);
            if count(&gateway, IN_PROCESS, "doubted").await > 0.0 && count(&gateway, TOKENIZATIONS, "answered").await > 0.0 {
                return;
            }
        }
    };
    wait::within("an engine is asked", asked).await;
    assert!(gateway.metric("pailou_prompt_token_mismatches", &[]).await >= 3.0);
    assert!(gateway.stderr().contains("a tokenizer gives another number of tokens"), "{}", gateway.stderr());
}

#[tokio::test]
async fn files_that_are_not_understood_are_named_and_engines_asked() {
    let mut file: Value = serde_json::from_slice(&data("qwen.json")).unwrap();
    file["model"]["type"] = json!("Unigram");
    let models = Models::new(file.to_string().as_bytes());
    let [a, b] = [engine("a").await, engine("b").await];
    let gateway = serve(&[&a, &b], &models).await;
    draws(&gateway, (&b, "b"), |question| chat("gates", question)).await;
    assert!(count(&gateway, IN_PROCESS, "files").await >= 1.0);
    assert!(count(&gateway, TOKENIZATIONS, "answered").await >= 1.0);
    wait::within("the file is named", async {
        while !gateway.stderr().contains("tokenizer.json: model.type: Unigram is not supported") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_picker_for_other_gateways_tokenizes_too() {
    let models = Models::new(&data("qwen.json"));
    let [a, b] = [engine("a").await, engine("b").await];
    let picker = Picker::serve("qwen", pool(&[&a, &b]), &["--tokenizers", models.0.to_str().unwrap()]).await;
    let gateway = crate::picker::gateway(&[&a, &b], &picker, "FailClose", []).await;
    let asked = async {
        for question in 0.. {
            assert_eq!(chat("gates", question).send(gateway.http()).await.status, 200);
            if picker.metric(TOKENIZATIONS, &["result=\"computed\""]).await > 0.0 {
                return;
            }
        }
    };
    wait::within("the picker tokenizes", asked).await;
}
