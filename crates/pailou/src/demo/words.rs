//! Texts of the demo.

use std::{fmt::Write, net::SocketAddr};

use super::{
    engines::Engines,
    objects::{HOSTED_MODEL, HOSTED_NAME, REPLICAS},
};
use crate::cli::DemoArgs;

/// Running parts, and requests to try.
pub(super) fn welcome(args: &DemoArgs, engines: &Engines) -> String {
    let models = SocketAddr::from((args.bind, args.port));
    let hosted = SocketAddr::from((args.bind, args.hosted_port));
    let mut text = String::from("Pailou is running the examples, all on this machine.\n\n");
    let mut line = |left: &str, address: &str, right: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {left:<16} {address:<24} {right}");
    };
    line("Gateway models", &format!("http://{models}"), "routes by the model that the body names");
    line("Gateway hosted", &format!("http://{hosted}"), "adds TLS and the key of a hosted service");
    for (pod, model, address) in REPLICAS {
        line(pod, &SocketAddr::from((address, args.engine_port)).to_string(), &format!("simulated engine for {model}"));
    }
    line("hosted service", &engines.hosted().to_string(), &format!("simulated, with TLS, as {HOSTED_NAME}"));
    if let Some(admin) = args.admin.0 {
        line("admin endpoint", &format!("http://{admin}"), "open it in a browser; /metrics /status /receipts for programs");
    }
    text.push_str("\nTry these in another terminal:\n\n");
    let mut call = |about: &str, flag: &str, address: SocketAddr, body: &str| {
        let _ = writeln!(
            text,
            "# {about}\ncurl {flag} http://{address}/v1/chat/completions -H 'content-type: application/json' \\\n  -d '{body}'\n"
        );
    };
    let body = |model: &str, more: &str, words: &str| {
        format!(r#"{{"model": "{model}", {more}"messages": [{{"role": "user", "content": "{words}"}}]}}"#)
    };
    call("by model name; x-sim-server tells which engine answered", "-i", models, &body("qwen", "", "Hello"));
    call("a stream, from the other model", "-N", models, &body("deepseek-r1", r#""stream": true, "#, "Why is the sky blue?"));
    let thinking = r#""enable_thinking": false, "#;
    call("the hosted service; the gateway adds the key", "-i", hosted, &body(HOSTED_MODEL, thinking, "你好，牌楼是什么？"));
    call("a model that nobody serves", "-i", models, &body("gpt-unknown", "", "Hello"));
    text.push_str("Ctrl-C stops everything.\n");
    text
}
