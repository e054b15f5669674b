//! Limits in money, and of costs that a GatewayConfig defines.

use pailou_envoy_proto::ext_proc::{processing_request::Request as Part, processing_response::Response as Answer};

use super::*;
use crate::support::{
    objects::nowhere,
    picked::{self, TO_POOL},
    picker::{choosing, picker, streamed},
    processor::{changed, go_on, objects_for},
};

/// A budget under this key.
fn budget(limit: u64, key: &str) -> String {
    format!(
        "{{global: {{rules: [{{limit: {{requests: {limit}, unit: Year}}, cost: {{request: {{from: Number, number: 0}}, response: {{from: Metadata, \
         metadata: {{namespace: io.envoy.ai_gateway, key: {key}}}}}}}}}]}}}}"
    )
}

const MONEY: &str = "llm_cost_10_micro_usd";
/// An answer costs 5 * 2 + 20 * 10 micro-dollars, which are 21 units; what is expected of it is 3 tokens more in the prompt, 22 units.
const PRICES: &str = r#"{"qwen": {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}, "dear": {"input_cost_per_token": 1e-5, "output_cost_per_token": 1e-4}}"#;

/// A Gateway with prices and a GatewayConfig of these costs.
async fn serve_priced(limit: &str, costs: &str, prices: &str) -> (Gateway, Engine) {
    let engine = Engine::start().await;
    let objects = [priced(costs, prices), route(TO_ENGINE), backend("engine", engine.address, ""), policy(limit)];
    (Gateway::at_own_address(&objects.concat()), engine)
}

/// A Gateway with prices and costs.
fn priced(costs: &str, prices: &str) -> String {
    [
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: gw\n  annotations: {aigateway.envoyproxy.io/gateway-config: \
         costs, pailou.dev/model-prices: prices}\nspec:\n  gatewayClassName: pailou\n  listeners: [{name: http, protocol: HTTP, port: 8080}]\n---\n"
            .to_owned(),
        format!(
            "apiVersion: aigateway.envoyproxy.io/v1beta1\nkind: GatewayConfig\nmetadata: {{name: costs}}\nspec: {{globalLLMRequestCosts: \
             [{costs}]}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: prices}}\ndata:\n  model_prices_and_context_window.json: \
             '{prices}'\n---\n"
        ),
    ]
    .concat()
}

fn cel(key: &str, text: &str) -> String {
    format!("{{metadataKey: {key}, type: CEL, cel: \"{text}\"}}")
}

/// State of the one counter.
fn spent(gateway: &Gateway) -> u64 {
    let [counter] = &*gateway.proxy.limits(&CounterQuery::default()) else { panic!("one counter") };
    assert_eq!(counter.reserved, 0);
    counter.spent
}

async fn answered(gateway: &Gateway, engine: &mut Engine, request: &str) -> String {
    let (answer, ()) = tokio::join!(gateway.raw(request), engine.answer());
    assert_eq!(status(&answer), "200", "{answer}");
    answer
}

/// How many of so many calls at once reach the engine; all others are refused before any of those is answered.
async fn passed(gateway: &Gateway, engine: &mut Engine, calls: usize, expected: usize) {
    let address = gateway.address;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..calls {
        asked.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(call("").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
    }
    let mut streams = Vec::new();
    for _ in 0..expected {
        streams.push(engine.next().await);
    }
    for _ in expected..calls {
        let answer = tokio::time::timeout(Duration::from_secs(60), asked.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(status(&answer), "429", "{answer}");
    }
    for stream in &mut streams {
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{ANSWER}",
            ANSWER.len()
        );
        stream.write_all(response.as_bytes()).await.unwrap();
    }
    assert!(asked.join_all().await.iter().all(|answer| status(answer) == "200"));
}

#[tokio::test]
async fn a_budget_in_money_for_five_calls_lets_five_of_fifty_at_once_pass() {
    let (gateway, mut engine) = serve_priced(&budget(5 * 22, MONEY), "", PRICES).await;
    passed(&gateway, &mut engine, 50, 5).await;
    assert_eq!(spent(&gateway), 5 * 21);
    // Room that was held too much is back.
    answered(&gateway, &mut engine, &call("")).await;
    assert_eq!(status(&gateway.raw(&call("")).await), "429");
}

#[tokio::test]
async fn a_computed_cost_for_five_calls_lets_five_of_fifty_at_once_pass() {
    let costs = cel("credits", "model == 'qwen' ? output_tokens * 2u + input_tokens : 1u");
    let (gateway, mut engine) = serve_priced(&budget(5 * 48, "credits"), &costs, PRICES).await;
    passed(&gateway, &mut engine, 50, 5).await;
    assert_eq!(spent(&gateway), 5 * 45);
}

#[tokio::test]
async fn logs_and_metrics_tell_the_price() {
    let (gateway, mut engine) = serve_priced(&budget(1_000_000, MONEY), "", PRICES).await;
    answered(&gateway, &mut engine, &call("")).await;
    let line = gateway.log.line("chat/completions").await;
    assert!(line.contains("\"output_tokens\":20,\"cost_usd\":0.000210000}"), "{line}");
    let series = "pailou_cost_usd_total{route=\"default/route/0\",kind=\"HTTPRoute\"}";
    assert!((gateway.metric(series) - 0.00021).abs() < 1e-12);
}

#[tokio::test]
async fn costs_depend_on_the_model_and_take_the_place_of_built_in_ones() {
    let costs = cel("llm_total_token", "model == 'dear' ? total_tokens * 10u : backend == 'engine.default' ? 7u : 0u");
    let (gateway, mut engine) = serve_priced(&budget(1_000_000, "llm_total_token"), &costs, PRICES).await;
    answered(&gateway, &mut engine, &call("")).await;
    assert_eq!(spent(&gateway), 7);
    answered(&gateway, &mut engine, &call("").replace("qwen", "dear")).await;
    assert_eq!(spent(&gateway), 7 + 250);
}

#[tokio::test]
async fn a_price_is_a_variable_of_costs() {
    let costs = cel("micro", "uint(cost_usd * 1000000.0 + 0.5)");
    let (gateway, mut engine) = serve_priced(&budget(1_000_000, "micro"), &costs, PRICES).await;
    answered(&gateway, &mut engine, &call("")).await;
    assert_eq!(spent(&gateway), 210);
}

#[tokio::test]
async fn a_model_without_a_price_goes_around_no_budget_in_money() {
    for (key, costs) in [(MONEY, String::new()), ("micro", cel("micro", "uint(cost_usd * 1000000.0)"))] {
        let (gateway, _engine) = serve_priced(&budget(1_000_000, key), &costs, PRICES).await;
        let answer = gateway.raw(&call("").replace("qwen", "gwen")).await;
        assert_eq!(status(&answer), "500", "{key}: {answer}");
        assert!(!answer.contains("default/limits"), "{answer}");
        let line = gateway.log.line("chat/completions").await;
        assert!(line.contains("\"detail\":\"limit default/limits/rule/0: the model has no price\""), "{line}");
        assert_eq!(gateway.metric("pailou_unpriced_requests_total"), 1.0);
    }
    // Unless there is a price for all others.
    let prices = PRICES.replacen('{', r#"{"*": {"input_cost_per_token": 1e-5, "output_cost_per_token": 1e-5}, "#, 1);
    let (gateway, mut engine) = serve_priced(&budget(1_000_000, MONEY), "", &prices).await;
    answered(&gateway, &mut engine, &call("").replace("qwen", "gwen")).await;
    assert_eq!(spent(&gateway), 25);
}

#[tokio::test]
async fn a_request_that_is_no_call_of_a_model_costs_no_money() {
    let (gateway, mut engine) = serve_priced(&budget(10, MONEY), "", PRICES).await;
    let head = "GET /v1/files HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
    let answer = async {
        engine.next().await.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").await.unwrap();
    };
    let (answer, ()) = tokio::join!(gateway.raw(head), answer);
    assert_eq!((status(&answer), spent(&gateway)), ("200", 0), "{answer}");
}

#[tokio::test]
async fn a_cost_that_cannot_be_computed_charges_the_tokens() {
    let costs = cel("credits", "output_tokens - 30u");
    let (gateway, mut engine) = serve_priced(&budget(1_000, "credits"), &costs, PRICES).await;
    answered(&gateway, &mut engine, &call("")).await;
    assert_eq!(spent(&gateway), 25);
    assert_eq!(gateway.metric("pailou_llm_cost_failures_total"), 1.0);
}

#[tokio::test]
async fn a_response_without_usage_is_charged_by_its_length() {
    let (gateway, mut engine) = serve_priced(&budget(1_000_000, MONEY), "", PRICES).await;
    let answer = async {
        let body = "x".repeat(4_000);
        let response =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4000\r\nconnection: close\r\n\r\n{body}");
        engine.next().await.write_all(response.as_bytes()).await.unwrap();
    };
    let request = call("");
    let (answer, ()) = tokio::join!(gateway.raw(&request), answer);
    assert_eq!(status(&answer), "200");
    // 8 tokens of the prompt and 1000 of the answer.
    assert_eq!(spent(&gateway), 1_002);
}

#[tokio::test]
async fn a_definition_that_is_wrong_closes_just_what_charges_it() {
    let costs = [cel("wrong", "inptu_tokens"), cel("right", "3u")].join(", ");
    for (key, expected) in [("wrong", "500"), ("nowhere", "500"), ("right", "200")] {
        let (gateway, mut engine) = serve_priced(&budget(1_000, key), &costs, PRICES).await;
        if expected == "200" {
            answered(&gateway, &mut engine, &call("")).await;
            assert_eq!(spent(&gateway), 3);
        } else {
            assert_eq!(status(&gateway.raw(&call("")).await), expected, "{key}");
        }
    }
    let shadow = budget(1_000, "wrong").replace("cost:", "shadowMode: true, cost:");
    let (gateway, mut engine) = serve_priced(&shadow, &costs, PRICES).await;
    answered(&gateway, &mut engine, &call("")).await;
    // Without prices money cannot be counted.
    let (gateway, _engine) = serve(&budget(1_000, MONEY)).await;
    assert_eq!(status(&gateway.raw(&call("")).await), "500");
}

#[tokio::test]
async fn money_that_is_held_grows_with_a_stream() {
    let (gateway, mut engine) = serve_priced(&budget(1_000_000, MONEY), "", PRICES).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let body = r#"{"model":"qwen","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\n";
    client.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut upstream = engine.next().await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await.unwrap();
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let (mut read, mut seen, mut reserved) = (Vec::new(), 0, Vec::new());
    for more in [100, 300, 300] {
        seen += more;
        upstream.write_all(event.repeat(more).as_bytes()).await.unwrap();
        while String::from_utf8_lossy(&read).matches("data: ").count() < seen {
            assert!(client.read_buf(&mut read).await.unwrap() > 0);
        }
        reserved.push(gateway.proxy.limits(&CounterQuery::default())[0].reserved);
    }
    // 256 tokens at first, for 10 micro-dollars each.
    assert!((256..=260).contains(&reserved[0]), "{reserved:?}");
    assert!(reserved[1] >= 400 && (700..=1_000).contains(&reserved[2]), "{reserved:?}");
}

/// A pool of this engine, with prices for the engine's own names and none for the client's.
fn priced_pool(engine: &Engine, picker: std::net::SocketAddr, targets: &str) -> Gateway {
    let rewrite = format!(
        "---\napiVersion: llm-d.ai/v1alpha2\nkind: InferenceModelRewrite\nmetadata: {{name: rewrite}}\nspec: {{poolRef: {{group: \
         inference.networking.k8s.io, name: pool}}, rules: [{{matches: [{{model: {{value: chat}}}}], targets: [{targets}]}}]}}\n"
    );
    let objects = picked::objects(&[engine.address], picker, "FailOpen", TO_POOL, &rewrite);
    Gateway::at_own_address(&[priced("", PRICES), objects, policy(&budget(1_000_000, MONEY))].concat())
}

/// Room held while the engine has a call for the model `chat`, and the cost in the end.
async fn held_and_spent(gateway: &Gateway, engine: &mut Engine) -> (u64, u64) {
    let request = call("").replace("qwen", "chat");
    let held = async {
        let mut stream = engine.next().await;
        let [counter] = &*gateway.proxy.limits(&CounterQuery::default()) else { panic!("one counter") };
        answer(&mut stream).await;
        counter.reserved
    };
    let (answered, held) = tokio::join!(gateway.raw(&request), held);
    assert_eq!(status(&answered), "200", "{answered}");
    (held, spent(gateway))
}

#[tokio::test]
async fn a_rewritten_model_costs_what_the_engines_model_does() {
    let mut engine = Engine::start().await;
    let gateway = priced_pool(&engine, nowhere(), "{modelRewrite: qwen}");
    assert_eq!(held_and_spent(&gateway, &mut engine).await, (22, 21));
    // One of two, by chance: the dearer one is held.
    let gateway = priced_pool(&engine, nowhere(), "{modelRewrite: qwen, weight: 1000000}, {modelRewrite: dear, weight: 1}");
    let (held, spent) = held_and_spent(&gateway, &mut engine).await;
    assert!(held == 208 && [21, 205].contains(&spent), "{held} {spent}");
    // A name that has no price goes around no budget.
    let gateway = priced_pool(&engine, nowhere(), "{modelRewrite: qwen}, {modelRewrite: free}");
    assert_eq!(status(&gateway.raw(&call("").replace("qwen", "chat")).await), "500");
}

#[tokio::test]
async fn the_dearest_of_weighted_backends_is_held_and_the_one_that_answers_is_paid() {
    let mut engine = Engine::start().await;
    let costs = cel("credits", "backend == 'dear.default' ? total_tokens * 10u : total_tokens");
    let to = |name: &str, weight| format!("{{group: gateway.envoyproxy.io, kind: Backend, name: {name}, weight: {weight}}}");
    for (weights, expected) in [([0, 1], (280, 250)), ([1, 0], (28, 25))] {
        let rule = format!("{{backendRefs: [{}, {}]}}", to("cheap", weights[0]), to("dear", weights[1]));
        let (held, spent) = to_two(&mut engine, &rule, &costs).await;
        assert_eq!((held, spent), expected, "{weights:?}");
    }
    let rule = format!("{{backendRefs: [{}, {}]}}", to("cheap", 1_000_000), to("dear", 1));
    let (held, spent) = to_two(&mut engine, &rule, &costs).await;
    assert!(held == 280 && [25, 250].contains(&spent), "{held} {spent}");
}

/// Room held for a call to one of two backends, and its cost in the end.
async fn to_two(engine: &mut Engine, rule: &str, costs: &str) -> (u64, u64) {
    let backends = ["cheap", "dear"].map(|name| backend(name, engine.address, "")).concat();
    let objects = [priced(costs, PRICES), route(rule), backends, policy(&budget(1_000_000, "credits"))];
    held_and_spent(&Gateway::at_own_address(&objects.concat()), engine).await
}

#[tokio::test]
async fn a_model_that_a_picker_puts_in_is_what_is_paid() {
    let mut engine = Engine::start().await;
    let one = engine.address;
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        talk.say(choosing(&one.to_string()));
        let (body, _) = talk.body().await;
        talk.say(Answer::RequestBody(streamed(String::from_utf8_lossy(&body).replace("chat", "dear"), true)));
        talk.close();
    })
    .await;
    let gateway = priced_pool(&engine, at, "{modelRewrite: qwen}");
    assert_eq!(held_and_spent(&gateway, &mut engine).await, (22, 205));
    let line = gateway.log.line("chat/completions").await;
    assert!(line.contains("\"model\":\"chat\",\"target_model\":\"dear\""), "{line}");
}

#[tokio::test]
async fn a_model_that_a_processor_puts_in_is_what_is_paid() {
    let mut engine = Engine::start().await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(go_on()));
        while let Some(message) = talk.next().await {
            if let Some(Part::RequestBody(_)) = message.request {
                talk.say(Answer::RequestBody(changed(r#"{"model":"dear","max_tokens":20,"messages":[]}"#)));
            }
        }
    })
    .await;
    // The route is chosen by the model, and nothing else needs the body.
    let rule = "{matches: [{headers: [{name: X-Gateway-Model-Name, value: qwen}]}], backendRefs: [{group: gateway.envoyproxy.io, kind: \
                Backend, name: main}]}";
    for mode in ["Streamed", "Buffered"] {
        let processors = [(at, &*format!("processingMode: {{request: {{body: {mode}}}}}, messageTimeout: 5s"))];
        let objects = objects_for(&route(rule), engine.address, &processors);
        let gateway = Gateway::at_own_address(&[priced("", PRICES), objects].concat());
        answered(&gateway, &mut engine, &call("")).await;
        let line = gateway.log.line("chat/completions").await;
        assert!(line.contains("\"cost_usd\":0.002050000}"), "{mode}: {line}");
    }
}
