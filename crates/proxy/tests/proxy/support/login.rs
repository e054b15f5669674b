//! A Gateway whose clients log in.

use super::{
    ear::Ear,
    objects::{Gateway, backend, route},
    provider::Provider,
};

const TO_EAR: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";
/// The client's secret, and the key of sessions.
pub(crate) const SECRETS: &str = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: client}\nstringData: {client-secret: hush+hush}\n\
                       ---\napiVersion: v1\nkind: Secret\nmetadata: {name: envoy-oidc-hmac, namespace: envoy-gateway-system}\n\
                       stringData: {hmac-secret: 0123456789abcdef0123456789abcdef}\n";

/// Objects with a policy of logins for the whole Gateway: `more` are fields of its `oidc`, up to the closing brace.
pub(crate) fn objects(ear: &Ear, issuer: &str, more: &str) -> String {
    let policy = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: login}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: Gateway, name: gw}}]\n  oidc: {{provider: {{issuer: \"{issuer}\"}}, clientID: shop, \
         clientSecret: {{name: client}}{more}\n"
    );
    [&route(TO_EAR), &backend("ear", ear.address, ""), SECRETS, &policy].concat()
}

/// Serves them.
pub(crate) async fn serve(more: &str) -> (Gateway, Ear, Provider) {
    let (ear, provider) = (Ear::start().await, Provider::start().await);
    let gateway = Gateway::serve(&objects(&ear, &provider.issuer(), more));
    (gateway, ear, provider)
}

/// A route for a path of its own, whose clients log in: `more` are fields of `oidc`, each after a comma.
pub(crate) fn guarded_route(name: &str, provider: &Provider, more: &str) -> String {
    format!(
        "{}---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: {name}}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]\n  oidc: {{provider: {{issuer: \"{}\"}}, clientID: shop, \
         clientSecret: {{name: client}}, redirectURL: \"http://%REQ(:authority)%/{name}/callback\", logoutPath: /{name}/logout{more}}}\n",
        open_route(name),
        provider.issuer()
    )
}

/// A route for a path of its own.
pub(crate) fn open_route(name: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: gw}}]\n  \
         rules: [{{matches: [{{path: {{value: /{name}}}}}], backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: ear}}]}}]\n"
    )
}
