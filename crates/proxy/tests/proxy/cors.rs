//! CORS preflights: a browser asks for a request of which the gateway sees neither body nor headers yet.

use crate::support::objects::Gateway;

const POOL: &str = "backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: none}]";
const BY_MODEL: &str = "matches: [{headers: [{name: X-Gateway-Model-Name, value: qwen}]}]";

/// A CORS filter that allows this origin.
fn cors(origin: &str) -> String {
    format!("filters: [{{type: CORS, cors: {{allowOrigins: [\"{origin}\"], allowMethods: [POST], allowHeaders: [\"*\"]}}}}]")
}

/// An HTTPRoute with these rules.
fn rules(rules: &[String]) -> String {
    let rules: Vec<_> = rules.iter().map(|rule| format!("  - {{{rule}}}\n")).collect();
    let head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs: [{name: gw}]\n  rules:\n";
    [head, &rules.concat()].concat()
}

/// A SecurityPolicy with CORS on this object.
fn policy(kind: &str, name: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: p}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: {kind}, name: {name}}}]\n  cors: {{allowOrigins: [\"https://app.test\"], allowMethods: [POST], \
         allowHeaders: [\"*\"]}}\n"
    )
}

async fn preflight(gateway: &Gateway, path: &str, method: &str, origin: &str) -> String {
    gateway
        .ask(&format!(
            "OPTIONS {path} HTTP/1.1\r\nhost: a.test\r\norigin: {origin}\r\naccess-control-request-method: {method}\r\n\
             access-control-request-headers: authorization,content-type"
        ))
        .await
}

fn allows(answer: &str, origin: &str) -> bool {
    let names = "\r\naccess-control-allow-headers: authorization,content-type\r\n";
    let allows = answer.contains(&format!("\r\naccess-control-allow-origin: {origin}\r\n"));
    assert!(!allows || (answer.starts_with("HTTP/1.1 204") && answer.contains(names)), "{answer}");
    allows
}

#[tokio::test]
async fn a_preflight_finds_rules_that_go_by_model_by_filter_and_by_policy() {
    let bare = rules(&[format!("{BY_MODEL}, {POOL}")]);
    for objects in [
        rules(&[format!("{BY_MODEL}, {}, {POOL}", cors("https://app.test"))]),
        [bare.clone(), policy("HTTPRoute", "r")].concat(),
        [bare, policy("Gateway", "gw")].concat(),
    ] {
        let gateway = Gateway::serve(&objects);
        let answer = preflight(&gateway, "/v1/chat/completions", "POST", "https://app.test").await;
        assert!(allows(&answer, "https://app.test"), "{objects}\n{answer}");
        let answer = preflight(&gateway, "/v1/chat/completions", "POST", "https://evil.test").await;
        assert!(answer.starts_with("HTTP/1.1 204") && !answer.contains("access-control-allow"), "{answer}");
        let plain = gateway.ask("OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\norigin: https://app.test").await;
        assert!(plain.starts_with("HTTP/1.1 404"), "no preflight: {plain}");
    }
}

#[tokio::test]
async fn the_method_asked_for_counts_and_headers_do_not() {
    let with_method = |method: &str, origin: &str| {
        format!(
            "matches: [{{method: {method}, path: {{value: /v1}}, headers: [{{name: x-tenant, value: a}}]}}], {}, {POOL}",
            cors(origin)
        )
    };
    let gateway = Gateway::serve(&rules(&[with_method("POST", "https://post.test"), with_method("PUT", "https://put.test")]));
    for (method, origin, expected) in [
        ("POST", "https://post.test", true),
        ("PUT", "https://put.test", true),
        ("POST", "https://put.test", false),
        ("DELETE", "https://post.test", false),
    ] {
        let answer = preflight(&gateway, "/v1/x", method, origin).await;
        assert_eq!(allows(&answer, origin), expected, "{method} {origin}: {answer}");
    }
    assert!(preflight(&gateway, "/v2", "POST", "https://post.test").await.starts_with("HTTP/1.1 404"), "the path counts");
}

#[tokio::test]
async fn a_rule_that_allows_the_origin_goes_first_and_one_that_takes_the_preflight_itself_ends_the_search() {
    let own = "matches: [{method: OPTIONS, path: {type: Exact, value: /own}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: \
               there.test}}]";
    let by_model = |model: &str, origin: &str| {
        format!("matches: [{{headers: [{{name: X-Gateway-Model-Name, value: {model}}}]}}], {}, {POOL}", cors(origin))
    };
    let list = [own.to_owned(), by_model("a", "https://a.test"), by_model("b", "https://b.test"), POOL.to_owned()];
    let gateway = Gateway::serve(&rules(&list));
    for origin in ["https://a.test", "https://b.test"] {
        assert!(allows(&preflight(&gateway, "/v1", "POST", origin).await, origin));
    }
    let answer = preflight(&gateway, "/own", "POST", "https://a.test").await;
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
}
