//! Domains and descriptors, in the situations that Envoy Gateway's own tests of them have.

use super::*;

const ROUTE: &str = "httproute/default/route/rule/0/match/0/*";

/// Questions to a service about a request under these rules, one line for each.
async fn asked(rules: &str, more: &str) -> Vec<String> {
    let limit = format!("{{global: {{rules: [{rules}]}}}}");
    let engine = Engine::start().await;
    let mut service = LimitService::counting(|_| None).await;
    let objects = [route(TO_ENGINE), backend("engine", engine.address, ""), policy(&limit), configuration(&service, "")];
    questions(&Gateway::serve(&objects.concat()), engine, &mut service, &call(more)).await
}

/// The same of a gateway that is there.
async fn questions(gateway: &Gateway, mut engine: Engine, service: &mut LimitService, request: &str) -> Vec<String> {
    let (answer, ()) = tokio::join!(gateway.raw(request), engine.answer());
    assert_eq!(status(&answer), "200", "{answer}");
    let mut asked = Vec::new();
    while !service.questions.is_empty() {
        asked.push(service.next().await.replace(ROUTE, "ROUTE"));
    }
    asked
}

const HOUR: &str = "limit: {requests: 5, unit: Hour}";

#[tokio::test]
async fn selectors_are_entries_in_their_order() {
    let header = |conditions: &str| format!("{{clientSelectors: [{{headers: [{conditions}]}}], {HOUR}}}");
    let selector = |conditions: &str| format!("{{clientSelectors: [{{{conditions}}}], {HOUR}}}");
    for (situation, rule, expected) in [
        ("no selector", format!("{{{HOUR}}}"), "rule-0-match--1"),
        ("value", header("{name: x-user, value: alice}"), "rule-0-match-0"),
        ("distinct value", header("{name: x-user, type: Distinct}"), "rule-0-match-0=alice"),
        ("expression", header("{name: x-user, type: RegularExpression, value: 'al.*'}"), "rule-0-match-0"),
        ("inverted value", header("{name: x-user, value: bob, invert: true}"), "rule-0-match-0"),
        ("absent and inverted", header("{name: x-none, value: bob, invert: true}"), "rule-0-match-0"),
        (
            "several headers",
            header("{name: x-user, type: Distinct}, {name: x-org, value: acme}, {name: host, type: Distinct}"),
            "rule-0-match-0=alice rule-0-match-1 rule-0-match-2=a.test",
        ),
        ("method", selector("methods: [{value: POST}]"), "rule-0-method"),
        ("methods, of which one matches", selector("methods: [{value: GET}, {value: POST}]"), "rule-0-method"),
        ("path", selector("path: {value: /v1}"), "rule-0-path"),
        ("other paths", selector("path: {type: Exact, value: /other, invert: true}"), "rule-0-path"),
        ("range", selector("sourceCIDR: {value: 127.1.2.3/8}"), "masked_remote_address=127.0.0.0/8"),
        ("other ranges", selector("sourceCIDR: {value: 10.0.0.0/8, invert: true}"), "masked_remote_address=invert:10.0.0.0/8"),
        (
            "addresses of a range",
            selector("sourceCIDR: {type: Distinct, value: 127.0.0.0/8}"),
            "masked_remote_address=127.0.0.0/8 remote_address=CLIENT",
        ),
        (
            "headers and addresses of other ranges",
            selector("headers: [{name: x-user, value: alice}], sourceCIDR: {type: Distinct, value: 10.0.0.0/8, invert: true}"),
            "rule-0-match-0 masked_remote_address=invert:10.0.0.0/8 remote_address=CLIENT",
        ),
        ("a month", "{limit: {requests: 5, unit: Month}}".to_owned(), "rule-0-match--1"),
        ("a shadow", format!("{{{HOUR}, shadowMode: true}}"), "rule-0-match--1"),
        ("a cost of requests", format!("{{{HOUR}, cost: {{request: {{from: Number, number: 4}}}}}}"), "rule-0-match--1 +4"),
    ] {
        let asked = asked(&rule, "x-user: alice\r\nx-org: acme\r\n").await;
        let asked: Vec<_> = asked.iter().map(|it| client(it)).collect();
        assert_eq!(asked, [format!("default/gw/http: ROUTE {expected}")], "{situation}");
    }
}

/// A descriptor without the address that a test's client has.
fn client(line: &str) -> String {
    match line.rsplit_once(" remote_address=127.") {
        Some((before, _)) => format!("{before} remote_address=CLIENT"),
        None => line.to_owned(),
    }
}

#[tokio::test]
async fn parameters_of_the_query_are_numbered_after_headers() {
    let rule = format!(
        "{{clientSelectors: [{{headers: [{{name: x-user, type: Distinct}}], queryParams: [{{name: tenant, type: Distinct}}, {{name: kind, value: \
         a}}]}}], {HOUR}}}"
    );
    let (limit, engine) = (format!("{{global: {{rules: [{rule}]}}}}"), Engine::start().await);
    let mut service = LimitService::counting(|_| None).await;
    let objects = [route(TO_ENGINE), backend("engine", engine.address, ""), policy(&limit), configuration(&service, "")];
    let request = call("x-user: alice\r\n").replace("/v1/chat/completions", "/v1/chat/completions?kind=a&tenant=b%20c");
    let asked = questions(&Gateway::serve(&objects.concat()), engine, &mut service, &request).await;
    assert_eq!(asked, ["default/gw/http: ROUTE rule-0-match-0=alice rule-0-match-1=b c rule-0-match-2"]);
}

#[tokio::test]
async fn rules_are_numbered_among_those_of_their_domain() {
    let rule =
        |value: &str, more: &str| format!("{{clientSelectors: [{{headers: [{{name: {value}, type: Distinct}}]}}], {HOUR}{more}}}");
    let rules =
        [rule("x-a", ", shared: true"), rule("x-b", ""), rule("x-none", ""), rule("x-c", ", shared: true"), rule("x-d", "")];
    // A rule that is not for the request has a number all the same.
    assert_eq!(
        asked(&rules.join(", "), "x-a: 1\r\nx-b: 2\r\nx-c: 3\r\nx-d: 4\r\n").await,
        [
            "default/gw/http: ROUTE rule-0-match-0=2 | ROUTE rule-2-match-0=4",
            "default/limits: default/limits/rule/0 rule-0-match-0=1 | default/limits/rule/3 rule-1-match-0=3",
        ]
    );
    assert!(asked(&rule("x-none", ""), "").await.is_empty(), "nobody is asked where no rule is for a request");
}

#[tokio::test]
async fn the_first_entry_names_the_route_its_rule_its_match_and_the_host_name() {
    let engine = Engine::start().await;
    let mut service = LimitService::counting(|_| None).await;
    let limit = policy(&format!("{{global: {{rules: [{{{HOUR}}}]}}}}"));
    let other = "{matches: [{path: {value: /other}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: engine}]}";
    let several = "{matches: [{path: {value: /v1}}, {path: {value: /v1}, headers: [{name: x-a, value: b}]}, {path: {type: RegularExpression, value: \
                   '/v2/.*'}}, {path: {value: /v1}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: engine}]}";
    let route =
        route(&format!("{other}, {several}")).replace("  rules:", "  hostnames: ['*.models.test', 'a.b.test', 'a.test']\n  rules:");
    let objects = [route, backend("engine", engine.address, ""), limit, configuration(&service, "")];
    let (gateway, mut engine) = (Gateway::serve(&objects.concat()), engine);
    for (host, path, more, expected) in [
        ("a.b.test", "/v1/x", "", "1/match/0/a_b_test"),
        ("a.b.test", "/v1", "x-a: b\r\n", "1/match/1/a_b_test"),
        ("x.y.models.test", "/v2/x", "", "1/match/2/*_models_test"),
        ("a.test", "/other", "", "0/match/0/a_test"),
    ] {
        let request = call(more).replace("host: a.test", &format!("host: {host}")).replace("/v1/chat/completions", path);
        let (answer, ()) = tokio::join!(gateway.raw(&request), engine.answer());
        assert_eq!(status(&answer), "200", "{answer}");
        assert_eq!(service.next().await, format!("default/gw/http: httproute/default/route/rule/{expected} rule-0-match--1"));
    }
}

#[tokio::test]
async fn listeners_have_domains_of_their_own_and_a_shared_rule_has_one() {
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  listeners: \
                   [{name: http, protocol: HTTP, port: 8080}, {name: other, protocol: HTTP, port: 8081}]\n---\n";
    let mut engine = Engine::start().await;
    let mut service = LimitService::counting(|_| None).await;
    let limit = policy(&format!("{{global: {{rules: [{{{HOUR}}}, {{{HOUR}, shared: true}}]}}}}"));
    let objects = [gateway, &route(TO_ENGINE), &backend("engine", engine.address, ""), &limit, &configuration(&service, "")];
    let gateway = Gateway::at_own_address(&objects.concat());
    for (port, name) in [(8080, "http"), (8081, "other")] {
        let request = call("");
        let (_, ()) = tokio::join!(crate::support::objects::raw(gateway.at(port), &request), engine.answer());
        assert_eq!(service.next().await, format!("default/gw/{name}: {ROUTE} rule-0-match--1"));
        assert_eq!(service.next().await, "default/limits: default/limits/rule/1 rule-0-match--1");
    }
}

#[tokio::test]
async fn rules_of_a_merged_policy_keep_the_domains_of_the_policies_that_they_come_from() {
    let engine = Engine::start().await;
    let mut service = LimitService::counting(|_| None).await;
    let rules = format!("rateLimit: {{global: {{rules: [{{{HOUR}, shared: true}}, {{{HOUR}}}]}}}}");
    let one = |name: &str, target: &str, more: &str| {
        format!(
            "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{{group: \
             gateway.networking.k8s.io, {target}}}], {more}{rules}}}\n"
        )
    };
    let policies =
        [one("parent", "kind: Gateway, name: gw", ""), one("child", "kind: HTTPRoute, name: route", "mergeType: StrategicMerge, ")];
    let objects = [&*route(TO_ENGINE), &*backend("engine", engine.address, ""), &*policies.concat(), &*configuration(&service, "")];
    let asked = questions(&Gateway::serve(&objects.concat()), engine, &mut service, &call("")).await;
    assert_eq!(
        asked,
        [
            "default/child: default/child/rule/0 rule-0-match--1",
            "default/gw/http: ROUTE rule-0-match--1 | ROUTE rule-1-match--1",
            "default/parent: default/parent/rule/0 rule-1-match--1",
        ]
    );
}
