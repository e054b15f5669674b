//! Normal form of paths: routes, policies, limits and backends see the same one, however a client writes it.

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, route},
};

const TO_EAR: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";
const NO_ADMIN: &str = "authorization: {defaultAction: Allow, rules: [{action: Deny, principal: {clientCIDRs: [\"0.0.0.0/0\"]}, operation: {path: {value: \
                        /v1/admin}}}]}";
const FEW_FILES: &str =
    "rateLimit: {global: {rules: [{clientSelectors: [{path: {value: /files}}], limit: {requests: 0, unit: Year}}]}}";

fn policy(kind: &str, target: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: policy}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: {target}}}]\n  {spec}\n"
    )
}

async fn serve(path: &str) -> (Gateway, Ear) {
    let ear = Ear::start().await;
    let objects = [
        route(TO_EAR),
        backend("ear", ear.address, ""),
        policy("SecurityPolicy", "Gateway, name: gw", NO_ADMIN),
        policy("BackendTrafficPolicy", "Gateway, name: gw", FEW_FILES),
        policy("ClientTrafficPolicy", "Gateway, name: gw", path),
    ];
    (Gateway::serve(&objects.concat()), ear)
}

async fn status(gateway: &Gateway, path: &str) -> (String, String) {
    let answer = gateway.ask(&format!("GET {path} HTTP/1.1\r\nhost: a.test")).await;
    (answer.split(' ').nth(1).unwrap_or_default().to_owned(), answer)
}

#[tokio::test]
async fn no_way_to_write_a_path_leads_around_a_rule_or_a_limit() {
    let (gateway, ear) = serve("path: {}").await;
    let admin = [
        "/v1/admin",
        "/v1/%61dmin",
        "/v1//admin/x",
        "//v1/./admin/.",
        "/v1/x/../admin",
        "/v1/x/%2E%2e/admin",
        "/v1%2fadmin",
        "/v1/admin%2Fx",
        "/v1%5cadmin",
        r"/v1\admin",
        "/v2%2f..%2Fv1/admin",
    ];
    for path in admin {
        assert_eq!(status(&gateway, path).await.0, "403", "{path}");
    }
    for path in ["/files", "/%66iles/a", "//files", "/x/..%2ffiles"] {
        assert_eq!(status(&gateway, path).await.0, "429", "{path}");
    }
    for path in ["/..", "/v1%2f..%2f..", "/a%00"] {
        assert_eq!(status(&gateway, path).await.0, "400", "{path}");
    }
    // A backend gets the path that was judged.
    for (path, expected) in [("/v1/mo%64els%2fa?x=%61//b", "get /v1/models/a?x=%61//b "), ("/v1/%256e", "get /v1/%256e ")] {
        let (status, _) = status(&gateway, path).await;
        assert_eq!(status, "200", "{path}");
        let head = ear.next().await;
        assert!(head.starts_with(expected), "{head}");
    }
}

#[tokio::test]
async fn a_listener_says_what_becomes_of_slashes() {
    for (action, path, expected) in [
        ("UnescapeAndRedirect", "/v1%2fx?a=b", "307"),
        ("UnescapeAndRedirect", "/v1//x", "200"),
        ("UnescapeAndForward", "/v1%2fadmin", "403"),
        ("RejectRequest", "/v1%2fx", "400"),
        ("KeepUnchanged", "/v1%2fadmin", "200"),
    ] {
        let (gateway, _ear) = serve(&format!("path: {{escapedSlashesAction: {action}}}")).await;
        let (status, answer) = status(&gateway, path).await;
        assert_eq!(status, expected, "{action} {path}");
        assert_eq!(answer.contains("\r\nlocation: /v1/x?a=b\r\n"), status == "307", "{answer}");
    }
    let (gateway, ear) = serve("path: {disableMergeSlashes: true, escapedSlashesAction: UnescapeAndRedirect}").await;
    assert_eq!(status(&gateway, "/a//b").await.0, "200");
    assert!(ear.next().await.starts_with("get /a//b "));
    assert_eq!(status(&gateway, "/%2fother.test/a").await.0, "400", "no redirect to another host");
}

#[tokio::test]
async fn a_rule_about_a_path_that_no_request_has_closes_its_route() {
    let ear = Ear::start().await;
    let rule =
        "authorization: {rules: [{action: Allow, principal: {clientCIDRs: [\"0.0.0.0/0\"]}, operation: {path: {value: /a/../b}}}]}";
    let limit = "rateLimit: {global: {rules: [{clientSelectors: [{path: {value: /a/./b}}], limit: {requests: 1, unit: Year}}]}}";
    for policy in [policy("SecurityPolicy", "Gateway, name: gw", rule), policy("BackendTrafficPolicy", "Gateway, name: gw", limit)]
    {
        let gateway = Gateway::serve(&[route(TO_EAR), backend("ear", ear.address, ""), policy].concat());
        assert_eq!(status(&gateway, "/b").await.0, "500");
    }
}
