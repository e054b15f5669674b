//! The two setups that users bring, applied unchanged.

use std::net::SocketAddr;

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::selfsigned::Authority;
use pailou_sim::{Config, Sim};

use crate::support::{engine, instant, ip};

const SERVICE: &str = "dashscope.aliyuncs.com";
const KEY: &str = "sk-hosted-4f1c9e";
/// As a client would send it: Chinese text, a parameter of the service's own, odd spacing and an escaped character.
const CHINESE: &str = "{\"model\": \"qwen3-32b\",\n  \"messages\": [{\"role\": \"user\", \"content\": \"你是谁？牌樓\\u7247 \"}],\
    \"enable_thinking\":  false, \"n\" :1}";

async fn model_routing(qwen: &Sim, deepseek: &Sim) -> Gateway {
    let pods = [objects::pod("qwen-0", "qwen", ip(qwen)), objects::pod("deepseek-0", "deepseek-r1", ip(deepseek))];
    Setup::with(pods)
        .file("inference-gateway.yaml", include_str!("../mission/inference-gateway.yaml"))
        .file("inference-pool.yaml", include_str!("../mission/inference-pool.yaml"))
        .file("inference-route.yaml", include_str!("../mission/inference-route.yaml"))
        .serve()
        .await
}

struct Hosted {
    service: Sim,
    setup: Setup,
}

/// A stand-in for the hosted service with a certificate for its name, and a gateway that gets its address.
async fn hosted(served_name: &str) -> Hosted {
    let authority = Authority::new().unwrap();
    let config = Config {
        tls: Some(authority.issue(&[served_name]).unwrap()),
        api_key: Some(KEY.into()),
        path_prefix: "/compatible-mode".to_owned(),
        listen: SocketAddr::from((loopback(), 0)),
        ..Config::new("hosted", ["qwen3-32b"]).instant()
    };
    let service = Sim::start(config).await.unwrap();
    let setup = Setup::new();
    let roots = setup.aside("roots.pem", &authority.ca_pem());
    let setup = setup
        .env("SSL_CERT_FILE", roots)
        .args(["--resolve".to_owned(), format!("{SERVICE}:443:{}", service.addr())])
        .file("gateway-route.yaml", include_str!("../mission/gateway-route.yaml"))
        .file("maas-policy.yaml", include_str!("../mission/maas-policy.yaml"));
    Hosted { service, setup }
}

fn credential(value: &str) -> String {
    objects::documents([objects::secret("bailian-credential", "credential", value)])
}

fn chat() -> Call {
    Call::json(CHAT, CHINESE).header("authorization", "Bearer the-clients-own")
}

#[tokio::test]
async fn each_model_is_served_by_its_own_pool() {
    let (qwen, deepseek) = (instant("qwen-0", "qwen").await, instant("deepseek-0", "deepseek-r1").await);
    let gateway = model_routing(&qwen, &deepseek).await;
    for (model, server) in [("qwen", "qwen-0"), ("deepseek-r1", "deepseek-0"), ("qwen", "qwen-0")] {
        let reply = Call::chat(model, "hello").send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, server), "{}", reply.text());
        assert_eq!(reply.json()["model"], model);
    }
    let unknown = Call::chat("gpt-4", "hello").send(gateway.http()).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    assert_eq!(unknown.json()["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn a_prompt_of_megabytes_passes_and_one_over_the_limit_does_not() {
    let engine = |name: &str, model: &str| engine(Config { max_body_bytes: 64 << 20, ..Config::new(name, [model]).instant() });
    let (qwen, deepseek) = (engine("qwen-0", "qwen").await, engine("deepseek-0", "deepseek-r1").await);
    let gateway = model_routing(&qwen, &deepseek).await;
    let body = |bytes: usize| format!(r#"{{"messages":[{{"role":"user","content":"{}"}}],"model":"qwen"}}"#, "x".repeat(bytes));
    let reply = Call::json(CHAT, body(19 << 20)).echo().send(gateway.http()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["body_length"], body(19 << 20).len());
    let reply = Call::json(CHAT, body(20 << 20)).send(gateway.http()).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
}

#[tokio::test]
async fn the_hosted_service_gets_the_request_as_it_expects_it() {
    let Hosted { service: _service, setup } = hosted(SERVICE).await;
    let gateway = setup.file("credential.yaml", &credential(&format!("Bearer {KEY}"))).serve().await;
    let reply = chat().echo().send(gateway.http()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let echo = reply.json();
    assert_eq!(echo["path"], "/compatible-mode/v1/chat/completions");
    assert_eq!((&echo["tls"], &echo["sni"]), (&true.into(), &SERVICE.into()));
    assert_eq!(echo["body"], CHINESE, "every byte is the client's");
    assert_eq!(reply.received("authorization"), format!("Bearer {KEY}"));
    let host = if echo["authority"].is_string() { echo["authority"].as_str().unwrap().to_owned() } else { reply.received("host") };
    assert_eq!(host, SERVICE);
    let query = Call::json("/v1/models?a=b%20c", "{}").echo().send(gateway.http()).await;
    assert_eq!(query.json()["path"], "/compatible-mode/v1/models?a=b%20c");
}

#[tokio::test]
async fn the_hosted_service_answers_whole_and_as_a_stream() {
    let Hosted { service: _service, setup } = hosted(SERVICE).await;
    let gateway = setup.file("credential.yaml", &credential(&format!("Bearer {KEY}\n"))).serve().await;
    let reply = chat().send(gateway.http()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let said = reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.contains("你是谁"), "{said}");
    let stream = Call::chat_stream("qwen3-32b", "你是谁？", 12).send(gateway.http()).await;
    assert!(stream.header("content-type").starts_with("text/event-stream"));
    assert!(stream.text().ends_with("data: [DONE]\n\n"), "{}", stream.text());
}

#[tokio::test]
async fn what_the_service_says_of_a_wrong_key_reaches_the_client() {
    let Hosted { service, setup } = hosted(SERVICE).await;
    let gateway = setup.file("credential.yaml", &credential("Bearer wrong")).serve().await;
    let reply = chat().send(gateway.http()).await;
    assert_eq!((reply.status.as_u16(), reply.server()), (401, "hosted"));
    assert_eq!(service.stats().requests, 1);
    gateway.save("credential.yaml", &credential(&format!("Bearer {KEY}")));
    let again = async { while chat().send(gateway.http()).await.status != 200 {} };
    wait::within("the new key is used", again).await;
}

#[tokio::test]
async fn without_its_secret_nothing_is_sent_to_the_service() {
    let Hosted { service, setup } = hosted(SERVICE).await;
    let gateway = setup.serve().await;
    let reply = chat().send(gateway.http()).await;
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert!(reply.json()["error"]["message"].is_string());
    assert_eq!((service.stats().requests, service.stats().connections), (0, 0));
    gateway.save("credential.yaml", &credential(&format!("Bearer {KEY}")));
    let healed = async { while chat().send(gateway.http()).await.status != 200 {} };
    wait::within("the route works once the secret is there", healed).await;
    gateway.remove("credential.yaml");
    let broken = async { while chat().send(gateway.http()).await.status != 500 {} };
    wait::within("and no longer when it is gone", broken).await;
}

#[tokio::test]
async fn the_secret_can_come_from_a_file() {
    let Hosted { service: _service, setup } = hosted(SERVICE).await;
    let file = setup.aside("key.txt", &format!("Bearer {KEY}\n"));
    let gateway = setup.args(["--secret".to_owned(), format!("bailian-credential={}", file.display())]).serve().await;
    let reply = chat().echo().send(gateway.http()).await;
    assert_eq!(reply.received("authorization"), format!("Bearer {KEY}"));
}

#[tokio::test]
async fn a_service_that_cannot_prove_its_name_gets_no_credential() {
    let Hosted { service, setup } = hosted("elsewhere.test").await;
    let gateway = setup.file("credential.yaml", &credential(&format!("Bearer {KEY}"))).serve().await;
    let reply = chat().send(gateway.http()).await;
    assert!(reply.status.is_server_error(), "{} {}", reply.status, reply.text());
    assert_eq!(service.stats().requests, 0);
}
