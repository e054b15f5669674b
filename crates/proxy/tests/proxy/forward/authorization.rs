//! Rules over addresses, for connections (SecurityPolicy `authorization` with `clientCIDRs` on a TCPRoute).

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend},
};

/// A gateway that hands TCP on to a backend, under these rules.
fn gateway(ear: &Ear, rules: &str) -> Gateway {
    let objects = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: gw}}\nspec:\n  gatewayClassName: pailou\n  listeners: [{{name: \
         tcp, protocol: TCP, port: 8080}}]\n---\napiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute\nmetadata: {{name: tcp}}\nspec:\n  \
         parentRefs: [{{name: gw}}]\n  rules: [{{backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: ear}}]}}]\n---\napiVersion: \
         gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: rules}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: TCPRoute, name: tcp}}]\n  authorization: {{rules: [{rules}]}}\n"
    );
    Gateway::at_own_address(&[objects, backend("ear", ear.address, "")].concat())
}

#[tokio::test]
async fn the_first_rule_with_a_clients_address_decides_and_none_means_no() {
    let allow = "{action: Allow, principal: {clientCIDRs: [127.0.0.0/8]}}";
    for (rules, is_admitted) in [
        (allow.to_owned(), true),
        (format!("{{action: Deny, principal: {{clientCIDRs: [127.0.0.1/32, 10.0.0.0/8]}}}}, {allow}"), false),
        ("{action: Allow, principal: {clientCIDRs: [10.0.0.0/8]}}".to_owned(), false),
    ] {
        let ear = Ear::start().await;
        let gateway = gateway(&ear, &rules);
        if is_admitted {
            // The backend does not end the connection.
            let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
            stream.try_write(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").unwrap();
            assert!(ear.next().await.starts_with("get / "));
        } else {
            assert_eq!(gateway.raw("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await, "");
            let line = gateway.log.line("UAEX").await;
            assert!(line.contains("no rule of the SecurityPolicy admits this address"), "{line}");
            assert!(ear.heads.lock().is_empty());
        }
    }
}
