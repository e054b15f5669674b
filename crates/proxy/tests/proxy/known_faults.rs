//! Faults that other gateways have had in authentication and limits: a policy's reach, counters that were one, keys that a store took along.

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, nowhere},
};

const LISTENS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  listeners: \
                       [{name: http, protocol: HTTP, port: 8080}]\n";

/// A route of this name for the path of this name.
fn route(name: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: gw}}]\n  rules: \
         [{{matches: [{{path: {{value: /{name}}}}}], backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: ear}}]}}]\n"
    )
}

/// A policy of a route.
fn policy(kind: &str, route: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {route}}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: HTTPRoute, name: {route}}}]\n  {spec}\n"
    )
}

fn keys(data: &str) -> String {
    format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData: {{{data}}}\n")
}

const BY_KEY: &str = "apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-api-key]}]}";

async fn status(gateway: &Gateway, path: &str, headers: &str) -> u16 {
    let answer = gateway.ask(&format!("GET {path} HTTP/1.1\r\nhost: a.test{headers}")).await;
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

const ONE: &str = "\r\nx-api-key: one";

#[tokio::test]
async fn a_policy_reaches_its_route_alone_and_a_duplicate_key_holds_nothing_else_up() {
    let ear = Ear::start().await;
    let all = |keys: String, more: &str| {
        let parts = [&route("closed"), &route("open"), &policy("SecurityPolicy", "closed", BY_KEY), &keys, more].map(String::from);
        [LISTENS.to_owned(), backend("ear", ear.address, ""), parts.concat()].concat()
    };
    let gateway = Gateway::at_own_address(&all(keys("alice: one"), ""));
    for (path, headers, expected) in
        [("/closed", "", 401), ("/closed", ONE, 200), ("/open", "", 200), ("/other", "", 404), ("/other", ONE, 404)]
    {
        assert_eq!(status(&gateway, path, headers).await, expected, "{path} {headers}");
    }
    gateway.update(&all(keys("alice: one, bob: one"), &route("new")));
    for (path, expected) in [("/closed", 500), ("/open", 200), ("/new", 200), ("/other", 404)] {
        assert_eq!(status(&gateway, path, ONE).await, expected, "{path}");
    }
    gateway.update(&all(keys("alice: one, bob: two"), ""));
    for (path, headers, expected) in [("/closed", ONE, 200), ("/closed", "\r\nx-api-key: two", 200), ("/new", ONE, 404)] {
        assert_eq!(status(&gateway, path, headers).await, expected, "{path} {headers}");
    }
}

#[tokio::test]
async fn equal_rules_have_counters_of_their_own() {
    let ear = Ear::start().await;
    let shared = "rateLimit: {global: {rules: [{shared: true, limit: {requests: 1, unit: Year}}]}}";
    let twice = "rateLimit: {global: {rules: [{limit: {requests: 2, unit: Year}}, {limit: {requests: 2, unit: Year}}]}}";
    let limits = [("a", shared), ("b", shared), ("c", twice)].map(|(name, spec)| policy("BackendTrafficPolicy", name, spec));
    let routes = ["a", "b", "c"].map(route);
    let gateway = Gateway::serve(&[backend("ear", ear.address, ""), routes.concat(), limits.concat()].concat());
    for (path, expected) in [("/a", 200), ("/a", 429), ("/b", 200), ("/b", 429), ("/c", 200), ("/c", 200), ("/c", 429)] {
        assert_eq!(status(&gateway, path, "").await, expected, "{path}");
    }
}

#[tokio::test]
async fn two_selectors_of_clients_are_two_limits() {
    let ear = Ear::start().await;
    let rule = |header: &str, requests: u32| {
        format!(
            "{{clientSelectors: [{{headers: [{{name: {header}, type: Distinct}}]}}], limit: {{requests: {requests}, unit: Year}}}}"
        )
    };
    let limit = format!("rateLimit: {{global: {{rules: [{}, {}]}}}}", rule("x-user", 2), rule("x-team", 3));
    let objects = [backend("ear", ear.address, ""), route("a"), policy("BackendTrafficPolicy", "a", &limit)];
    let gateway = Gateway::serve(&objects.concat());
    for (user, team, expected) in [
        ("alice", "red", 200),
        ("alice", "red", 200),
        ("alice", "red", 429),
        // The refused request cost the team nothing.
        ("bob", "red", 200),
        ("bob", "red", 429),
        ("bob", "blue", 200),
        ("bob", "blue", 429),
        ("carol", "blue", 200),
    ] {
        let headers = format!("\r\nx-user: {user}\r\nx-team: {team}");
        assert_eq!(status(&gateway, "/a", &headers).await, expected, "{user} of {team}");
    }
}

/// An EnvoyGateway whose limits nobody counts.
fn configuration(annotations: &str, limit: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: pailou-config, namespace: pailou-system, annotations: {{{annotations}}}}}\ndata: \
         {{envoy-gateway.yaml: \"apiVersion: gateway.envoyproxy.io/v1alpha1\\nkind: EnvoyGateway\\nrateLimit: {{{limit}}}\"}}\n"
    )
}

#[tokio::test]
async fn a_valid_key_stays_valid_while_nobody_counts_its_limits() {
    let ear = Ear::start().await;
    let limit = "rateLimit: {global: {rules: [{limit: {requests: 100, unit: Year}}]}}";
    for is_closed in [false, true] {
        let store = format!("backend: {{type: Redis, redis: {{url: '{}'}}}}, failClosed: {is_closed}", nowhere());
        let service = format!("pailou.dev/rate-limit-service: 'grpc://{}'", nowhere());
        for configuration in [configuration("", &store), configuration(&service, &format!("failClosed: {is_closed}"))] {
            let objects = [
                backend("ear", ear.address, ""),
                route("a"),
                policy("BackendTrafficPolicy", "a", limit),
                policy("SecurityPolicy", "a", BY_KEY),
                keys("alice: one"),
                configuration.clone(),
            ];
            let gateway = Gateway::serve(&objects.concat());
            let passes = if is_closed { 500 } else { 200 };
            for (headers, expected) in [(ONE, passes), ("\r\nx-api-key: two", 401), ("", 401), (ONE, passes)] {
                assert_eq!(status(&gateway, "/a", headers).await, expected, "{headers} {configuration}");
            }
        }
    }
}
