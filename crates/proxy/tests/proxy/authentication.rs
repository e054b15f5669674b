//! Authentication and authorization of a SecurityPolicy: who passes, the response to whoever does not, and the head that a backend gets.

use base64::{Engine as _, prelude::*};
use ring::hmac;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, model_route, route},
};

const TO_EAR: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";
/// `password`, by SHA-1.
const SHA: &str = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=";

/// A SecurityPolicy on the Gateway.
fn policy(spec: &str) -> String {
    policy_on("Gateway", "gw", spec)
}

fn policy_on(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: on-{name}}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: {kind}, name: {name}}}]\n  {spec}\n"
    )
}

fn secret(name: &str, data: &str) -> String {
    format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{data}}}\n")
}

/// Asks with these header lines more. Gives the status, the response, and the head that the backend got.
async fn ask(gateway: &Gateway, ear: &Ear, request: &str) -> (u16, String, String) {
    let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
    let headers = headers.lines().map(|line| format!("\r\n{}", line.trim())).collect::<String>();
    let answer = gateway.ask(&format!("{line} HTTP/1.1\r\nhost: a.test{headers}")).await;
    let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let head = if status == 200 { ear.next().await } else { String::new() };
    (status, answer, head)
}

async fn serve(objects: &str) -> (Gateway, Ear) {
    let ear = Ear::start().await;
    let gateway = Gateway::serve(&[route(TO_EAR), backend("ear", ear.address, ""), objects.to_owned()].concat());
    (gateway, ear)
}

#[tokio::test]
async fn an_api_key_is_found_in_its_places_named_and_removed() {
    let settings = "apiKeyAuth: {credentialRefs: [{name: red}, {name: blue}], forwardClientIDHeader: x-client, sanitize: true, extractFrom: \
                    [{headers: [authorization, x-api-key]}, {params: [key]}, {cookies: [key]}]}";
    let objects = [secret("red", "alice: one, bob: two"), secret("blue", "carol: three, alice: other"), policy(settings)].concat();
    let (gateway, ear) = serve(&objects).await;
    for (request, client) in [
        ("GET /\nAuthorization: Bearer one", "alice"),
        ("GET /\nX-Api-Key: two\nX-Client: root", "bob"),
        ("GET /?key=three&a=b", "carol"),
        ("GET /\nCookie: key=three; a=b", "carol"),
    ] {
        let (status, answer, head) = ask(&gateway, &ear, request).await;
        assert_eq!(status, 200, "{answer}");
        assert!(head.contains(&format!("\r\nx-client: {client}\r\n")), "{head}");
        for secret in ["one", "two", "three", "root"] {
            assert!(!head.contains(secret), "{request}: {head}");
        }
    }
    for request in
        ["GET /", "GET /\nAuthorization: Bearer four", "GET /\nX-Api-Key: other", "GET /\nAuthorization: one\nX-Api-Key: two"]
    {
        let (status, answer, _) = ask(&gateway, &ear, request).await;
        let expected = if request.ends_with("two") { 200 } else { 401 };
        assert_eq!(status, expected, "{request}: {answer}");
        assert!(!answer.contains("www-authenticate"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_of_a_model_api_is_refused_in_its_dialect_and_a_browsers_preflight_is_not() {
    let settings = "cors: {allowOrigins: [\"https://app.test\"], allowMethods: [POST]}\n  apiKeyAuth: {credentialRefs: [{name: red}], \
                    extractFrom: [{headers: [x-api-key]}]}";
    let (gateway, ear) = serve(&[secret("red", "alice: one"), policy(settings)].concat()).await;
    let (status, answer, _) =
        ask(&gateway, &ear, "POST /v1/chat/completions\ncontent-type: application/json\ncontent-length: 0").await;
    assert_eq!(status, 401);
    assert!(answer.contains("{\"error\":{") && answer.contains("Client authentication failed."), "{answer}");
    let preflight = "OPTIONS /v1/chat/completions\norigin: https://app.test\naccess-control-request-method: POST";
    let (status, answer, _) = ask(&gateway, &ear, preflight).await;
    assert_eq!(status, 204, "{answer}");
}

#[tokio::test]
async fn a_password_is_asked_for_and_the_name_forwarded() {
    let hash = "$2b$04$abcdefghijklmnopqrstuuK9Gm8gVhGk0ZLl3Hg5mCwNYkSJPJv2e";
    let users = secret("users", &format!(".htpasswd: \"red:{SHA}\\r\\nblue:{hash}\\r\\n\""));
    let settings = "basicAuth: {users: {name: users}, forwardUsernameHeader: x-user}";
    let (gateway, ear) = serve(&[users, policy(settings)].concat()).await;
    let basic = |user: &str| format!("GET /a\nAuthorization: Basic {}\nX-User: root", BASE64_STANDARD.encode(user));
    let (status, answer, head) = ask(&gateway, &ear, &basic("red:password")).await;
    assert_eq!(status, 200, "{answer}");
    assert!(head.contains("\r\nx-user: red\r\n") && !head.contains("root"), "{head}");
    for request in [basic("red:wrong"), basic("blue:wrong"), "GET /a".to_owned()] {
        let (status, answer, _) = ask(&gateway, &ear, &request).await;
        assert_eq!(status, 401, "{request}");
        assert!(answer.contains("www-authenticate: Basic realm=\"http://a.test/a\""), "{answer}");
    }
}

/// A key set with one symmetric key, and a token that the key signed.
pub(crate) fn token(claims: &Value) -> (String, String) {
    let secret = [5; 32];
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
    let set = json!({"keys": [{"kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(secret)}]});
    (set.to_string(), format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag)))
}

fn jwt(keys: &str, more: &str) -> String {
    format!(
        "jwt: {{{more}providers: [{{name: idp, issuer: me, audiences: [pailou], localJWKS: {{inline: '{keys}'}}, claimToHeaders: [{{header: \
         x-sub, claim: sub}}, {{header: x-team, claim: org.team}}]}}]}}"
    )
}

#[tokio::test]
async fn a_token_is_verified_and_its_claims_replace_the_clients_headers() {
    let (keys, good) = token(&json!({"iss": "me", "aud": ["x", "pailou"], "sub": "alice", "org": {"team": "red"}}));
    let (_, other) = token(&json!({"iss": "me", "aud": "x", "sub": "alice"}));
    let (gateway, ear) = serve(&policy(&jwt(&keys, ""))).await;
    for request in [format!("GET /\nAuthorization: Bearer {good}\nx-sub: root"), format!("GET /?access_token={good}\nx-sub: root")]
    {
        let (status, answer, head) = ask(&gateway, &ear, &request).await;
        assert_eq!(status, 200, "{answer}");
        assert!(head.contains("\r\nx-sub: alice\r\n") && head.contains("\r\nx-team: red\r\n") && !head.contains("root"), "{head}");
    }
    let (status, answer, _) = ask(&gateway, &ear, &format!("GET /\nAuthorization: Bearer {other}")).await;
    assert!(status == 403 && answer.contains("Audiences in Jwt are not allowed"), "{answer}");
    let (status, answer, _) = ask(&gateway, &ear, "GET /x?y").await;
    assert!(status == 401 && answer.contains("www-authenticate: Bearer realm=\"http://a.test/x?y\"\r\n"), "{answer}");
    let (status, answer, _) = ask(&gateway, &ear, &format!("GET /\nAuthorization: Bearer {good}x")).await;
    assert!(status == 401 && answer.contains("realm=\"http://a.test/\", error=\"invalid_token\""), "{answer}");
}

#[tokio::test]
async fn an_optional_token_leaves_no_header_of_the_clients_own() {
    let (keys, good) = token(&json!({"iss": "me", "aud": "pailou", "sub": "alice"}));
    let (gateway, ear) = serve(&policy(&jwt(&keys, "optional: true, "))).await;
    let (status, _, head) = ask(&gateway, &ear, "GET /\nx-sub: root\nx-team: root").await;
    assert!(status == 200 && !head.contains("root"), "{head}");
    let (status, ..) = ask(&gateway, &ear, &format!("GET /\nAuthorization: Bearer {good}x")).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_header_that_one_route_has_identities_in_is_removed_on_its_whole_listener() {
    let open = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: open}\nspec:\n  parentRefs: [{name: gw}]\n  \
                rules: [{matches: [{path: {value: /open}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}]\n";
    let settings =
        "apiKeyAuth: {credentialRefs: [{name: red}], forwardClientIDHeader: x-client, extractFrom: [{headers: [x-api-key]}]}";
    let objects = [open.to_owned(), secret("red", "alice: one"), policy_on("HTTPRoute", "route", settings)].concat();
    let (gateway, ear) = serve(&objects).await;
    let (status, _, head) = ask(&gateway, &ear, "GET /open\nx-client: root").await;
    assert!(status == 200 && !head.contains("root"), "{head}");
    let (status, ..) = ask(&gateway, &ear, "GET /other\nx-client: root").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn rules_look_at_claims_headers_addresses_and_the_model() {
    let (keys, red) = token(&json!({"iss": "me", "aud": "pailou", "org": {"team": "red"}, "scope": "use"}));
    let (_, blue) = token(&json!({"iss": "me", "aud": "pailou", "org": {"team": "blue"}}));
    let rules = "authorization: {rules: [
        {action: Deny, principal: {clientCIDRs: [10.0.0.0/8]}},
        {action: Allow, principal: {jwt: {provider: idp, claims: [{name: org.team, values: [red]}], scopes: [use]}, headers: [{name: \
                 X-Gateway-Model-Name, values: [qwen, llama]}]}, operation: {methods: [POST], path: {value: /v1}}}]}";
    let (gateway, ear) = serve(&policy(&format!("{}\n  {rules}", jwt(&keys, "")))).await;
    let call = |token: &str, model: &str| {
        let body = json!({"model": model, "messages": []}).to_string();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             x-gateway-model-name: qwen\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (token, model, expected) in [(&red, "qwen", "200"), (&red, "llama", "200"), (&red, "gpt", "403"), (&blue, "qwen", "403")] {
        let answer = gateway.raw(&call(token, model)).await;
        assert_eq!(answer.split(' ').nth(1).unwrap(), expected, "{model}: {answer}");
        if expected == "200" {
            ear.next().await;
        } else {
            assert!(answer.contains("RBAC: access denied") && !answer.contains(model), "{answer}");
        }
    }
}

#[tokio::test]
async fn conditions_look_at_claims_headers_addresses_and_the_model() {
    let (keys, red) = token(&json!({"iss": "me", "aud": "pailou", "org": {"team": "red"}}));
    let (_, blue) = token(&json!({"iss": "me", "aud": "pailou", "org": {"team": "blue"}}));
    let claims = "metadata.filter_metadata[\"envoy.filters.http.jwt_authn\"].idp";
    let rules = format!(
        "authorization: {{rules: [
        {{action: Deny, cel: '\"x-debug\" in request.headers || request.url_path.startsWith(\"/admin\")'}},
        {{action: Allow, cel: '{claims}.org.team == \"red\" && request.headers[\"x-gateway-model-name\"] in [\"qwen\", \"llama\"] && \
                 source.address.startsWith(\"127.0.0.1:\") && request.size > 10 && !connection.mtls'}}]}}"
    );
    let (gateway, ear) = serve(&policy(&format!("{}\n  {rules}", jwt(&keys, "")))).await;
    for (token, path, model, more, expected) in [
        (&red, "/v1/chat/completions", "qwen", "", "200"),
        (&red, "/v1/chat/completions", "gpt", "", "403"),
        (&blue, "/v1/chat/completions", "qwen", "", "403"),
        (&red, "/v1/chat/completions", "qwen", "x-debug: 1\r\n", "403"),
        (&red, "/admin/chat/completions", "qwen", "", "403"),
    ] {
        let body = json!({"model": model, "messages": []}).to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nauthorization: Bearer {token}\r\nx-gateway-model-name: \
             qwen\r\n{more}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = gateway.raw(&request).await;
        assert_eq!(answer.split(' ').nth(1).unwrap(), expected, "{path}, {model}, {more}: {answer}");
        if expected == "200" {
            ear.next().await;
        }
    }
}

#[tokio::test]
async fn a_request_from_another_site_is_refused() {
    let (gateway, ear) = serve(&policy("csrf: {additionalOrigins: [\"https://*.corp.test\"]}")).await;
    for (origin, expected) in [("http://a.test", 200), ("https://x.corp.test", 200), ("https://evil.test", 403)] {
        let (status, answer, _) = ask(&gateway, &ear, &format!("POST /\norigin: {origin}\ncontent-length: 0")).await;
        assert_eq!(status, expected, "{answer}");
    }
    let (status, ..) = ask(&gateway, &ear, "POST /\ncontent-length: 0").await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn a_policy_that_cannot_be_enforced_closes_its_route_alone() {
    let open = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: open}\nspec:\n  parentRefs: [{name: gw}]\n  \
                rules: [{matches: [{path: {value: /open}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}]\n";
    for settings in [
        "apiKeyAuth: {credentialRefs: [{name: nowhere}], extractFrom: [{headers: [x-api-key]}]}",
        "apiKeyAuth: {credentialRefs: [{name: twice}], extractFrom: [{headers: [x-api-key]}]}",
        "apiKeyAuth: {credentialRefs: [{name: twice, namespace: other}], extractFrom: [{headers: [x-api-key]}]}",
        "basicAuth: {users: {name: twice}}",
        "jwt: {providers: [{name: a, localJWKS: {inline: '{}'}}]}",
        "jwt: {optional: true, failOpen: true, providers: [{name: a, localJWKS: {inline: '{}'}}]}",
        "authorization: {rules: [{action: Allow, principal: {clientCIDRs: [10.0.0.0]}}]}",
        "authorization: {rules: [{action: Allow, principal: {jwt: {provider: a, scopes: [b]}}}]}",
        "authorization: {rules: [{action: Allow, cel: 'request.method =='}]}",
        "authorization: {rules: [{action: Allow, cel: 'reqest.method == \"GET\"'}]}",
        "oidc: {provider: {issuer: 'https://id.test'}, clientID: web, clientSecret: {name: nowhere}}",
    ] {
        let objects = [open.to_owned(), secret("twice", "a: same, b: same"), policy_on("HTTPRoute", "route", settings)].concat();
        let (gateway, ear) = serve(&objects).await;
        let (status, answer, _) = ask(&gateway, &ear, "GET /closed\nx-api-key: same").await;
        assert_eq!(status, 500, "{settings}: {answer}");
        assert_eq!(ask(&gateway, &ear, "GET /open").await.0, 200, "{settings}");
    }
}

#[tokio::test]
async fn keys_change_without_a_pause() {
    let settings = "apiKeyAuth: {credentialRefs: [{name: red}], extractFrom: [{headers: [x-api-key]}]}";
    let ear = Ear::start().await;
    let listens = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  listeners: \
                   [{name: http, protocol: HTTP, port: 8080}]\n";
    let objects = |key: &str| {
        let keys = secret("red", &format!("alice: {key}"));
        [listens, &route(TO_EAR), &backend("ear", ear.address, ""), &keys, &policy(settings)].concat()
    };
    let gateway = Gateway::at_own_address(&objects("one"));
    assert_eq!(ask(&gateway, &ear, "GET /\nx-api-key: one").await.0, 200);
    gateway.update(&objects("two"));
    assert_eq!(ask(&gateway, &ear, "GET /\nx-api-key: one").await.0, 401);
    assert_eq!(ask(&gateway, &ear, "GET /\nx-api-key: two").await.0, 200);
}

#[tokio::test]
async fn a_client_learns_of_the_models_that_it_may_call_and_of_no_others() {
    let route = model_route("ear", ["qwen", "llama"]);
    let settings = "apiKeyAuth: {credentialRefs: [{name: red}], forwardClientIDHeader: x-client, extractFrom: [{headers: [x-api-key]}]}\n  \
                    authorization: {rules: [{action: Allow, principal: {headers: [{name: x-client, values: [alice]}, {name: \
                    X-Gateway-Model-Name, values: [qwen]}]}, operation: {methods: [POST], path: {value: /v1/chat}}}, {action: Allow, \
                    principal: {headers: [{name: x-client, values: [bob]}]}}]}";
    let ear = Ear::start().await;
    let objects =
        [route, backend("ear", ear.address, ""), secret("red", "alice: one, bob: two, carol: three"), policy(settings)].concat();
    let gateway = Gateway::serve(&objects);
    let list = async |key: &str| {
        gateway.ask(&format!("GET /v1/models HTTP/1.1\r\nhost: a.test\r\nx-api-key: {key}\r\nx-client: bob")).await
    };
    let (alice, bob) = (list("one").await, list("two").await);
    assert!(alice.contains("\"qwen\"") && !alice.contains("llama"), "{alice}");
    assert!(bob.contains("\"qwen\"") && bob.contains("\"llama\""), "{bob}");
    let carol = list("three").await;
    assert!(carol.starts_with("HTTP/1.1 403") && !carol.contains("qwen"), "{carol}");
    assert!(list("four").await.starts_with("HTTP/1.1 401"));
    let one = gateway.ask("GET /v1/models/llama HTTP/1.1\r\nhost: a.test\r\nx-api-key: one").await;
    assert!(one.starts_with("HTTP/1.1 404"), "{one}");
}

#[tokio::test]
async fn no_trailer_names_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings =
        "apiKeyAuth: {credentialRefs: [{name: red}], extractFrom: [{headers: [x-api-key]}], forwardClientIDHeader: x-client}";
    let objects =
        [route(TO_EAR), backend("ear", listener.local_addr().unwrap(), ""), secret("red", "alice: one"), policy(settings)];
    let gateway = Gateway::serve(&objects.concat());
    let request = "POST / HTTP/1.1\r\nhost: a.test\r\nx-api-key: one\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-client, \
                   x_client, x-forwarded-for, x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-client: root\r\nx_client: root\r\nx-forwarded-for: root\r\nx-sum: \
                   1\r\n\r\n";
    let received = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains("x-sum: 1\r\n\r\n") {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&read).to_lowercase()
    };
    let (_, received) = tokio::join!(gateway.raw(request), received);
    assert!(received.contains("x-client: alice\r\n") && !received.contains("root"), "{received}");
}
