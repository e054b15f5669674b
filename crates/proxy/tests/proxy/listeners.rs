//! The listener that answers: by host name alone in clear text, by server name and host name within TLS.

use std::fmt::Write as _;

use crate::support::{
    objects::Gateway,
    pki::Authority,
    secured::{ask, connect, statuses_in_http2},
};

/// Address of all of them.
const PORT: u16 = 8080;

/// Listeners of a Gateway: name, host name.
type Listeners<'a> = &'a [(&'a str, Option<&'a str>)];

fn gateway(listeners: Listeners<'_>, more: &str) -> String {
    let mut yaml =
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  \
                    listeners:\n"
            .to_owned();
    for (name, hostname) in listeners {
        let hostname = hostname.map(|hostname| format!(", hostname: \"{hostname}\"")).unwrap_or_default();
        writeln!(yaml, "  - {{name: {name}, port: {PORT}{hostname}, {more}}}").unwrap();
    }
    yaml
}

/// A route on one listener that redirects what lies below a path, for which no backend is needed.
fn route(listener: &str, hostnames: &str, path: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {listener}}}\nspec:\n  parentRefs: [{{name: gw, \
         sectionName: {listener}}}]\n  hostnames: [{hostnames}]\n  rules: [{{matches: [{{path: {{value: {path}}}}}], filters: [{{type: \
         RequestRedirect, requestRedirect: {{hostname: {listener}.there.test}}}}]}}]\n"
    )
}

#[tokio::test]
async fn a_request_is_answered_by_the_most_specific_listener_alone() {
    let listeners: Listeners<'_> = &[
        ("any", None),
        ("wildcard", Some("*.example.com")),
        ("foo", Some("*.foo.example.com")),
        ("exact", Some("abc.foo.example.com")),
    ];
    for hostnames in ["", "bar.com, \"*.example.com\", \"*.foo.example.com\", abc.foo.example.com"] {
        let mut objects = gateway(listeners, "protocol: HTTP");
        objects.extend(listeners.iter().map(|(name, _)| route(name, hostnames, &format!("/{name}"))));
        let gateway = Gateway::at_own_address(&objects);
        let hosts = ["bar.com", "bar.example.com", "bar.foo.example.com", "abc.foo.example.com"];
        for (host, (answering, _)) in hosts.iter().zip(listeners) {
            for (path, _) in listeners {
                let answer = gateway.ask(&format!("GET /{path} HTTP/1.1\r\nhost: {host}:{PORT}")).await;
                let status = if path == answering { "302" } else { "404" };
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}/{path}: {answer}");
            }
        }
    }
}

/// Server name, host, status (302 for what is served), listener.
const MISDIRECTED: &[(&str, &str, u16, &str)] = &[
    ("example.org", "example.org", 302, "any"),
    ("example.org", "second-example.org", 421, ""),
    ("example.org", "unknown-example.org", 404, ""),
    ("second-example.org", "second-example.org", 302, "second"),
    ("second-example.org", "SECOND-EXAMPLE.ORG", 302, "second"),
    ("second-example.org", "example.org", 421, ""),
    ("second-example.org", "unknown-example.org", 421, ""),
    ("third-example.wildcard.org", "third-example.wildcard.org", 302, "wildcard"),
    ("third-example.wildcard.org", "fith-example.wildcard.org", 302, "wildcard"),
    ("third-example.wildcard.org", "fourth-example.wildcard.org", 421, ""),
    ("third-example.wildcard.org", "second-example.org", 421, ""),
    ("third-example.wildcard.org", "unknown-example.org", 421, ""),
    ("fourth-example.wildcard.org", "fourth-example.wildcard.org", 302, "fourth"),
    ("fourth-example.wildcard.org", "fith-example.wildcard.org", 421, ""),
    ("unknown-example.org", "example.org", 302, "any"),
    ("unknown-example.org", "unknown-example.org", 404, ""),
];

#[tokio::test]
async fn a_connection_serves_no_host_of_another_listener_than_its_server_names() {
    let authority = Authority::new();
    let names: std::collections::BTreeSet<_> = MISDIRECTED.iter().map(|(sni, ..)| *sni).collect();
    let server = authority.issue(&names.iter().copied().collect::<Vec<_>>());
    let listeners: Listeners<'_> = &[
        ("any", None),
        ("second", Some("second-example.org")),
        ("wildcard", Some("*.wildcard.org")),
        ("fourth", Some("fourth-example.wildcard.org")),
    ];
    let objects = [
        gateway(listeners, "protocol: HTTPS, tls: {certificateRefs: [{name: server}]}"),
        server.secret("server"),
        route("any", "example.org", "/"),
        route("second", "", "/"),
        route("wildcard", "", "/"),
        route("fourth", "", "/"),
    ];
    let gateway = Gateway::at_own_address(&objects.concat());
    for sni in names {
        // All requests of a server name go over one connection: a 421 must leave it of use for the others.
        let cases: Vec<_> = MISDIRECTED.iter().filter(|(own, ..)| *own == sni).collect();
        let mut stream = connect(gateway.address, sni, &authority.client(None, "http/1.1")).await.unwrap();
        for (_, host, status, listener) in &cases {
            let head = ask(&mut stream, &format!("{host}:{PORT}"), "/").await.unwrap();
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{sni}, {host}: {head}");
            assert_eq!(head.contains(&format!("{listener}.there.test")), *status == 302, "{sni}, {host}: {head}");
        }
        let stream = connect(gateway.address, sni, &authority.client(None, "h2")).await.unwrap();
        let hosts: Vec<_> = cases.iter().map(|(_, host, ..)| *host).collect();
        let expected: Vec<_> = cases.iter().map(|(_, _, status, _)| *status).collect();
        assert_eq!(statuses_in_http2(stream, &hosts).await, expected, "{sni}: {hosts:?}");
    }
}

#[tokio::test]
async fn where_no_listener_has_the_host_there_is_nothing_to_direct_to() {
    let authority = Authority::new();
    let server = authority.issue(&["a.test"]);
    let listeners: Listeners<'_> = &[("a", Some("a.test")), ("b", Some("b.test"))];
    let objects = [
        gateway(listeners, "protocol: HTTPS, tls: {certificateRefs: [{name: server}]}"),
        server.secret("server"),
        route("a", "", "/"),
        route("b", "", "/"),
    ];
    let gateway = Gateway::at_own_address(&objects.concat());
    let stream = connect(gateway.address, "a.test", &authority.client(None, "h2")).await.unwrap();
    assert_eq!(statuses_in_http2(stream, &["a.test", "c.test", "b.test", "a.test"]).await, [302, 404, 421, 302]);
    let silent = connect(gateway.address, "c.test", &authority.client(None, "h2")).await.unwrap_err();
    assert_eq!(silent.kind(), std::io::ErrorKind::UnexpectedEof, "{silent}");
}
