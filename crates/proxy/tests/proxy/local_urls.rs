//! URLs of policies that lead to the machine itself (SecurityPolicy `oidc`, `jwt.remoteJWKS`), where they must not.

use crate::support::{
    ear::Ear,
    login::{SECRETS, guarded_route, open_route},
    objects::{Gateway, backend},
    provider::{Browser, Provider},
};

#[tokio::test]
async fn neither_an_address_nor_a_name_leads_to_the_machine_itself() {
    let (ear, provider) = (Ear::start().await, Provider::start().await);
    let port = provider.address.port();
    let keys = |name: &str, host: &str| {
        format!(
            "{}---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: {name}}}\nspec:\n  targetRefs: \
             [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]\n  jwt: {{providers: [{{name: own, remoteJWKS: {{uri: \
             'http://{host}:{port}/keys'}}}}]}}\n",
            open_route(name)
        )
    };
    let login = guarded_route("login", &provider, "");
    let named = guarded_route("named", &provider, "").replace("//127.0.0.1:", "//localhost:");
    let mapped = keys("mapped", "[::ffff:127.0.0.1]");
    let objects = [&*login, &named, &keys("keys", "localhost"), &mapped, &backend("ear", ear.address, ""), SECRETS].concat();
    let gateway = Gateway::serve_without_local_urls(&objects);
    for path in ["/login", "/named"] {
        let seen = Browser::default().get(&gateway, path, "").await;
        assert_eq!(seen.status, 503, "{path}: {}", seen.text);
    }
    gateway.log.line("loopback or link-local address").await;
    let token = "authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl";
    for path in ["/keys", "/mapped"] {
        let seen = Browser::default().get(&gateway, path, token).await;
        assert_eq!(seen.status, 503, "{path}: {}", seen.text);
    }
    assert!(provider.state.lock().paths.is_empty());
    // Elsewhere the same policies are served.
    let gateway = Gateway::serve(&objects);
    assert_eq!(Browser::default().get(&gateway, "/login", "").await.status, 302);
}
