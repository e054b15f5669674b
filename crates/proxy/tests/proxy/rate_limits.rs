//! Limits of requests and tokens: who is refused, what responses say, and what a budget is charged.

mod backends;
mod costs;
mod stores;
mod streams;

use std::{net::SocketAddr, time::Duration};

use pailou_limits::CounterQuery;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::support::objects::{Gateway, backend, route};

pub(crate) const TO_ENGINE: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: engine}]}";
/// 5 + 20 tokens.
const ANSWER: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":20,"total_tokens":25}}"#;

/// A model server that gives a request's connection to the test.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    requests: mpsc::UnboundedReceiver<TcpStream>,
}

impl Engine {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut read = Vec::new();
                    while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                        let text = String::from_utf8_lossy(&read);
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        // The built-in picker reads metrics meanwhile.
                        if head.starts_with("GET /metrics") {
                            return;
                        }
                        let length =
                            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                        if body.len() >= length.unwrap_or(0) {
                            let _ = sender.send(stream);
                            return;
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) async fn next(&mut self) -> TcpStream {
        tokio::time::timeout(Duration::from_secs(60), self.requests.recv()).await.unwrap().unwrap()
    }

    pub(crate) async fn answer(&mut self) {
        answer(&mut self.next().await).await;
    }
}

fn response() -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{ANSWER}",
        ANSWER.len()
    )
}

/// Answers on a connection.
pub(crate) async fn answer(stream: &mut TcpStream) {
    stream.write_all(response().as_bytes()).await.unwrap();
}

pub(crate) fn policy(limit: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: limits}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n  rateLimit: {limit}\n"
    )
}

async fn serve(limit: &str) -> (Gateway, Engine) {
    let engine = Engine::start().await;
    (Gateway::serve(&[route(TO_ENGINE), backend("engine", engine.address, ""), policy(limit)].concat()), engine)
}

pub(crate) fn call(more: &str) -> String {
    let body = r#"{"model":"qwen","max_tokens":20,"messages":[{"role":"user","content":"hi"}]}"#;
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\n{more}connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         \r\n{body}",
        body.len()
    )
}

pub(crate) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

pub(crate) fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn requests_of_each_client_are_counted_and_responses_say_what_is_left() {
    let limit =
        "{global: {rules: [{clientSelectors: [{headers: [{name: x-user, type: Distinct}]}], limit: {requests: 2, unit: Year}}]}}";
    let (gateway, mut engine) = serve(limit).await;
    let ask = async |engine: &mut Engine, user: &str| {
        let request = call(&format!("x-user: {user}\r\n"));
        let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
        answer
    };
    let (first, second) = (ask(&mut engine, "alice").await, ask(&mut engine, "alice").await);
    assert_eq!([status(&first), status(&second)], ["200", "200"]);
    assert_eq!([&first, &second].map(|answer| header(answer, "x-ratelimit-remaining").unwrap()), ["1", "0"]);
    assert_eq!(header(&first, "x-ratelimit-limit"), Some("2, 2;w=31536000"));
    let third = gateway.raw(&call("x-user: alice\r\n")).await;
    assert_eq!(status(&third), "429");
    assert!(third.contains("rate_limit_exceeded") && header(&third, "retry-after").is_some(), "{third}");
    assert_eq!(header(&third, "x-ratelimit-remaining"), Some("0"));
    assert_eq!(status(&ask(&mut engine, "bob").await), "200");
    assert_eq!(gateway.metric("pailou_response_flags_total{flag=\"RL\"}"), 1.0);
    // Without the header the rule does not match.
    let (answer, ()) = tokio::join!(async { gateway.raw(&call("")).await }, engine.answer());
    assert!(status(&answer) == "200" && header(&answer, "x-ratelimit-limit").is_none(), "{answer}");
}

#[tokio::test]
async fn a_token_budget_is_charged_what_responses_used() {
    let limit = "{global: {rules: [{limit: {requests: 60, unit: Year}, cost: {request: {from: Number, number: 0}, response: {from: Metadata, \
                 metadata: {namespace: io.envoy.ai_gateway, key: llm_total_token}}}}]}}";
    let (gateway, mut engine) = serve(limit).await;
    for left in ["32", "7", "0"] {
        let request = call("");
        let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
        // 28 are held: 8 of the prompt, by its length, and 20 that the client allows.
        assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", Some(left)), "{answer}");
    }
    // 75 of 60 are spent.
    assert_eq!(status(&gateway.raw(&call("")).await), "429");
}

#[tokio::test]
async fn calls_at_the_same_time_see_each_other_and_those_that_fail_give_back() {
    let limit = "{global: {rules: [{limit: {requests: 140, unit: Year}, cost: {request: {from: Number, number: 0}, response: {from: Metadata, \
                 metadata: {namespace: FILTER_STATE, key: wasm.gen_ai.total.tokens}}}}]}}";
    let (gateway, mut engine) = serve(limit).await;
    // Five of 28 tokens fit.
    let address = gateway.address;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        calls.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(call("").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
    }
    let calls = async { calls.join_all().await.iter().filter(|answer| status(answer) == "429").count() };
    let serving = async {
        let mut streams = Vec::new();
        for _ in 0..5 {
            streams.push(engine.next().await);
        }
        for stream in &mut streams {
            stream.write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        }
    };
    let (refused, ()) = tokio::join!(calls, serving);
    assert_eq!(refused, 15);
    // All of it is back.
    let request = call("");
    let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
    assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", Some("112")));
}

#[tokio::test]
async fn a_client_that_hangs_up_pays_for_the_events_that_came() {
    let limit = "{global: {rules: [{limit: {requests: 1000, unit: Year}, cost: {request: {from: Number, number: 0}, response: {from: Metadata, \
                 metadata: {namespace: io.envoy.ai_gateway, key: llm_output_token}}}}]}}";
    let (gateway, mut engine) = serve(limit).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(call("").as_bytes()).await.unwrap();
    let mut upstream = engine.next().await;
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    upstream
        .write_all(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{}", event.repeat(7)).as_bytes())
        .await
        .unwrap();
    let mut read = Vec::new();
    while String::from_utf8_lossy(&read).matches("data: ").count() < 7 {
        assert!(client.read_buf(&mut read).await.unwrap() > 0);
    }
    drop(client);
    // The gateway lets go of the backend when it has noticed.
    let _ = upstream.read_buf(&mut Vec::new()).await;
    for _ in 0..500 {
        if gateway.metric("pailou_requests_active") == 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let request = call("");
    let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
    // 7 are charged, 20 held.
    assert_eq!(header(&answer, "x-ratelimit-remaining"), Some("973"), "{answer}");
}

#[tokio::test]
async fn usage_is_read_however_the_path_of_a_model_call_is_written_or_rewritten() {
    let limit = "{global: {rules: [{limit: {requests: 1000, unit: Year}, cost: {request: {from: Number, number: 0}, response: {from: Metadata, \
                 metadata: {namespace: io.envoy.ai_gateway, key: llm_output_token}}}}]}}";
    let rewrite = "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /v1/chat/completions}}}], backendRefs: \
                   [{group: gateway.envoyproxy.io, kind: Backend, name: engine}]}";
    for (rule, path) in [(TO_ENGINE, "/v1/chat%2f%63ompletions"), (rewrite, "/ask"), (TO_ENGINE, "/ask")] {
        let mut engine = Engine::start().await;
        let gateway = Gateway::serve(&[route(rule), backend("engine", engine.address, ""), policy(limit)].concat());
        let request = call("accept-encoding: gzip\r\n").replace("/v1/chat/completions", path);
        for left in ["980", "960"] {
            let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
            assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", Some(left)), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_request_that_allows_for_much_keeps_no_others_out() {
    let limit = "{global: {rules: [{limit: {requests: 1000000, unit: Year}, cost: {request: {from: Number, number: 0}, response: {from: Metadata, \
                 metadata: {namespace: io.envoy.ai_gateway, key: llm_output_token}}}}]}}";
    let (gateway, mut engine) = serve(limit).await;
    for (members, left) in [
        ("\"max_tokens\":999999999999", 995_904),
        ("\"max_tokens\":10,\"max_completion_tokens\":40,\"n\":5", 999_780),
        ("\"generationConfig\":{\"maxOutputTokens\":70}", 999_890),
    ] {
        let body = call("").replace("\"max_tokens\":20", members);
        let (head, body) = body.split_once("\r\n\r\n").unwrap();
        let length = call("").rsplit_once("content-length: ").unwrap().1.split_once("\r\n").unwrap().0.to_owned();
        let head = head.replace(&format!("content-length: {length}"), &format!("content-length: {}", body.len()));
        let request = format!("{head}\r\n\r\n{body}");
        let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
        // Each response costs 20.
        assert_eq!(header(&answer, "x-ratelimit-remaining"), Some(&*left.to_string()), "{members}: {answer}");
    }
}

#[tokio::test]
async fn a_request_that_one_limit_refuses_costs_nothing_in_the_others() {
    let limit = "{local: {rules: [{limit: {requests: 5, unit: Hour}}]}, global: {rules: [{clientSelectors: [{headers: [{name: x-user, value: \
                 mallory}]}], limit: {requests: 0, unit: Year}, xRateLimitHeaders: 'Off'}]}}";
    let (gateway, mut engine) = serve(limit).await;
    for _ in 0..10 {
        assert_eq!(status(&gateway.raw(&call("x-user: mallory\r\n")).await), "429");
    }
    let request = call("");
    let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
    assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", Some("4")), "{answer}");
}

#[tokio::test]
async fn local_limits_have_a_default_and_shadows_refuse_nothing() {
    let limit = "{local: {rules: [{limit: {requests: 1, unit: Hour}}, {clientSelectors: [{headers: [{name: x-user, value: alice}]}], limit: \
                 {requests: 2, unit: Hour}}]}, global: {rules: [{limit: {requests: 1, unit: Year}, shadowMode: true, xRateLimitHeaders: 'Off'}]}}";
    let (gateway, mut engine) = serve(limit).await;
    for (user, expected) in [("alice", "200"), ("alice", "200"), ("alice", "429"), ("bob", "200"), ("bob", "429")] {
        let request = call(&format!("x-user: {user}\r\n"));
        let serving = async {
            if expected == "200" {
                engine.answer().await;
            }
        };
        let (answer, ()) = tokio::join!(gateway.raw(&request), serving);
        assert_eq!(status(&answer), expected, "{user}: {answer}");
        assert!(header(&answer, "x-ratelimit-limit").is_some_and(|limit| !limit.contains(';')), "{answer}");
    }
    assert_eq!(gateway.metric("pailou_rate_limit_shadowed_total"), 2.0);
}

#[tokio::test]
async fn a_limit_that_cannot_be_enforced_closes_its_route() {
    for limit in [
        "{global: {rules: [{clientSelectors: [{headers: [{name: x, type: Distinct, invert: true}]}], limit: {requests: 1, unit: Hour}}]}}",
        "{global: {rules: [{limit: {requests: 1, unit: Hour}, cost: {response: {from: Metadata, metadata: {namespace: a, key: b}}}}]}}",
        "{local: {rules: [{limit: {requests: 1, unit: Hour}}, {limit: {requests: 2, unit: Hour}}]}}",
        "{local: {rules: [{limit: {requests: 1, unit: Hour}, cost: {response: {from: Number, number: 1}}}]}}",
        "{local: {rules: [{limit: {requests: 1, unit: Hour}}, {clientSelectors: [{path: {value: /a}}], limit: {requests: 1, unit: Minute}}]}}",
    ] {
        let (gateway, _engine) = serve(limit).await;
        assert_eq!(status(&gateway.raw(&call("")).await), "500", "{limit}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_goes_around_no_budget() {
    let limit = "{global: {rules: [{limit: {requests: 1000, unit: Year}, cost: {request: {from: Number, number: 0}, response: {from: Metadata, \
                 metadata: {namespace: io.envoy.ai_gateway, key: llm_total_token}}}}]}}";
    let (gateway, _engine) = serve(limit).await;
    for request in [
        call("").replace("application/json", "application/octet-stream"),
        call("connection: upgrade\r\nupgrade: x\r\n").replace("connection: close\r\n", ""),
        call("content-encoding: unknown\r\n"),
    ] {
        let answer = gateway.raw(&request).await;
        assert_eq!(status(&answer), "415", "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_listener_sends_no_headers_of_limits_but_for_rules_that_say_so() {
    let listener = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: client}\nspec: {targetRefs: [{group: \
                    gateway.networking.k8s.io, kind: Gateway, name: gw}], headers: {disableRateLimitHeaders: true}}\n";
    for (more, expected) in [("", None), (", xRateLimitHeaders: 'Off'", None), (", xRateLimitHeaders: DraftVersion03", Some("8"))] {
        let limit = format!("{{global: {{rules: [{{limit: {{requests: 9, unit: Year}}{more}}}]}}}}");
        let mut engine = Engine::start().await;
        let objects = [route(TO_ENGINE), backend("engine", engine.address, ""), policy(&limit), listener.to_owned()];
        let gateway = Gateway::serve(&objects.concat());
        let request = call("");
        let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
        assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", expected), "{more}: {answer}");
    }
}

#[tokio::test]
async fn tokens_are_charged_under_every_name_that_envoys_policies_use() {
    for (namespace, key, expected) in [
        ("io.envoy.ai_gateway", "llm_input_token", "995"),
        ("io.envoy.ai_gateway", "llm_output_token", "980"),
        ("io.envoy.ai_gateway", "llm_total_token", "975"),
        ("FILTER_STATE", "wasm.gen_ai.prompt.tokens", "995"),
        ("FILTER_STATE", "wasm.gen_ai.completion.tokens", "980"),
        ("FILTER_STATE", "wasm.gen_ai.total.tokens", "975"),
    ] {
        let limit = format!(
            "{{global: {{rules: [{{limit: {{requests: 1000, unit: Year}}, cost: {{request: {{from: Number, number: 0}}, response: {{from: Metadata, \
             metadata: {{namespace: {namespace}, key: {key}}}}}}}}}]}}}}"
        );
        let (gateway, mut engine) = serve(&limit).await;
        let request = call("");
        let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
        assert_eq!(status(&answer), "200", "{answer}");
        let [counter] = &*gateway.proxy.limits(&CounterQuery::default()) else { panic!("one counter") };
        assert_eq!((counter.limit - counter.spent).to_string(), expected, "{key}");
    }
}
