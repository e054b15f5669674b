//! Rewrites of hosts and paths, as backends see them.

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, route},
};

async fn received(rule_filters: &str, own_filters: &str, target: &str) -> String {
    let ear = Ear::start().await;
    let rule = format!(
        "{{filters: [{rule_filters}], backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: ear, filters: [{own_filters}]}}]}}"
    );
    let gateway = Gateway::serve(&[route(&rule), backend("ear", ear.address, "")].concat());
    gateway.ask(&format!("GET {target} HTTP/1.1\r\nhost: a.test")).await;
    ear.next().await
}

#[tokio::test]
async fn a_path_with_a_query_and_a_clients_query_make_one() {
    let full = "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: \"/chat?api-version=1\"}}}";
    for (target, expected) in [("/v1/x", "get /chat?api-version=1 "), ("/v1/x?a=b&c", "get /chat?api-version=1&a=b&c ")] {
        for (rule, own) in [(full, ""), ("", full)] {
            let head = received(rule, own, target).await;
            assert!(head.starts_with(expected), "{head}");
        }
    }
}

#[tokio::test]
async fn filters_may_remove_and_set_what_tells_of_the_clients_host() {
    let rewrite = "{type: URLRewrite, urlRewrite: {hostname: b.test}}";
    let edit = |edit: &str| format!("{{type: RequestHeaderModifier, requestHeaderModifier: {{{edit}}}}}");
    let (remove, set) = (edit("remove: [X-Forwarded-Host]"), edit("set: [{name: X-Forwarded-Host, value: c.test}]"));
    for (rule, own, expected) in [
        (rewrite.to_owned(), String::new(), Some("a.test")),
        (rewrite.to_owned(), remove.clone(), None),
        (format!("{rewrite}, {remove}"), String::new(), None),
        (rewrite.to_owned(), set.clone(), Some("c.test")),
        (set, rewrite.to_owned(), Some("c.test")),
        (String::new(), String::new(), None),
    ] {
        let head = received(&rule, &own, "/").await;
        let value = head.lines().find_map(|line| line.strip_prefix("x-forwarded-host: "));
        assert_eq!(value, expected, "{rule} {own}: {head}");
    }
}
