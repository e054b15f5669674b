//! Login at a provider of OpenID Connect: SecurityPolicy `oidc`.

use base64::{Engine as _, prelude::*};
use serde_json::{Value, json};

use crate::support::{
    ear::Ear,
    login::{objects, serve},
    objects::{Gateway, nowhere},
    provider::{Browser, Provider, State},
};

#[tokio::test]
async fn a_client_logs_in_and_its_tokens_reach_the_backend_and_its_cookies_do_not() {
    let more = ", forwardAccessToken: true, forwardIDToken: {header: x-id-token}, scopes: [profile]}";
    let (gateway, ear, provider) = serve(more).await;
    let mut browser = Browser::default();
    browser.cookies.insert("theme".to_owned(), "dark".to_owned());
    let back = browser.log_in(&gateway, &provider, "/cart?item=1").await;
    assert_eq!((back.status, &*back.location), (302, "http://a.test/cart?item=1"), "{}", back.text);
    assert!(back.text.contains("\r\ncache-control: no-store\r\n"), "{}", back.text);
    let seen = browser.get(&gateway, "/cart?item=1", "x-id-token: forged\r\nauthorization: Bearer forged").await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    let head = ear.next().await;
    assert!(head.contains("\r\nauthorization: bearer access-2\r\n") && head.contains("\r\nx-id-token: eyj"), "{head}");
    assert!(head.contains("\r\ncookie: theme=dark\r\n") && !head.contains("forged"), "{head}");
    for name in ["AccessToken-", "IdToken-", "RefreshToken-", "OauthHMAC-", "OauthExpires-"] {
        assert!(browser.cookies.keys().any(|cookie| cookie.starts_with(name)), "{name}");
        assert!(!head.contains(&name.to_ascii_lowercase()), "{head}");
    }
    assert!(browser.cookies.values().all(|value| !value.contains("access-2")));
    // Neither the log nor what the client sees has a secret of it.
    gateway.log.line("\"status\":200").await;
    let log = gateway.log.text();
    for secret in ["hush", "access-2", "refresh-2", "code/1"] {
        assert!(!log.contains(secret) && !seen.text.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn three_tabs_log_in_and_a_state_counts_once() {
    let (gateway, _ear, provider) = serve("}").await;
    let mut browser = Browser::default();
    let mut callbacks = Vec::new();
    for path in ["/1", "/2", "/3"] {
        let seen = browser.get(&gateway, path, "").await;
        callbacks.push((path, provider.confirm(&seen.location)));
    }
    for (path, callback) in &callbacks {
        let seen = browser.get(&gateway, callback, "").await;
        assert_eq!((seen.status, seen.location), (302, format!("http://a.test{path}")), "{}", seen.text);
    }
    // Those that come later have a session already.
    assert_eq!(provider.count("/token"), 1);
    for (_, callback) in &callbacks {
        let again = browser.get(&gateway, callback, "").await;
        assert_eq!(again.status, 401, "{}", again.text);
        assert!(again.text.contains("OAuth flow failed."), "{}", again.text);
        let elsewhere = Browser::default().get(&gateway, callback, "").await;
        assert_eq!(elsewhere.status, 401);
    }
}

#[tokio::test]
async fn a_hundred_abandoned_logins_leave_room_for_one_more() {
    let (gateway, _ear, provider) = serve("}").await;
    let mut browser = Browser::default();
    for _ in 0..100 {
        assert_eq!(browser.get(&gateway, "/", "").await.status, 302);
    }
    assert!(browser.cookies.len() <= 8, "{}", browser.cookies.len());
    assert_eq!(browser.log_in(&gateway, &provider, "/").await.location, "http://a.test/");
}

#[tokio::test]
async fn a_session_survives_another_process_with_the_same_key_and_no_alteration() {
    let (gateway, ear, provider) = serve("}").await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, &provider, "/").await;
    let other = Gateway::serve(&objects(&ear, &provider.issuer(), "}"));
    assert_eq!(browser.clone().get(&other, "/", "").await.status, 200);
    for name in browser.cookies.keys().filter(|name| !name.starts_with("RefreshToken")) {
        let mut altered = browser.clone();
        let value = altered.cookies.get_mut(name).unwrap();
        let first = if value.starts_with('A') { "B" } else { "A" };
        value.replace_range(..1, first);
        altered.cookies.retain(|name, _| !name.starts_with("RefreshToken"));
        assert_eq!(altered.get(&gateway, "/", "").await.status, 302, "{name}");
    }
    let other_key = objects(&ear, &provider.issuer(), "}").replace("0123456789abcdef0123", "other-key-9abcdef0123");
    let other_key = Gateway::serve(&other_key);
    assert_eq!(browser.clone().get(&other_key, "/", "").await.status, 302);
}

type Fault = Box<dyn FnOnce(&mut State)>;

/// A login at a provider with this fault.
async fn with_fault(fault: impl FnOnce(&mut State)) -> (u16, String) {
    let (gateway, _ear, provider) = serve("}").await;
    fault(&mut provider.state.lock());
    let mut browser = Browser::default();
    let back = browser.log_in(&gateway, &provider, "/").await;
    assert_eq!(browser.get(&gateway, "/", "").await.status, 302);
    (back.status, back.text)
}

/// Modules of the OpenID conformance suite's plan for basic clients: their conditions are the names here.
#[tokio::test]
async fn an_id_token_that_is_not_right_logs_nobody_in() {
    let claim = |name: &'static str, value: Value| move |state: &mut State| drop(state.claims.insert(name.to_owned(), value));
    let none = json!({"alg": "none"});
    let faults: Vec<(&str, Fault)> = vec![
        ("invalid-iss", Box::new(claim("iss", json!("http://evil.test")))),
        ("invalid-aud", Box::new(claim("aud", json!("other")))),
        ("missing-sub", Box::new(claim("sub", Value::Null))),
        ("missing-iat", Box::new(claim("iat", Value::Null))),
        ("missing-exp", Box::new(claim("exp", Value::Null))),
        ("expired", Box::new(claim("exp", json!(1_000_000_000)))),
        ("nonce-invalid", Box::new(claim("nonce", json!("other")))),
        ("nonce-missing", Box::new(claim("nonce", Value::Null))),
        ("invalid-sig", Box::new(|state: &mut State| state.wrong_key = true)),
        ("idtoken-sig-none", Box::new(move |state: &mut State| state.header = Some(none))),
        ("kid-unknown", Box::new(|state: &mut State| state.header = Some(json!({"alg": "EdDSA", "kid": "x"})))),
    ];
    for (name, fault) in faults {
        let (status, text) = with_fault(fault).await;
        assert_eq!(status, 401, "{name}: {text}");
        assert!(text.contains("OAuth flow failed."), "{name}: {text}");
    }
    let (status, text) = with_fault_of_kid().await;
    assert_eq!(status, 302, "kid-absent-single-jwks: {text}");
}

async fn with_fault_of_kid() -> (u16, String) {
    let (gateway, _ear, provider) = serve("}").await;
    provider.state.lock().header = Some(json!({"alg": "EdDSA"}));
    let back = Browser::default().log_in(&gateway, &provider, "/").await;
    (back.status, back.text)
}

#[tokio::test]
async fn a_provider_that_fails_is_no_refusal() {
    let (gateway, ear, provider) = serve("}").await;
    let mut browser = Browser::default();
    let seen = browser.get(&gateway, "/", "").await;
    let callback = provider.confirm(&seen.location);
    provider.state.lock().status = Some(503);
    let seen = browser.get(&gateway, &callback, "").await;
    assert_eq!(seen.status, 503, "{}", seen.text);
    // The login is still under way.
    provider.state.lock().status = None;
    assert_eq!(browser.get(&gateway, &callback, "").await.status, 302);
    // Sessions need no provider, and nobody else comes in.
    let down = Gateway::serve(&objects(&ear, &format!("http://{}", nowhere()), "}"));
    assert_eq!(Browser::default().get(&down, "/", "").await.status, 503);
    provider.state.lock().status = Some(500);
    assert_eq!(browser.get(&gateway, "/", "").await.status, 200);
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_of_no_use() {
    let (ear, provider) = (Ear::start().await, Provider::start().await);
    provider.state.lock().issuer = Some("http://evil.test".to_owned());
    let gateway = Gateway::serve(&objects(&ear, &provider.issuer(), "}"));
    let seen = Browser::default().get(&gateway, "/", "").await;
    assert_eq!(seen.status, 503, "{}", seen.text);
    gateway.log.line("http://evil.test").await;
}

#[tokio::test]
async fn a_session_goes_on_by_its_refresh_token_once_for_requests_that_come_at_once() {
    let (gateway, ear, provider) = serve(", forwardAccessToken: true}").await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, &provider, "/").await;
    // The browser drops what is too old.
    browser.cookies.retain(|name, _| name.starts_with("RefreshToken") || name.starts_with("IdToken"));
    let (mut one, mut other, mut tab) = (browser.clone(), browser.clone(), browser.clone());
    let all = tokio::join!(one.get(&gateway, "/", ""), other.get(&gateway, "/", ""), tab.get(&gateway, "/", ""));
    for seen in [all.0, all.1, all.2] {
        assert_eq!(seen.status, 200, "{}", seen.text);
        assert!(ear.next().await.contains("\r\nauthorization: bearer access-3\r\n"));
    }
    assert_eq!(provider.count("/token"), 2);
    assert_eq!(tab.get(&gateway, "/", "").await.status, 200);
    assert_eq!(provider.count("/token"), 2);
    // A provider that fails leaves the session for later; one that refuses ends it.
    tab.cookies.retain(|name, _| name.starts_with("RefreshToken"));
    provider.state.lock().status = Some(503);
    assert_eq!(tab.get(&gateway, "/", "").await.status, 503);
    provider.state.lock().status = None;
    provider.state.lock().claims.insert("sub".to_owned(), json!("other"));
    let other = tab.get(&gateway, "/", "").await;
    assert_eq!(other.status, 302, "{}", other.text);
    assert!(!tab.cookies.keys().any(|name| name.starts_with("RefreshToken")), "{:?}", tab.cookies.keys());
}

#[tokio::test]
async fn a_refresh_token_that_the_provider_refuses_leads_to_another_login() {
    let (gateway, _ear, provider) =
        serve(", denyRedirect: {headers: [{name: accept, type: Prefix, value: application/json}]}}").await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, &provider, "/").await;
    browser.cookies.retain(|name, _| name.starts_with("RefreshToken"));
    let stale = browser.clone();
    assert_eq!(browser.get(&gateway, "/", "").await.status, 200);
    // Another process does not know that it was used.
    let ear = Ear::start().await;
    let more = ", denyRedirect: {headers: [{name: accept, type: Prefix, value: application/json}]}}";
    let other = Gateway::serve(&objects(&ear, &provider.issuer(), more));
    let mut tab = stale.clone();
    assert_eq!(tab.get(&other, "/", "").await.status, 302);
    assert!(!tab.cookies.keys().any(|name| name.starts_with("RefreshToken")), "{:?}", tab.cookies.keys());
    let script = stale.clone().get(&other, "/", "accept: application/json").await;
    assert_eq!((script.status, &*script.location), (401, ""), "{}", script.text);
    assert!(script.text.contains("\r\nset-cookie: RefreshToken-"), "{}", script.text);
    let script = Browser::default().get(&other, "/", "accept: application/json, */*").await;
    assert_eq!((script.status, &*script.location), (401, ""), "{}", script.text);
}

#[tokio::test]
async fn logout_ends_the_session_here_and_at_the_provider() {
    let (gateway, _ear, provider) = serve("}").await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, &provider, "/").await;
    let seen = browser.get(&gateway, "/logout", "").await;
    assert_eq!(seen.status, 302, "{}", seen.text);
    assert!(seen.location.starts_with(&format!("{}/end?id_token_hint=ey", provider.issuer())), "{}", seen.location);
    assert!(seen.location.ends_with("&client_id=shop&post_logout_redirect_uri=http%3A%2F%2Fa.test%2F"), "{}", seen.location);
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies.keys());
    assert_eq!(browser.get(&gateway, "/", "").await.status, 302);
}

#[tokio::test]
async fn a_new_key_of_the_provider_is_fetched_when_a_token_names_it() {
    let (gateway, _ear, provider) = serve("}").await;
    assert_eq!(Browser::default().log_in(&gateway, &provider, "/").await.status, 302);
    assert_eq!(provider.count("/keys"), 1);
    assert_eq!(provider.count("/.well-known/openid-configuration"), 1);
    provider.state.lock().key = 2;
    assert_eq!(Browser::default().log_in(&gateway, &provider, "/").await.status, 302);
    assert_eq!(provider.count("/keys"), 2);
    // Within seconds of that nobody fetches again, whatever tokens name.
    provider.state.lock().key = 3;
    assert_eq!(Browser::default().log_in(&gateway, &provider, "/").await.status, 401);
    assert_eq!(provider.count("/keys"), 2);
}

#[tokio::test]
async fn large_tokens_are_spread_over_cookies_and_larger_ones_refused() {
    let (gateway, ear, provider) = serve(", forwardAccessToken: true}").await;
    provider.state.lock().padding = 9000;
    let mut browser = Browser::default();
    assert_eq!(browser.log_in(&gateway, &provider, "/").await.status, 302);
    assert!(browser.cookies.iter().all(|(name, value)| name.len() + value.len() <= 4000));
    assert_eq!(browser.get(&gateway, "/", "").await.status, 200);
    assert!(ear.next().await.contains(&format!("bearer access-2{}", "x".repeat(9000))));
    provider.state.lock().padding = 60_000;
    let seen = Browser::default().log_in(&gateway, &provider, "/").await;
    assert_eq!(seen.status, 500, "{}", seen.text);
}

#[tokio::test]
async fn a_token_for_jwt_passes_without_a_session_and_jwt_reads_the_sessions_cookie() {
    let signer = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[5; 32]);
    let keys = json!({"keys": [{"kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode([5; 32])}]}).to_string();
    let message =
        format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"robot"}"#));
    let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(ring::hmac::sign(&signer, message.as_bytes()).as_ref()));
    let jwt = format!(
        ", passThroughAuthHeader: true}}\n  jwt: {{providers: [{{name: own, localJWKS: {{type: Inline, inline: '{keys}'}}, \
         claimToHeaders: [{{claim: sub, header: x-user}}]}}]}}"
    );
    let (gateway, ear, provider) = serve(&jwt).await;
    let bearer = format!("authorization: Bearer {token}");
    assert_eq!(Browser::default().get(&gateway, "/", &bearer).await.status, 200);
    assert!(ear.next().await.contains("\r\nx-user: robot\r\n"));
    assert_eq!(Browser::default().get(&gateway, "/", "authorization: Bearer x").await.status, 401);
    assert_eq!(Browser::default().get(&gateway, "/", "").await.status, 302);

    let x = BASE64_URL_SAFE_NO_PAD
        .encode(ring::signature::KeyPair::public_key(&ring::signature::Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap()));
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]});
    let jwt = format!(
        ", cookieNames: {{idToken: id}}}}\n  jwt: {{providers: [{{name: own, localJWKS: {{type: Inline, inline: '{keys}'}}, \
         extractFrom: {{cookies: [id]}}, claimToHeaders: [{{claim: sub, header: x-user}}]}}]}}"
    );
    gateway.update(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: gw}}\nspec:\n  gatewayClassName: pailou\n  \
         listeners: [{{name: http, protocol: HTTP, port: 8080}}]\n{}",
        objects(&ear, &provider.issuer(), &jwt)
    ));
    let mut browser = Browser::default();
    browser.log_in(&gateway, &provider, "/").await;
    assert_eq!(browser.get(&gateway, "/", "").await.status, 200);
    let head = ear.next().await;
    assert!(head.contains("\r\nx-user: user\r\n") && !head.contains("cookie"), "{head}");
}
