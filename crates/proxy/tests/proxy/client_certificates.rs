//! Certificates that a Gateway asks of its clients, and the one that it shows to backends.

use std::sync::Arc;

use pailou_envoy_proto::ext_proc::processing_response::Response as Answer;
use rustls::ClientConfig;

use crate::support::{
    objects::{Gateway, route},
    picked::{TO_POOL, engine, gateway_with, post},
    picker::{choosing, picker, unchanged},
    pki::{Authority, Leaf, fingerprint},
    secured::{ask, ask_once, backend, before, connect},
};

/// A route that redirects whatever comes, for which no backend is needed.
const ANY: &str = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: any}\nspec:\n  parentRefs: [{name: \
                   gw}]\n  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: there.test}}]}]\n";

/// Two HTTPS ports and one for cleartext.
const PORTS: [u16; 3] = [8443, 9443, 8080];

/// A Gateway that listens at them, with these settings for clients' certificates.
fn listening(frontend: &str) -> String {
    let [first, second, clear] = PORTS;
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: gw}}\nspec:\n  gatewayClassName: pailou\n  tls: \
         {{frontend: {frontend}}}\n  listeners:\n  - {{name: first, protocol: HTTPS, port: {first}, tls: {{certificateRefs: [{{name: \
         server}}]}}}}\n  - {{name: second, protocol: HTTPS, port: {second}, tls: {{certificateRefs: [{{name: server}}]}}}}\n  - {{name: \
         clear, protocol: HTTP, port: {clear}}}\n"
    )
}

fn validation(config_map: &str, mode: &str) -> String {
    format!("{{validation: {{mode: {mode}, caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: {config_map}}}]}}}}")
}

/// Authorities and one certificate of each.
struct Pki {
    servers: Authority,
    ours: Leaf,
    theirs: Leaf,
    objects: String,
}

impl Pki {
    fn new() -> Self {
        let (servers, ours, theirs) = (Authority::new(), Authority::new(), Authority::new());
        let server = servers.issue(&["a.test", "b.test"]);
        let objects = [server.secret("server"), ours.config_map("ours"), theirs.config_map("theirs"), ANY.to_owned()].concat();
        Self { ours: ours.issue(&[]), theirs: theirs.issue(&[]), servers, objects }
    }

    /// Clients with our certificate, with theirs, and without.
    fn clients(&self) -> [Arc<ClientConfig>; 3] {
        [Some(&self.ours), Some(&self.theirs), None].map(|certificate| self.servers.client(certificate, "http/1.1"))
    }

    /// Clients that get an answer.
    async fn let_in(&self, gateway: &Gateway, port: u16) -> Vec<bool> {
        let mut answered = Vec::new();
        for client in self.clients() {
            answered.push(ask_once(gateway.at(port), "a.test", &client).await.is_ok_and(|head| head.starts_with("http/1.1 302")));
        }
        answered
    }
}

#[tokio::test]
async fn each_port_lets_in_whom_its_authorities_know() {
    let pki = Pki::new();
    let (ours, theirs) = (validation("ours", "AllowValidOnly"), validation("theirs", "AllowValidOnly"));
    let frontend =
        format!("{{default: {ours}, perPort: [{{port: {}, tls: {theirs}}}, {{port: {}, tls: {theirs}}}]}}", PORTS[1], PORTS[2]);
    let gateway = Gateway::at_own_address(&[listening(&frontend), pki.objects.clone()].concat());
    assert_eq!(pki.let_in(&gateway, PORTS[0]).await, [true, false, false]);
    assert_eq!(pki.let_in(&gateway, PORTS[1]).await, [false, true, false]);
    let clear = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(clear.starts_with("HTTP/1.1 302"), "{clear}");
}

#[tokio::test]
async fn insecure_fallback_lets_everyone_in() {
    let pki = Pki::new();
    let (any, ours) = (validation("ours", "AllowInsecureFallback"), validation("ours", "AllowValidOnly"));
    let frontend = format!("{{default: {any}, perPort: [{{port: {}, tls: {ours}}}]}}", PORTS[1]);
    let gateway = Gateway::at_own_address(&[listening(&frontend), pki.objects.clone()].concat());
    assert_eq!(pki.let_in(&gateway, PORTS[0]).await, [true, true, true]);
    assert_eq!(pki.let_in(&gateway, PORTS[1]).await, [true, false, false]);
}

#[tokio::test]
async fn a_listener_that_cannot_check_is_closed_and_the_others_are_not() {
    let pki = Pki::new();
    for mode in ["AllowValidOnly", "AllowInsecureFallback"] {
        let frontend = format!("{{default: {}, perPort: [{{port: {}, tls: {{}}}}]}}", validation("missing", mode), PORTS[1]);
        let gateway = Gateway::at_own_address(&[listening(&frontend), pki.objects.clone()].concat());
        assert_eq!(pki.let_in(&gateway, PORTS[0]).await, [false, false, false], "{mode}");
        assert_eq!(pki.let_in(&gateway, PORTS[1]).await, [true, true, true], "{mode}");
        assert!(gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await.starts_with("HTTP/1.1 302"));
    }
}

#[tokio::test]
async fn connections_from_before_a_certificate_was_asked_for_serve_no_more() {
    let pki = Pki::new();
    let objects = |frontend: &str| [listening(&format!("{{default: {frontend}}}")), pki.objects.clone()].concat();
    let running = Gateway::at_own_address(&objects("{}"));
    let [known, _, unknown] = pki.clients();
    let mut stream = connect(running.at(PORTS[0]), "a.test", &unknown).await.unwrap();
    assert!(ask(&mut stream, "a.test", "/").await.unwrap().starts_with("http/1.1 302"));
    let strict = objects(&validation("ours", "AllowValidOnly"));
    running.update(&strict);
    assert!(ask(&mut stream, "a.test", "/").await.unwrap().starts_with("http/1.1 421"));
    let mut stream = connect(running.at(PORTS[0]), "a.test", &known).await.unwrap();
    assert!(ask(&mut stream, "a.test", "/").await.unwrap().starts_with("http/1.1 302"));
    running.update(&strict);
    assert!(ask(&mut stream, "a.test", "/").await.unwrap().starts_with("http/1.1 302"), "the same settings, compiled anew");
    running.update(&objects(&validation("theirs", "AllowValidOnly")));
    assert!(ask(&mut stream, "a.test", "/").await.unwrap().starts_with("http/1.1 421"));
}

#[tokio::test]
async fn a_client_traffic_policy_asks_for_certificates_too_and_may_leave_them_optional() {
    let pki = Pki::new();
    let policy = |listener: &str, optional: bool| {
        format!(
            "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {{name: {listener}}}\nspec:\n  \
             targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: gw, sectionName: {listener}}}]\n  tls: \
             {{clientValidation: {{optional: {optional}, caCertificateRefs: [{{kind: ConfigMap, name: ours}}]}}}}\n"
        )
    };
    let objects = [listening("{default: {}}"), pki.objects.clone(), policy("first", false), policy("second", true)];
    let gateway = Gateway::at_own_address(&objects.concat());
    assert_eq!(pki.let_in(&gateway, PORTS[0]).await, [true, false, false]);
    assert_eq!(pki.let_in(&gateway, PORTS[1]).await, [true, false, true]);
}

/// A Gateway with one listener for cleartext, and these TLS settings.
fn before_backend(name: &str, port: u16, tls: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  gatewayClassName: pailou\n  \
         tls: {tls}\n  listeners: [{{name: http, protocol: HTTP, port: {port}}}]\n"
    )
}

#[tokio::test]
async fn each_gateway_shows_its_own_certificate_to_backends() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (first, second) = (clients.issue(&[]), clients.issue(&[]));
    let backend = backend(&servers.issue(&["backend.test"]), &clients).await;
    let ports = [8080, 8081, 8082, 8083];
    let shown = |secret: &str| format!("{{backend: {{clientCertificateRef: {{name: {secret}}}}}}}");
    let objects = [
        before_backend("first", ports[0], &shown("first")),
        before_backend("second", ports[1], &shown("second")),
        before_backend("none", ports[2], "{}"),
        before_backend("missing", ports[3], &shown("missing")),
        first.secret("first"),
        second.secret("second"),
        servers.config_map("ca"),
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: backend}}\nspec: {{ports: [{{name: https, port: 443}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: backend, labels: {{kubernetes.io/service-name: \
             backend}}}}\naddressType: IPv4\nports: [{{name: https, port: {}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n",
            backend.port()
        ),
        trusting("backend", "backend.test"),
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: route}\nspec:\n  parentRefs: \
         [{name: first}, {name: second}, {name: none}, {name: missing}]\n  rules: [{backendRefs: [{name: backend, port: 443}]}]\n"
            .to_owned(),
    ];
    let mut gateway = Gateway::at_own_address(&objects.concat());
    for (port, status, client) in [
        (ports[0], "200", fingerprint(&first.der)),
        (ports[1], "200", fingerprint(&second.der)),
        (ports[2], "200", "none".to_owned()),
        (ports[0], "200", fingerprint(&first.der)),
    ] {
        gateway.address.set_port(port);
        let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(&format!("x-client: {client}\r\n")),
            "{answer}"
        );
        assert!(answer.contains("x-sni: backend.test\r\n"), "{answer}");
    }
    gateway.address.set_port(ports[3]);
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a").await;
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
}

/// Has a Service trusted by its certificate, from the ConfigMap `ca`.
fn trusting(service: &str, hostname: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: trust}}\nspec:\n  targetRefs: [{{group: \
         \"\", kind: Service, name: {service}}}]\n  validation: {{hostname: {hostname}, caCertificateRefs: [{{group: \"\", kind: ConfigMap, \
         name: ca}}]}}\n"
    )
}

#[tokio::test]
async fn each_gateway_shows_its_own_certificate_to_endpoint_pickers() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let client = clients.issue(&[]);
    let (engine, _calls) = engine().await;
    let picker = picker(move |mut talk| async move {
        talk.headers().await;
        talk.say(choosing(&engine.to_string()));
        talk.body().await;
        talk.say(Answer::RequestBody(unchanged()));
        talk.close();
    });
    let (picker, mut shown) = before(picker.await, &servers.issue(&["epp.test"]), &clients).await;
    let ports = [8081, 8082];
    let more = [
        before_backend("shows", ports[0], "{backend: {clientCertificateRef: {name: client}}}"),
        before_backend("missing", ports[1], "{backend: {clientCertificateRef: {name: missing}}}"),
        client.secret("client"),
        servers.config_map("ca"),
        trusting("epp", "epp.test"),
        route(TO_POOL).replace("name: route", "name: others").replace("{name: gw}", "{name: shows}, {name: missing}"),
    ];
    let mut gateway = gateway_with(&[engine], picker, "FailClose", TO_POOL, &more.concat());
    let own = gateway.address.port();
    for (port, certificate) in [(own, "none".to_owned()), (ports[0], fingerprint(&client.der))] {
        gateway.address.set_port(port);
        let answer = post(&gateway, r#"{"model":"m"}"#).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(shown.recv().await, Some(certificate));
    }
    gateway.address.set_port(ports[1]);
    let answer = post(&gateway, r#"{"model":"m"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "where there is no certificate the picker is not asked: {answer}");
    assert!(shown.try_recv().is_err());
}
