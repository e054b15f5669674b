//! Contents of model calls in spans: nowhere until the operator asks for them, and then bounded and without credentials.

use pailou_e2e::client::{CHAT, Call};
use pailou_e2e::collector::{Collector, Span};
use pailou_e2e::gateway::Gateway;
use pailou_sim::Sim;
use serde_json::{Value, json};

use crate::support::instant;
use crate::traces::{PARENT, TRACE, to_pool, trace, traced};

const CONTENT: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";

/// A gateway with these variables, and the span of a call's attempt.
async fn called(variables: &[(&str, &str)], stream: bool) -> (Collector, Sim, Gateway, Span, String) {
    let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
    let setup = traced(to_pool(&[&engine]), &collector.url());
    let gateway = variables.iter().fold(setup, |setup, (name, value)| setup.env(name, *value)).serve().await;
    let body = json!({"model": "qwen", "max_tokens": 5, "stream": stream, "messages": [
        {"role": "system", "content": "Instructions-marker"},
        {"role": "user", "content": "Prompt-marker with sk-0123456789abcdefghij inside"},
    ]});
    let call = Call::json(CHAT, body.to_string()).header("traceparent", PARENT);
    let reply = call.send(gateway.http()).await;
    assert_eq!(reply.status, 200);
    let text = if stream {
        let events = crate::support::events(&reply.text());
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
    } else {
        reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let (_, clients) = trace(&collector, TRACE).await;
    let client = clients.into_iter().next().expect("an attempt");
    (collector, engine, gateway, client, text)
}

fn json_of(span: &Span, name: &str) -> Value {
    serde_json::from_str(span.attributes[name].as_str().unwrap()).unwrap()
}

fn is_told(collector: &Collector, text: &str) -> bool {
    let text = text.as_bytes();
    collector.received().iter().any(|request| request.message.windows(text.len()).any(|window| window == text))
}

#[tokio::test]
async fn nothing_of_a_call_is_told_until_it_is_asked_for() {
    for variables in [&[][..], &[("AI_GATEWAY_TRACING_SEMCONV", "openinference")], &[(CONTENT, "false")], &[(CONTENT, "yes")]] {
        for stream in [false, true] {
            let (collector, _engine, _gateway, _, text) = called(variables, stream).await;
            for part in ["marker", "sk-0123456789", text.as_str()] {
                assert!(!is_told(&collector, part), "{part} with {variables:?}");
            }
        }
    }
}

#[tokio::test]
async fn messages_of_both_sides_are_told_without_credentials() {
    for stream in [false, true] {
        let (collector, _engine, gateway, span, text) = called(&[(CONTENT, "true")], stream).await;
        let text_of = |role: &str, content: &str| json!({"role": role, "parts": [{"type": "text", "content": content}]});
        let expected = [text_of("system", "Instructions-marker"), text_of("user", "Prompt-marker with REDACTED inside")];
        assert_eq!(json_of(&span, "gen_ai.input.messages"), json!(expected));
        let output = json_of(&span, "gen_ai.output.messages");
        assert_eq!((&output[0]["role"], &output[0]["parts"][0]["content"]), (&json!("assistant"), &json!(text)), "{stream}");
        assert_eq!(output[0]["finish_reason"], span.attributes["gen_ai.response.finish_reasons"][0]);
        assert!(!is_told(&collector, "sk-0123456789"));
        // The gateway's own span has none, nor has the log.
        let server = collector.span("the request's span", |span| span.kind == 2).await;
        assert!(!format!("{server:?}").contains("marker") && !gateway.stderr().contains("marker"));
    }
}

#[tokio::test]
async fn a_side_can_be_hidden() {
    let hidden = [(CONTENT, "true"), ("OPENINFERENCE_HIDE_INPUTS", "true")];
    let (collector, _engine, _gateway, span, text) = called(&hidden, false).await;
    assert_eq!(json_of(&span, "gen_ai.output.messages")[0]["parts"][0]["content"], text);
    assert!(!span.attributes.contains_key("gen_ai.input.messages") && !is_told(&collector, "marker"));
}

#[tokio::test]
async fn a_call_is_told_by_openinference_where_that_is_chosen() {
    let variables = [("AI_GATEWAY_TRACING_SEMCONV", "openinference"), (CONTENT, "true")];
    let (_collector, _engine, _gateway, span, text) = called(&variables, false).await;
    for (name, value) in [
        ("openinference.span.kind", json!("LLM")),
        ("llm.system", json!("openai")),
        ("llm.model_name", json!("qwen")),
        ("llm.invocation_parameters", json!("{\"max_tokens\":5}")),
        ("llm.input_messages.0.message.role", json!("system")),
        ("llm.input_messages.1.message.content", json!("Prompt-marker with REDACTED inside")),
        ("llm.output_messages.0.message.content", json!(text)),
        ("output.mime_type", json!("application/json")),
    ] {
        assert_eq!(span.attributes.get(name), Some(&value), "{name} of {span:?}");
    }
    let count = |name: &str| span.attributes[&format!("llm.token_count.{name}")].as_u64().unwrap();
    assert_eq!((count("prompt") + count("completion"), count("completion")), (count("total"), 5));
    assert!(span.attributes.keys().all(|name| !name.starts_with("gen_ai.")), "{span:?}");
}

#[tokio::test]
async fn texts_of_embeddings_are_not_told() {
    for convention in ["gen_ai", "openinference"] {
        let (collector, engine) = (Collector::start().await, instant("a", "qwen").await);
        let setup = traced(to_pool(&[&engine]), &collector.url());
        let gateway = setup.env(CONTENT, "true").env("AI_GATEWAY_TRACING_SEMCONV", convention).serve().await;
        let body = json!({"model": "qwen", "input": "Text-marker"});
        let call = Call::json("/v1/embeddings", body.to_string()).header("traceparent", PARENT);
        assert_eq!(call.send(gateway.http()).await.status, 200);
        let (_, clients) = trace(&collector, TRACE).await;
        assert_eq!(clients.len(), 1);
        assert!(!is_told(&collector, "marker"));
    }
}
