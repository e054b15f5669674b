//! Clients and servers that are not ours.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::limit_store::free_port;
use pailou_e2e::python::{Python, program};
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, Sim};
use serde_json::json;

use crate::support::{engine, everything_to, pool_of};

/// The model `qwen` on one engine that takes a few milliseconds a token.
async fn qwen() -> (Gateway, Sim) {
    let cost = CostModel { step_us: 5_000.0, ..CostModel::instant() };
    let sim = engine(Config { cost, ..Config::new("a", ["qwen"]) }).await;
    let rules = json!([{"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_pool("qwen")]}]);
    let mut list = vec![objects::gateway(), objects::route("r", rules)];
    list.extend(pool_of("qwen", &[&sim]));
    (Setup::with(list).serve().await, sim)
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_sdk_chats_streams_calls_tools_embeds_and_aborts() {
    let Some(python) = Python::with(&["openai"]) else { return };
    let (gateway, sim) = qwen().await;
    let said = python.run("openai_chat.py", &[&format!("http://{}", gateway.http()), "qwen"]).await;
    assert_eq!(said.lines().count(), 9, "{said}");
    wait::eventually("the engine hears of both aborts", || sim.stats().aborts == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_sdk_sends_messages() {
    let Some(python) = Python::with(&["anthropic"]) else { return };
    let (gateway, _sim) = qwen().await;
    python.run("anthropic_messages.py", &[&format!("http://{}", gateway.http()), "qwen"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_asks_by_http1_and_http2() {
    let Some(curl) = program("curl") else { return };
    let (gateway, _sim) = qwen().await;
    let body = r#"{"model":"qwen","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut command = Command::new(&curl);
        command.args([
            "-sS",
            "-N",
            "--max-time",
            "30",
            version,
            "-w",
            "%{http_code}",
            "-H",
            "content-type: application/json",
            "-d",
            body,
        ]);
        command.arg(format!("http://{}{CHAT}", gateway.http()));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(text.ends_with("data: [DONE]\n\n200"), "{version}: {text}");
    }
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_engine_serves_behind_the_gateway() {
    let Some(python) = Python::with(&["llama_cpp.server", "gguf", "numpy", "openai"]) else { return };
    let pod = loopback();
    let setup = Setup::new();
    let model = setup.aside("tiny.gguf", "");
    let model = model.to_str().unwrap();
    python.run("tiny_model.py", &[model]).await;

    let mut command = python.module("llama_cpp.server");
    command.args(["--model", model, "--model_alias", "tiny", "--chat_format", "chatml", "--n_ctx", "512", "--n_threads", "1"]);
    command.args(["--host", &pod.to_string(), "--port", "8000"]).stdout(Stdio::null()).stderr(Stdio::null());
    let _engine = Running(command.spawn().unwrap());
    let up = async {
        while Call::get("/v1/models").try_send(SocketAddr::from((pod, 8000))).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    wait::within("the engine is up", up).await;

    let rules = json!([{"matches": [objects::by_model("tiny")], "backendRefs": [objects::to_pool("tiny")]}]);
    let list = [objects::gateway(), objects::route("r", rules), objects::pool("tiny"), objects::pod("tiny-0", "tiny", pod)];
    let gateway = setup.file("objects.yaml", &objects::documents(list)).serve().await;
    let said = python.run("openai_short.py", &[&format!("http://{}", gateway.http()), "tiny"]).await;
    assert_eq!(said.trim(), "ok");
    let line =
        gateway.logged("a chat with its usage", |line| line["output_tokens"].as_u64().is_some_and(|tokens| tokens > 0)).await;
    assert_eq!(line["model"], "tiny");
}

/// The provider is zitadel's, built of `oidc-provider/`.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_in_goes_on_and_logs_out() {
    let Some(python) = Python::with(&["http.cookiejar"]) else { return };
    let Some(provider) = program("oidc-provider") else { return };
    let (setup, port, application) = (Setup::new(), free_port(), SocketAddr::from((loopback(), 8000)));
    let url = format!("http://{}", SocketAddr::new(setup.address(), 8080));
    let mut command = Command::new(provider);
    command.env("PORT", port.to_string()).env("REDIRECT_URI", format!("{url}/oauth2/callback"));
    command.env("POST_LOGOUT_REDIRECT_URI", format!("{url}/")).stdout(Stdio::null()).stderr(Stdio::null());
    let _provider = Running(command.spawn().unwrap());
    let up = async {
        let discovery = "/.well-known/openid-configuration";
        while Call::get(discovery).try_send(SocketAddr::from(([127, 0, 0, 1], port))).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    wait::within("the provider is up", up).await;

    let login = json!({"oidc": {
        "provider": {"issuer": format!("http://localhost:{port}/")}, "clientID": "web", "clientSecret": {"name": "client"},
        "scopes": ["profile", "offline_access"], "forwardAccessToken": true, "forwardIDToken": {"header": "x-id-token"}}});
    let list = [
        objects::gateway(),
        objects::route("web", everything_to(objects::to_backend("application"))),
        objects::backend("application", &[application]),
        objects::secret("client", "client-secret", "secret"),
        objects::on_route("SecurityPolicy", "web", login),
    ];
    let gateway = setup.file("objects.yaml", &objects::documents(list)).serve().await;
    assert_eq!(url, format!("http://{}", gateway.http()));
    let said = python.run("single_sign_on.py", &[&url, &application.to_string()]).await;
    assert!(said.ends_with("ok\n"), "{said}");
    let log = gateway.stdout() + &gateway.stderr();
    assert!(!log.contains("eyJ"), "a token is in the log: {log}");
}
