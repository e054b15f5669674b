//! Global limits that a rate limit service decides on: what it is asked, and what becomes of its answers.

mod descriptors;
mod faults;

use pailou_envoy_proto::{
    core::HeaderValue,
    rate_limit::{Code, RateLimitResponse, Unit},
    structs::{self, structure},
};

use crate::{
    rate_limits::{self, Engine, TO_ENGINE, call, header, policy, status},
    support::{
        limit_service::{LimitService, Reply, answer, status as counter},
        objects::{Gateway, backend, route},
    },
};

/// Cost of a response in tokens; requests only look.
const TOKENS: &str = "cost: {request: {from: Number, number: 0}, response: {from: Metadata, metadata: {namespace: io.envoy.ai_gateway, key: \
                      llm_total_token}}}";

/// The configuration that names a service. A test's machine may be slow.
fn configuration(service: &LimitService, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: pailou-config\n  namespace: pailou-system\n  annotations: \
         {{pailou.dev/rate-limit-service: 'grpc://{}'}}\ndata:\n  envoy-gateway.yaml: |\n    apiVersion: gateway.envoyproxy.io/v1alpha1\n    \
         kind: EnvoyGateway\n    rateLimit: {{timeout: 5s{more}}}\n",
        service.address
    )
}

/// A gateway that asks a service about the rules of `rateLimit`, before an engine.
async fn serve(service: &LimitService, limit: &str) -> (Gateway, Engine) {
    let engine = Engine::start().await;
    let objects = [route(TO_ENGINE), backend("engine", engine.address, ""), policy(limit), configuration(service, "")];
    (Gateway::serve(&objects.concat()), engine)
}

async fn ask(gateway: &Gateway, engine: &mut Engine, more: &str) -> String {
    let request = call(more);
    let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
    answer
}

#[tokio::test]
async fn the_service_counts_and_headers_tell_what_it_says() {
    let mut service = LimitService::counting(|_| Some((2, Unit::Minute))).await;
    // The limit is the service's own.
    let (gateway, mut engine) = serve(&service, "{global: {rules: [{limit: {requests: 100, unit: Hour}}]}}").await;
    for left in ["1", "0"] {
        let answer = ask(&gateway, &mut engine, "").await;
        assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", Some(left)), "{answer}");
        assert_eq!(header(&answer, "x-ratelimit-limit"), Some("2, 2;w=60"));
        assert_eq!(service.next().await, "default/gw/http: httproute/default/route/rule/0/match/0/* rule-0-match--1");
    }
    let refused = gateway.raw(&call("")).await;
    assert_eq!(
        (status(&refused), header(&refused, "retry-after"), header(&refused, "x-ratelimit-reset")),
        ("429", Some("30"), Some("30"))
    );
    assert!(refused.contains("rate_limit_exceeded"), "{refused}");
    assert_eq!(gateway.metric("pailou_response_flags_total{flag=\"RL\"}"), 1.0);
    assert_eq!(gateway.metric("pailou_rate_limit_service_calls{process=\"pailou\"}"), 3.0);
    assert_eq!(gateway.metric("pailou_rate_limit_service_up{process=\"pailou\"}"), 1.0);
}

#[tokio::test]
async fn an_answer_changes_request_response_and_refusal() {
    let service = LimitService::start(|question| {
        let is_over = question.descriptors[0].entries.iter().any(|entry| entry.value == "mallory");
        let header = |key: &str, value: &'static str| HeaderValue::new(key, value);
        Reply::Answer(Box::new(RateLimitResponse {
            response_headers_to_add: vec![header("x-limited-by", "rls"), header("content-type", "application/problem+json")],
            request_headers_to_add: vec![header("x-tier", "gold"), header("x-user", "carol"), header("host", "evil.test")],
            raw_body: "{}".into(),
            ..answer(vec![counter(1, Unit::Hour, if is_over { 2 } else { 1 })])
        }))
    })
    .await;
    let limit =
        "{global: {rules: [{clientSelectors: [{headers: [{name: x-user, type: Distinct}]}], limit: {requests: 1, unit: Hour}}]}}";
    let (gateway, mut engine) = serve(&service, limit).await;
    let request = call("x-user: alice\r\n");
    let backend = async {
        use tokio::io::AsyncWriteExt as _;
        engine.next().await.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/a\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let (passed, ()) = tokio::join!(gateway.raw(&request), backend);
    assert_eq!(
        (status(&passed), header(&passed, "content-type"), header(&passed, "x-limited-by")),
        ("200", Some("text/a"), Some("rls"))
    );
    let refused = gateway.raw(&call("x-user: mallory\r\n")).await;
    assert_eq!((status(&refused), header(&refused, "x-limited-by")), ("429", Some("rls")), "{refused}");
    assert_eq!(header(&refused, "content-type"), Some("application/problem+json"));
    assert!(refused.ends_with("\r\n\r\n{}"), "{refused}");
}

#[tokio::test]
async fn the_service_s_headers_reach_the_backend_in_place_of_the_client_s() {
    let service = LimitService::start(|_| {
        let headers = ["x-tier", "host", "content-length", "x-gateway-model-name"].map(|key| HeaderValue::new(key, "7"));
        Reply::Answer(Box::new(RateLimitResponse {
            request_headers_to_add: headers.to_vec(),
            ..answer(vec![counter(1, Unit::Hour, 1)])
        }))
    })
    .await;
    let (engine, mut calls) = crate::support::picked::engine().await;
    let limit = policy("{global: {rules: [{limit: {requests: 1, unit: Hour}}]}}");
    let gateway = Gateway::serve(&[route(TO_ENGINE), backend("engine", engine, ""), limit, configuration(&service, "")].concat());
    gateway.ask("GET /a HTTP/1.1\r\nhost: a.test\r\nx-tier: free").await;
    let got = calls.recv().await.unwrap().to_ascii_lowercase();
    assert!(got.contains("\r\nx-tier: 7\r\n") && !got.contains("free") && got.contains("\r\nhost: a.test\r\n"), "{got}");
    assert!(!got.contains("content-length: 7") && !got.contains("model-name"), "{got}");
}

#[tokio::test]
async fn facts_of_an_answer_are_there_for_the_limits_that_are_asked_next() {
    let mut service = LimitService::start(|_| {
        let fields = structure("limit", structs::Value { kind: Some(structs::Kind::StructValue(own_limit())) });
        Reply::Answer(Box::new(RateLimitResponse { dynamic_metadata: Some(fields), ..answer(vec![counter(9, Unit::Hour, 1)]) }))
    })
    .await;
    // The policy's domain comes after the listener's: `default/gw/http`, `default/limits`.
    let limit = "{global: {rules: [{limit: {requests: 1, unit: Hour}}, {shared: true, limit: {requests: 1, unit: Hour, fromMetadata: {namespace: \
                 envoy.filters.http.ratelimit, key: limit}}}]}}";
    let (gateway, mut engine) = serve(&service, limit).await;
    assert_eq!(status(&ask(&gateway, &mut engine, "").await), "200");
    assert_eq!(service.next().await, "default/gw/http: httproute/default/route/rule/0/match/0/* rule-0-match--1");
    assert_eq!(service.next().await, "default/limits: default/limits/rule/1 rule-0-match--1 limit 7 Week");
}

fn own_limit() -> structs::Struct {
    let number = structs::Value { kind: Some(structs::Kind::NumberValue(7.0)) };
    let fields = [("requests_per_unit".to_owned(), number), ("unit".to_owned(), structs::string("week"))];
    structs::Struct { fields: fields.into() }
}

#[tokio::test]
async fn shadows_count_and_refuse_nothing_whatever_the_service_says() {
    let service = LimitService::counting(|_| Some((0, Unit::Hour))).await;
    let (gateway, mut engine) = serve(&service, "{global: {rules: [{limit: {requests: 1, unit: Hour}, shadowMode: true}]}}").await;
    let answer = ask(&gateway, &mut engine, "").await;
    assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", Some("0")), "{answer}");
    assert_eq!(gateway.metric("pailou_rate_limit_shadowed_total"), 1.0);
}

#[tokio::test]
async fn a_refusal_that_names_no_counter_is_one() {
    let service = LimitService::start(|_| {
        Reply::Answer(Box::new(RateLimitResponse { overall_code: Code::OverLimit as i32, ..RateLimitResponse::default() }))
    })
    .await;
    let (gateway, _engine) = serve(&service, "{global: {rules: [{limit: {requests: 1, unit: Hour}, shadowMode: true}]}}").await;
    let refused = gateway.raw(&call("")).await;
    assert_eq!((status(&refused), header(&refused, "x-ratelimit-limit")), ("429", None), "{refused}");
}

#[tokio::test]
async fn local_limits_are_the_process_s_own_and_get_back_what_the_service_refuses() {
    let mut service = LimitService::counting(|_| Some((0, Unit::Hour))).await;
    let limit = "{local: {rules: [{limit: {requests: 3, unit: Hour}}]}, global: {rules: [{clientSelectors: [{headers: [{name: x-user, value: \
                 mallory}]}], limit: {requests: 1, unit: Hour}, xRateLimitHeaders: 'Off'}]}}";
    let (gateway, mut engine) = serve(&service, limit).await;
    for _ in 0..5 {
        assert_eq!(status(&gateway.raw(&call("x-user: mallory\r\n")).await), "429");
    }
    assert_eq!(service.others(), 5);
    let answer = ask(&gateway, &mut engine, "").await;
    assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", Some("2")), "{answer}");
    // No global rule is for this client.
    assert_eq!(service.others(), 0);
}

#[tokio::test]
async fn the_cost_of_a_response_is_told_when_it_has_ended() {
    let mut service = LimitService::counting(|_| Some((60, Unit::Day))).await;
    let (gateway, mut engine) =
        serve(&service, &format!("{{global: {{rules: [{{limit: {{requests: 1, unit: Day}}, {TOKENS}}}]}}}}")).await;
    // As Envoy: a request passes while the sum is at most the limit, and the one that crosses it completes.
    for left in ["60", "35", "10"] {
        let answer = ask(&gateway, &mut engine, "").await;
        assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", Some(left)), "{answer}");
        let counter = "default/gw/http: httproute/default/route/rule/0/match/0/* rule-0-match--1";
        assert_eq!([service.next().await, service.next().await], [format!("{counter} +0"), format!("{counter} +25")]);
    }
    let refused = gateway.raw(&call("")).await;
    assert_eq!(status(&refused), "429", "{refused}");
    assert_eq!(service.others(), 1, "a request that is refused has no response to charge");
}

#[tokio::test]
async fn requests_at_the_same_time_see_each_other_s_reservations() {
    let mut service = LimitService::counting(|_| Some((140, Unit::Day))).await;
    let (gateway, mut engine) =
        serve(&service, &format!("{{global: {{rules: [{{limit: {{requests: 1, unit: Day}}, {TOKENS}}}]}}}}")).await;
    let address = gateway.address;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        calls.spawn(async move { crate::support::objects::raw(address, &call("")).await });
    }
    // Five of 28 tokens fit, although the service has been told of none.
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(engine.next().await);
    }
    for _ in 0..15 {
        assert_eq!(status(&calls.join_next().await.unwrap().unwrap()), "429");
    }
    for stream in &mut streams {
        rate_limits::answer(stream).await;
    }
    assert!(calls.join_all().await.iter().all(|answer| status(answer) == "200"));
    let mut told = 0;
    while told < 5 {
        told += usize::from(service.next().await.ends_with("+25"));
    }
    let answer = ask(&gateway, &mut engine, "").await;
    assert_eq!((status(&answer), header(&answer, "x-ratelimit-remaining")), ("200", Some("15")), "{answer}");
}

#[tokio::test]
async fn a_service_that_is_named_or_goes_takes_and_gives_back_the_limits_without_a_restart() {
    let mut service = LimitService::counting(|_| Some((0, Unit::Hour))).await;
    let mut engine = Engine::start().await;
    let limit = policy("{global: {rules: [{limit: {requests: 1000, unit: Hour}}]}}");
    let objects = [crate::support::objects::GATEWAY, &route(TO_ENGINE), &backend("engine", engine.address, ""), &limit].concat();
    let gateway = Gateway::at_own_address(&objects);
    assert_eq!(status(&ask(&gateway, &mut engine, "").await), "200");
    gateway.update(&[&*objects, &configuration(&service, "")].concat());
    assert_eq!(status(&gateway.raw(&call("")).await), "429");
    assert_eq!(service.others(), 1);
    gateway.update(&objects);
    assert_eq!(status(&ask(&gateway, &mut engine, "").await), "200");
    assert_eq!((service.others(), gateway.metric("pailou_rate_limit_service_up{process=\"pailou\"}")), (0, 0.0));
}

#[tokio::test]
async fn a_rule_that_tells_nothing_does_not_keep_others_from_telling() {
    let service = LimitService::counting(|descriptor| {
        let is_first = descriptor.entries.iter().any(|entry| entry.key.starts_with("rule-0-"));
        Some((if is_first { 2 } else { 9 }, Unit::Hour))
    })
    .await;
    let rules =
        "{global: {rules: [{limit: {requests: 1, unit: Hour}, xRateLimitHeaders: \"Off\"}, {limit: {requests: 1, unit: Hour}}]}}";
    let (gateway, mut engine) = serve(&service, rules).await;
    let answer = ask(&gateway, &mut engine, "").await;
    assert_eq!(
        (header(&answer, "x-ratelimit-limit"), header(&answer, "x-ratelimit-remaining")),
        (Some("9, 9;w=3600"), Some("8")),
        "{answer}"
    );
}
