//! Credentials of clients and of the gateway on the way to a provider.

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, route},
};

const CLIENTS: &str =
    "authorization: Bearer mine\r\nx-api-key: mine\r\napi-key: mine\r\nx-goog-api-key: mine\r\nx_api_key: mine\r\ncookie: a=mine";

/// A credential that goes into this header, with its Secret.
fn injection(header: &str, overwrite: bool) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: key}}\nstringData: {{credential: ours}}\n---\napiVersion: \
         gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {{name: key}}\nspec: {{credentialInjection: {{header: {header}, \
         overwrite: {overwrite}, credential: {{valueRef: {{name: key}}}}}}}}\n"
    )
}

const INJECT: &str = "{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: key}}";
const SET: &str = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Authorization, value: configured}]}}";

/// The credentials that a backend gets, by name.
async fn received(rule_filters: &str, own_filters: &str, injection: &str) -> Vec<String> {
    let ear = Ear::start().await;
    let rule = format!(
        "{{filters: [{rule_filters}], backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: ear, filters: [{own_filters}]}}]}}"
    );
    let gateway = Gateway::serve(&[&route(&rule), &backend("ear", ear.address, ""), injection].concat());
    gateway.ask(&format!("GET / HTTP/1.1\r\nhost: a.test\r\n{CLIENTS}")).await;
    let head = ear.next().await;
    let mut lines: Vec<_> =
        head.lines().filter(|line| ["mine", "ours", "configured"].iter().any(|it| line.ends_with(it))).collect();
    lines.sort_unstable();
    lines.into_iter().filter(|line| !line.starts_with("cookie")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_clients_own_credentials_do_not_reach_a_provider_that_gets_the_gateways() {
    let [key, kept] = [injection("x-api-key", true), injection("x-api-key", false)];
    for (rule, own) in [(INJECT, ""), ("", INJECT)] {
        assert_eq!(received(rule, own, &key).await, ["x-api-key: ours"], "{rule}");
        // Envoy Gateway's `overwrite: false`: a client may bring the key itself.
        assert_eq!(received(rule, own, &kept).await, ["x-api-key: mine"], "{rule}");
        assert_eq!(received(rule, own, &injection("Authorization", true)).await, ["authorization: ours"], "{rule}");
    }
    for (rule, own) in [(SET, INJECT), (INJECT, SET)] {
        assert_eq!(
            received(rule, own, &key).await,
            ["authorization: configured", "x-api-key: ours"],
            "a header that is configured stays"
        );
    }
}

#[tokio::test]
async fn without_a_credential_of_the_gateways_a_client_brings_its_own() {
    let all = ["api-key: mine", "authorization: bearer mine", "x-api-key: mine", "x-goog-api-key: mine"];
    assert_eq!(received("", "", "").await, all);
}
