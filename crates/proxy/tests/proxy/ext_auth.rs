//! Authorization servers of a SecurityPolicy: what they get, and what becomes of requests when they answer, refuse, or do not.

use std::{net::SocketAddr, sync::Arc};

use pailou_envoy_proto::structs::Kind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use crate::{
    authorization::{decided, server},
    support::{
        ear::Ear,
        objects::{Gateway, backend, nowhere, route},
    },
};

const TO_EAR: &str = "{name: main, backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";
const TO_AUTH: &str = "backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: auth}]";

/// A SecurityPolicy on the route.
fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: policy}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n  {spec}\n"
    )
}

/// A server of HTTP that answers every request by a script, and passes on what it was sent.
pub(crate) async fn http_server(
    script: impl Fn(&str) -> String + Send + Sync + 'static,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (tell, script) = (tell.clone(), Arc::clone(&script));
            tokio::spawn(async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                    let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                    if body.len() < length.unwrap_or(0) {
                        continue;
                    }
                    let _ = stream.write_all(script(&text).as_bytes()).await;
                    let _ = tell.send(text.clone());
                    read.clear();
                }
            });
        }
    });
    (address, told)
}

/// A gateway whose one rule asks a server by this policy, and the rule's backend.
async fn gateway(auth: SocketAddr, spec: &str) -> (Gateway, Ear) {
    let ear = Ear::start().await;
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: auth}}\nspec: {{ports: [{{port: 9000}}]}}\n---\napiVersion: \
         discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: auth-1, labels: {{kubernetes.io/service-name: auth}}}}\naddressType: \
         IPv4\nports: [{{port: {}}}]\nendpoints: [{{addresses: [{}]}}]\n",
        auth.port(),
        auth.ip()
    );
    let objects = [&route(TO_EAR), &backend("ear", ear.address, ""), &backend("auth", auth, ""), &service, &policy(spec)];
    let gateway = Gateway::serve(&objects.map(|it| it.as_str()).concat());
    (gateway, ear)
}

const CONSENT: &str = "HTTP/1.1 200 OK\r\nx-user: ann\r\nx-other: 1\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_server_of_http_gets_what_the_policy_names_and_sets_what_it_names() {
    let (auth, mut told) = http_server(|_| CONSENT.to_owned()).await;
    let spec = format!(
        "extAuth: {{http: {{{TO_AUTH}, path: /check/, headersToBackend: [X-User, X-Team]}}, headersToExtAuth: [X-Seen], bodyToExtAuth: \
         {{maxRequestBytes: 5}}}}"
    );
    let (gateway, ear) = gateway(auth, &spec).await;
    let request = |body: &str| {
        let length = body.len();
        format!(
            "POST /v1/x?q=1 HTTP/1.1\r\nhost: own.test\r\nauthorization: bearer t\r\nx-seen: 1\r\nx-hidden: 2\r\nx-user: root\r\nx-team: \
             root\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let answer = gateway.raw(&request("hello")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let asked = told.recv().await.unwrap();
    assert!(asked.starts_with("post /check/v1/x?q=1 http/1.1\r\n") && asked.ends_with("\r\n\r\nhello"), "{asked}");
    for line in ["host: own.test", "authorization: bearer t", "x-seen: 1", "content-length: 5"] {
        assert!(asked.contains(&format!("\r\n{line}\r\n")), "{line}: {asked}");
    }
    assert!(!asked.contains("x-hidden") && !asked.contains("x-user"), "{asked}");
    let head = ear.next().await;
    assert!(head.contains("\r\nx-user: ann\r\n") && !head.contains("root") && !head.contains("x-other"), "{head}");

    // Longer than the server may get: refused before it is asked.
    let answer = gateway.raw(&request("hello!")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_path_of_the_policys_own_takes_the_place_of_the_clients() {
    let (auth, mut told) = http_server(|_| CONSENT.to_owned()).await;
    let (gateway, _ear) = gateway(auth, &format!("extAuth: {{http: {{{TO_AUTH}, pathOverride: \"/fixed?a=b\"}}}}")).await;
    let answer = gateway.ask("GET /v1/x?q=1 HTTP/1.1\r\nhost: own.test").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let asked = told.recv().await.unwrap();
    assert!(asked.starts_with("get /fixed?a=b http/1.1\r\n"), "{asked}");
}

#[tokio::test]
async fn a_client_gets_the_servers_refusal_and_the_built_in_authenticators_come_after() {
    let refusal = "HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 2\r\n\r\ngo";
    let (auth, _told) = http_server(|_| refusal.to_owned()).await;
    let more = "\n  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-api-key]}]}\n---\napiVersion: v1\nkind: \
                Secret\nmetadata: {name: keys}\nstringData: {alice: one}\n";
    let (refusing, ear) = gateway(auth, &format!("extAuth: {{http: {{{TO_AUTH}}}}}{more}")).await;
    let answer = refusing.ask("GET / HTTP/1.1\r\nhost: own.test").await;
    assert!(answer.starts_with("HTTP/1.1 302") && answer.contains("location: /login") && answer.ends_with("go"), "{answer}");
    assert!(ear.heads.lock().is_empty());
    let (auth, _told) = http_server(|_| CONSENT.to_owned()).await;
    let (consenting, _ear) = gateway(auth, &format!("extAuth: {{http: {{{TO_AUTH}}}}}{more}")).await;
    assert!(consenting.ask("GET / HTTP/1.1\r\nhost: own.test").await.starts_with("HTTP/1.1 401"));
    assert!(consenting.ask("GET / HTTP/1.1\r\nhost: own.test\r\nx-api-key: one").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn without_a_decision_the_policy_says_what_becomes_of_a_request() {
    let failing = http_server(|_| "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned()).await.0;
    let (silent, _connections) = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), listener)
    };
    for address in [failing, silent, nowhere()] {
        for (settings, status) in [
            ("", "403"),
            ("statusOnError: 502, ", "502"),
            ("failOpen: true, ", "200"),
            ("failOpen: true, statusOnError: 502, ", "200"),
        ] {
            let spec = format!("extAuth: {{{settings}timeout: 100ms, http: {{{TO_AUTH}, headersToBackend: [x-user]}}}}");
            let (gateway, ear) = gateway(address, &spec).await;
            let answer = gateway.ask("GET / HTTP/1.1\r\nhost: own.test\r\nx-user: root").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{address} {settings}: {answer}");
            if status == "200" {
                assert!(!ear.next().await.contains("root"));
            }
        }
    }
    // A body that is too long is refused even so.
    let spec = format!("extAuth: {{failOpen: true, bodyToExtAuth: {{maxRequestBytes: 1}}, http: {{{TO_AUTH}}}}}");
    let (gateway, _ear) = gateway(nowhere(), &spec).await;
    let answer = gateway.raw("POST / HTTP/1.1\r\nhost: own.test\r\nconnection: close\r\ncontent-length: 2\r\n\r\nxx").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_server_of_grpc_gets_texts_of_the_configuration_and_the_route() {
    let (told, mut asked) = mpsc::unbounded_channel();
    let auth = server(move |attributes| {
        told.send(attributes).unwrap();
        decided(0, None)
    })
    .await;
    let spec = "extAuth: {grpc: {backendRefs: [{name: auth, port: 9000}]}, includeRouteMetadata: true, contextExtensions: [{name: tier, \
                value: gold}, {name: token, type: ValueRef, valueRef: {group: '', kind: Secret, name: texts, key: token}}]}\n---\n\
                apiVersion: v1\nkind: Secret\nmetadata: {name: texts}\nstringData: {token: hush}\n";
    let (gateway, _ear) = gateway(auth, spec).await;
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: own.test\r\nx-a: 1").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let attributes = asked.recv().await.unwrap();
    assert_eq!((&*attributes.context_extensions["tier"], &*attributes.context_extensions["token"]), ("gold", "hush"));
    let http = attributes.request.unwrap().http.unwrap();
    assert_eq!(http.headers["x-a"], "1");
    let metadata = &attributes.route_metadata_context.unwrap().filter_metadata["envoy-gateway"].fields["resources"];
    let Some(Kind::ListValue(resources)) = &metadata.kind else { panic!("{metadata:?}") };
    let Some(Kind::StructValue(resource)) = &resources.values[0].kind else { panic!("{resources:?}") };
    let field = |name: &str| resource.fields[name].kind.clone();
    let text = |text: &str| Some(Kind::StringValue(text.to_owned()));
    assert_eq!(["kind", "namespace", "name", "sectionName"].map(field), ["HTTPRoute", "default", "route", "main"].map(text));
}

#[tokio::test]
async fn a_server_that_cannot_be_had_closes_the_route_unless_it_may_fail_open() {
    for (settings, status) in [("", "500"), ("failOpen: true, ", "200")] {
        let spec = format!("extAuth: {{{settings}http: {{backendRefs: [{{name: missing, port: 80}}]}}}}");
        let (gateway, _ear) = gateway(nowhere(), &spec).await;
        let answer = gateway.ask("GET / HTTP/1.1\r\nhost: own.test").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{settings}: {answer}");
    }
}
