//! `pailou demo`: everything in one command.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use crate::{
    pailou,
    process::{Client, Response, Running, free_address},
    run,
};

/// Ports that are free: of the two Gateways and of the engines.
fn ports() -> [SocketAddr; 3] {
    [free_address(), free_address(), free_address()]
}

fn arguments([models, hosted, engines]: [SocketAddr; 3]) -> Vec<String> {
    let port = |address: SocketAddr| address.port().to_string();
    let mut arguments: Vec<String> = ["demo", "--admin", "off", "--port"].map(str::to_owned).into();
    arguments.extend([port(models), "--hosted-port".into(), port(hosted), "--engine-port".into(), port(engines)]);
    arguments
}

fn chat(address: SocketAddr, model: &str) -> Response {
    let body = format!(r#"{{"model": "{model}", "max_tokens": 2, "messages": [{{"role": "user", "content": "你好"}}]}}"#);
    Client::connect(address).unwrap().post("/v1/chat/completions", &body).unwrap()
}

#[test]
fn every_call_it_offers_works_and_ctrl_c_ends_it() {
    let ports = ports();
    let [models, hosted, _] = ports;
    let mut demo = Running::start(pailou().args(arguments(ports)));
    let said = demo.wait_for("Ctrl-C stops everything.");
    assert_eq!(said.matches("\ncurl ").count(), 4, "{said}");
    for model in ["qwen", "deepseek-r1"] {
        let response = chat(models, model);
        let engine = response.header("x-sim-server").unwrap_or_default();
        assert!(response.status == 200 && engine.starts_with(model), "{response:?}");
    }
    assert_eq!(chat(hosted, "qwen3-32b").header("x-sim-server"), Some("hosted"));
    let unknown = chat(models, "gpt-unknown");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("model_not_found"), "{unknown:?}");
    demo.signal("INT");
    assert_eq!(demo.end(), 0);
    let quiet = demo.stderr();
    assert_eq!(quiet, said, "it said more than its welcome");
}

#[test]
fn a_port_that_is_taken_is_named_with_the_flag_that_changes_it() {
    for (index, flag) in [(0, "--port"), (1, "--hosted-port"), (2, "--engine-port")] {
        let mut ports = ports();
        let host = if index == 2 { "127.0.0.2" } else { "127.0.0.1" };
        let taken = TcpListener::bind((host, 0)).unwrap();
        ports[index] = taken.local_addr().unwrap();
        let arguments = arguments(ports);
        let ended = run(Path::new("/"), &arguments.iter().map(String::as_str).collect::<Vec<_>>(), "");
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains(&format!("cannot listen on {}", ports[index])), "{}", ended.stderr);
        assert!(ended.stderr.contains("the port is taken") && ended.stderr.contains(flag), "{}", ended.stderr);
    }
}
