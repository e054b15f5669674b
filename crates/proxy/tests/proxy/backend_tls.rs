//! BackendTLSPolicy, as a backend that speaks TLS sees it: which name is asked for, whose certificate is trusted, and which policy
//! of several holds.

use std::fmt::Write as _;

use http::Request;
use tokio::net::TcpStream;

use crate::support::{objects::Gateway, pki::Authority, secured::backend};

/// A Service, one for each case, and the policies that target it: `validation` without its authorities.
struct Case {
    name: &'static str,
    policies: &'static [Policy],
    /// The SNI that the backend sees, or the status where there is no answer of its.
    expected: Result<&'static str, u16>,
}

/// Name, section, creation, `validation` without authorities, authority.
type Policy = (&'static str, &'static str, &'static str, &'static str, &'static str);

const OLD: &str = "2024-01-01T00:00:00Z";
const NEW: &str = "2025-01-01T00:00:00Z";
const URI: &str = "spiffe://backend.test/id";

const CASES: &[Case] = &[
    Case { name: "hostname", policies: &[("p", "", OLD, "hostname: backend.test", "ca")], expected: Ok("backend.test") },
    Case { name: "other-hostname", policies: &[("p", "", OLD, "hostname: nobody.test", "ca")], expected: Err(503) },
    Case { name: "other-authority", policies: &[("p", "", OLD, "hostname: backend.test", "other")], expected: Err(503) },
    Case { name: "no-authority", policies: &[("p", "", OLD, "hostname: backend.test", "missing")], expected: Err(500) },
    Case {
        name: "san",
        policies: &[("p", "", OLD, "hostname: sni.test, subjectAltNames: [{type: Hostname, hostname: backend.test}]", "ca")],
        expected: Ok("sni.test"),
    },
    Case {
        name: "san-mismatch",
        policies: &[("p", "", OLD, "hostname: backend.test, subjectAltNames: [{type: Hostname, hostname: nobody.test}]", "ca")],
        expected: Err(503),
    },
    Case {
        name: "uri",
        policies: &[("p", "", OLD, "hostname: sni.test, subjectAltNames: [{type: URI, uri: \"spiffe://backend.test/id\"}]", "ca")],
        expected: Ok("sni.test"),
    },
    Case {
        name: "uri-mismatch",
        policies: &[(
            "p",
            "",
            OLD,
            "hostname: backend.test, subjectAltNames: [{type: URI, uri: \"spiffe://backend.test/i\"}]",
            "ca",
        )],
        expected: Err(503),
    },
    Case {
        name: "one-of-two",
        policies: &[(
            "p",
            "",
            OLD,
            "hostname: sni.test, subjectAltNames: [{type: URI, uri: \"spiffe://nobody\"}, {type: Hostname, hostname: backend.test}]",
            "ca",
        )],
        expected: Ok("sni.test"),
    },
    Case {
        name: "older",
        policies: &[("p", "", NEW, "hostname: nobody.test", "ca"), ("q", "", OLD, "hostname: backend.test", "ca")],
        expected: Ok("backend.test"),
    },
    Case {
        name: "section",
        policies: &[("p", "", OLD, "hostname: nobody.test", "ca"), ("q", "https", NEW, "hostname: other.test", "ca")],
        expected: Ok("other.test"),
    },
    // The section's policy holds even where it cannot be enforced.
    Case {
        name: "section-fails",
        policies: &[("p", "", OLD, "hostname: backend.test", "ca"), ("q", "https", NEW, "hostname: backend.test", "missing")],
        expected: Err(500),
    },
    Case {
        name: "another-section",
        policies: &[("p", "", OLD, "hostname: backend.test", "ca"), ("q", "other", NEW, "hostname: nobody.test", "ca")],
        expected: Ok("backend.test"),
    },
];

fn objects(case: &Case, backend: u16) -> String {
    let name = case.name;
    let mut yaml = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: https, port: 443}}, {{name: other, port: \
         444}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: \
         {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: https, port: {backend}}}]\nendpoints: [{{addresses: \
         [127.0.0.1]}}]\n"
    );
    for (policy, section, created, validation, authority) in case.policies {
        let section = if section.is_empty() { String::new() } else { format!(", sectionName: {section}") };
        write!(
            yaml,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: {name}-{policy}, creationTimestamp: \
             \"{created}\"}}\nspec:\n  targetRefs: [{{group: \"\", kind: Service, name: {name}{section}}}]\n  validation: {{{validation}, \
             caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: {authority}}}]}}\n"
        )
        .unwrap();
    }
    yaml
}

/// A Gateway with both kinds of routes to every case's Service, told apart by path, and the backend behind all of them.
async fn serve() -> Gateway {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = backend(&authority.issue(&["backend.test", "other.test", URI]), &other).await.port();
    let mut yaml = [authority.config_map("ca"), other.config_map("other")].concat();
    let (mut http, mut grpc) = (String::new(), String::new());
    for case in CASES {
        let name = case.name;
        yaml.push_str(&objects(case, backend));
        writeln!(http, "  - {{matches: [{{path: {{value: /{name}}}}}], backendRefs: [{{name: {name}, port: 443}}]}}").unwrap();
        writeln!(grpc, "  - {{matches: [{{method: {{service: grpc.{name}}}}}], backendRefs: [{{name: {name}, port: 443}}]}}")
            .unwrap();
    }
    for (kind, rules) in [("HTTPRoute", http), ("GRPCRoute", grpc)] {
        let head =
            format!("---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {}}}\n", kind.to_lowercase());
        write!(yaml, "{head}spec:\n  parentRefs: [{{name: gw}}]\n  rules:\n{rules}").unwrap();
    }
    Gateway::serve(&yaml)
}

#[tokio::test]
async fn the_backend_is_reached_by_the_policy_that_holds_or_not_at_all() {
    let gateway = serve().await;
    for case in CASES {
        let answer = gateway.ask(&format!("GET /{} HTTP/1.1\r\nhost: a", case.name)).await;
        match case.expected {
            Ok(sni) => {
                assert!(
                    answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("x-sni: {sni}\r\n")),
                    "{}: {answer}",
                    case.name
                );
                assert!(answer.contains("x-alpn: http/1.1\r\n"), "{}: {answer}", case.name);
            }
            Err(status) => {
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && !answer.contains("x-sni"), "{}: {answer}", case.name);
            }
        }
    }
}

#[tokio::test]
async fn under_a_grpc_route_the_backend_is_spoken_to_in_http2() {
    let gateway = serve().await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for case in CASES {
        client = client.ready().await.unwrap();
        let request = Request::post(format!("http://a/grpc.{}/Call", case.name)).header("content-type", "application/grpc");
        let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        let response = response.await.unwrap();
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
        match case.expected {
            Ok(sni) => assert_eq!((header("x-sni"), header("x-alpn")), (Some(sni), Some("h2")), "{}", case.name),
            // UNAVAILABLE.
            Err(_) => assert_eq!((header("x-sni"), header("grpc-status")), (None, Some("14")), "{}", case.name),
        }
    }
}
