//! Headers by which a gateway tells its backends of the client: a client's own do not reach them.

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, route},
    pki::Authority,
    secured::{ask, connect},
};

const TO_EAR: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";
const FORGED: &str = "x-forwarded-client-cert: Hash=1;URI=spiffe://admin\r\nx-forwarded-host: evil.test\r\nx-envoy-internal: \
                      true\r\nx_forwarded_client_cert: URI=spiffe://admin\r\nx-real-ip: 10.0.0.1\r\nforwarded: for=10.0.0.1";

fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {{name: p}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: Gateway, name: gw}}]\n  {spec}\n"
    )
}

fn modes(mode: &str) -> String {
    policy(&format!("headers: {{xForwardedClientCert: {{mode: {mode}, certDetailsToAdd: [Subject, URI]}}}}"))
}

#[tokio::test]
async fn a_clients_own_assertions_do_not_reach_a_backend() {
    let ear = Ear::start().await;
    let objects = [route(TO_EAR), backend("ear", ear.address, "")].concat();
    for (settings, passes) in [
        (String::new(), false),
        (modes("Sanitize"), false),
        (modes("ForwardOnly"), false),
        (modes("AppendForward"), false),
        (modes("SanitizeSet"), false),
        (modes("AlwaysForwardOnly"), true),
    ] {
        let gateway = Gateway::serve(&[objects.clone(), settings].concat());
        gateway.ask(&format!("GET / HTTP/1.1\r\nhost: a.test\r\n{FORGED}")).await;
        let head = ear.next().await;
        assert_eq!(head.contains("x-forwarded-client-cert: hash=1;uri=spiffe://admin"), passes, "{head}");
        assert!(!head.contains("evil.test") && !head.contains("10.0.0.1") && !head.contains("x-envoy"), "{head}");
        assert!(!head.contains("x_forwarded"), "{head}");
    }
}

#[tokio::test]
async fn underscores_disguise_no_header_that_the_gateway_or_its_configuration_sets() {
    let ear = Ear::start().await;
    let own = "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-user, value: configured}], remove: [x-role]}}], \
               backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";
    let forged = "x_gateway_model_name: evil\r\nx-gateway-base_model-name: evil\r\nx_gateway_destination_endpoint: evil\r\nx_forwarded_for: \
                  evil\r\nx_envoy_internal: evil\r\nx_request_id: evil\r\nx_user: evil\r\nx_role: evil\r\nx_team: kept";
    let early = policy("headers: {earlyRequestHeaders: {remove: [x-role]}}");
    for settings in ["", &policy("clientIPDetection: {xForwardedFor: {numTrustedHops: 1}}"), &early] {
        let gateway = Gateway::serve(&[&route(own), &backend("ear", ear.address, ""), settings].concat());
        gateway.ask(&format!("GET / HTTP/1.1\r\nhost: a.test\r\n{forged}")).await;
        let head = ear.next().await;
        // From a proxy that is trusted, a name that means nothing to the gateway passes.
        let envoys = "x_envoy_internal: evil";
        let rest = if settings.contains("numTrustedHops") { head.replace(envoys, "") } else { head.clone() };
        assert!(!rest.contains("evil"), "{settings}: {head}");
        assert!(head.contains("x-user: configured") && head.contains("x_team: kept"), "{head}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_assert_and_a_rule_may_too() {
    let ear = Ear::start().await;
    let sets = "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Forwarded-Prefix, value: /api}]}}], \
                backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";
    let trusting = policy("clientIPDetection: {xForwardedFor: {numTrustedHops: 1}}");
    let gateway = Gateway::serve(&[route(sets), backend("ear", ear.address, ""), trusting].concat());
    gateway.ask("GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 1.1.1.1\r\nx-forwarded-host: outer.test").await;
    let head = ear.next().await;
    assert!(head.contains("x-forwarded-host: outer.test") && head.contains("x-forwarded-prefix: /api"), "{head}");
}

#[tokio::test]
async fn a_backend_learns_of_the_clients_certificate() {
    let ear = Ear::start().await;
    let (servers, clients) = (Authority::new(), Authority::new());
    let certificate = clients.issue(&["app.test", "spiffe://test/app"]);
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  tls: \
                   {frontend: {default: {validation: {caCertificateRefs: [{group: \"\", kind: ConfigMap, name: clients}]}}}}\n  listeners: \
                   [{name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: server}]}}]\n---\n";
    let server = servers.issue(&["a.test", "spiffe://test/gateway"]).secret("server");
    let objects = [gateway, &route(TO_EAR), &backend("ear", ear.address, ""), &server, &clients.config_map("clients")].concat();
    for (settings, starts, ends) in [
        (String::new(), None, ""),
        (modes("ForwardOnly"), Some("hash=1"), "hash=1"),
        (modes("AppendForward"), Some("hash=1,by=spiffe://test/gateway;hash="), "uri=spiffe://test/app"),
        (
            modes("SanitizeSet"),
            Some("by=spiffe://test/gateway;hash="),
            ";subject=\"cn=rcgen self signed cert\";uri=spiffe://test/app",
        ),
    ] {
        let running = Gateway::at_own_address(&[objects.clone(), settings].concat());
        let mut stream = connect(running.at(8443), "a.test", &servers.client(Some(&certificate), "http/1.1")).await.unwrap();
        ask(&mut stream, "a.test\r\nx-forwarded-client-cert: Hash=1", "/").await.unwrap();
        let head = ear.next().await;
        let value = head.lines().find_map(|line| line.strip_prefix("x-forwarded-client-cert: "));
        assert_eq!(value.is_some(), starts.is_some(), "{head}");
        assert!(value.is_none_or(|value| value.starts_with(starts.unwrap()) && value.ends_with(ends)), "{head}");
    }
}
