//! Filters that have the route chosen again (SecurityPolicy `recomputeRoute`): each policy asks once, and limits charge once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;

use crate::{
    authentication::token,
    ext_auth::http_server,
    support::{
        ear::Ear,
        objects::{Gateway, backend},
    },
};

/// A policy of this kind on an object.
fn policy(policy: &str, (kind, name): (&str, &str), spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {policy}\nmetadata: {{name: on-{name}}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: {kind}, name: {name}}}]\n  {spec}\n"
    )
}

const GATEWAY: (&str, &str) = ("Gateway", "gw");

/// A route to the backend of its name, for requests with a header `x-team` if one is given.
fn route(name: &str, team: Option<&str>) -> String {
    let matches = team.map_or(String::new(), |team| format!("matches: [{{headers: [{{name: x-team, value: {team}}}]}}], "));
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: gw}}]\n  \
         rules: [{{{matches}backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: {name}}}]}}]\n"
    )
}

/// A gateway with a route for team red and one for all others, and the backends of both.
async fn serve(objects: &str) -> (Gateway, Ear, Ear) {
    let (red, other) = (Ear::start().await, Ear::start().await);
    let own =
        [route("red", Some("red")), route("other", None), backend("red", red.address, ""), backend("other", other.address, "")];
    (Gateway::serve(&[&own.concat(), objects].concat()), red, other)
}

/// Settings of `jwt` with a key set, and a token of team red.
fn jwt() -> (String, String) {
    let (keys, token) = token(&json!({"team": "red"}));
    let provider = format!(
        "{{name: idp, localJWKS: {{inline: '{keys}'}}, claimToHeaders: [{{header: x-team, claim: team}}], recomputeRoute: true}}"
    );
    (format!("jwt: {{optional: true, providers: [{provider}]}}"), token)
}

#[tokio::test]
async fn a_claim_chooses_the_route_and_nothing_is_asked_or_charged_twice() {
    let (jwt, token) = jwt();
    let keys = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {alice: one}\n";
    let spec = format!(
        "apiKeyAuth: {{credentialRefs: [{{name: keys}}], extractFrom: [{{headers: [x-api-key]}}], sanitize: true}}\n  {jwt}\n  authorization: \
         {{rules: [{{action: Allow, principal: {{jwt: {{provider: idp, claims: [{{name: team, values: [red]}}]}}}}}}]}}"
    );
    let limit = "rateLimit: {global: {rules: [{limit: {requests: 2, unit: Hour}, shared: true}]}}";
    let objects = [keys, &policy("SecurityPolicy", GATEWAY, &spec), &policy("BackendTrafficPolicy", GATEWAY, limit)].concat();
    let (gateway, red, other) = serve(&objects).await;
    let request = format!("GET / HTTP/1.1\r\nhost: a.test\r\nx-api-key: one\r\nauthorization: Bearer {token}");
    for _ in 0..2 {
        let answer = gateway.ask(&request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(red.next().await.contains("\r\nx-team: red\r\n"));
    }
    let answer = gateway.ask(&request).await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    // Without a token nobody is of a team.
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a.test\r\nx-api-key: one\r\nx-team: red").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(other.heads.lock().is_empty());
}

#[tokio::test]
async fn an_authorization_server_chooses_the_route_and_is_asked_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let (auth, _told) = http_server(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        "HTTP/1.1 200 OK\r\nx-team: red\r\ncontent-length: 0\r\n\r\n".to_owned()
    })
    .await;
    let server = |more: &str| {
        let to = "backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: auth}]";
        format!("extAuth: {{{more}http: {{{to}, headersToBackend: [x-team]}}}}")
    };
    for (more, chosen) in [("recomputeRoute: true, ", "red"), ("", "other")] {
        let objects = [backend("auth", auth, ""), policy("SecurityPolicy", GATEWAY, &server(more))].concat();
        let (gateway, red, other) = serve(&objects).await;
        asked.store(0, Ordering::Relaxed);
        let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let head = if chosen == "red" { red.next().await } else { other.next().await };
        assert!(head.contains("\r\nx-team: red\r\n"), "{head}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn the_route_that_takes_the_request_then_asks_by_its_own_policy() {
    let (jwt, good) = jwt();
    let keys = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {alice: one}\n";
    let on_other = policy("SecurityPolicy", ("HTTPRoute", "other"), &jwt);
    let own = "apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-api-key]}]}";
    let objects = [keys, &on_other, &policy("SecurityPolicy", ("HTTPRoute", "red"), own)].concat();
    let (gateway, red, _other) = serve(&objects).await;
    let request = |more: &str| format!("GET / HTTP/1.1\r\nhost: a.test\r\nauthorization: Bearer {good}{more}");
    assert!(gateway.ask(&request("")).await.starts_with("HTTP/1.1 401"));
    assert!(gateway.ask(&request("\r\nx-api-key: one")).await.starts_with("HTTP/1.1 200"));
    red.next().await;

    // A provider of the same name in another policy is another provider: its rules do not see the first one's claims.
    let (others, _) = token(&json!({}));
    let own = format!(
        "jwt: {{optional: true, providers: [{{name: idp, localJWKS: {{inline: '{others}'}}, extractFrom: {{headers: [{{name: x-token}}]}}}}]}}\n  \
         authorization: {{rules: [{{action: Allow, principal: {{jwt: {{provider: idp, claims: [{{name: team, values: [red]}}]}}}}}}]}}"
    );
    let objects = [on_other, policy("SecurityPolicy", ("HTTPRoute", "red"), &own)].concat();
    let (gateway, red, _other) = serve(&objects).await;
    assert!(gateway.ask(&request("")).await.starts_with("HTTP/1.1 403"));
    assert!(red.heads.lock().is_empty());
}
