//! Cookies and `state` that others make begin no session and end no login; nothing of the policy's cookies is left for backends.

#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Uri, header};
use libfuzzer_sys::fuzz_target;
use pailou_auth::{
    ClientSecret, CookieAttributes, CookieNames, Oidc, OidcKeys, OidcRequest, OidcStep, ProviderSettings,
};

const NOW: i64 = 1_800_000_000;

fuzz_target!(|input: (Vec<u8>, String, bool)| {
    let (cookie, query, encrypts_tokens) = input;
    let Ok(cookie) = HeaderValue::from_bytes(&cookie) else { return };
    let Ok(uri) = format!("/oauth2/callback?{query}").parse::<Uri>() else { return };
    let provider = ProviderSettings {
        issuer: "https://id.example".into(),
        authorization_endpoint: None,
        token_endpoint: None,
        end_session_endpoint: None,
    };
    let oidc = Oidc {
        provider,
        client_id: "c".into(),
        client_secret: ClientSecret::new(b"s"),
        scopes: Vec::new(),
        resources: Vec::new(),
        callback_path: "/oauth2/callback".into(),
        logout_path: "/logout".into(),
        forwards_access_token: false,
        id_token_header: None,
        default_token_ttl: Duration::ZERO,
        uses_refresh_token: true,
        default_refresh_token_ttl: Duration::from_secs(1),
        csrf_token_ttl: Duration::from_secs(600),
        encrypts_tokens,
        cookie_names: CookieNames::new("p", Some("A"), Some("I")),
        cookies: CookieAttributes::default(),
        deny_redirect: Vec::new(),
        pass_through: Vec::new(),
        keys: OidcKeys::derive(&[7; 32], &[]).expect("32 bytes"),
    };
    let mut headers = HeaderMap::from_iter([(header::COOKIE, cookie)]);
    let request = OidcRequest { headers: &headers, scheme: "https", authority: "a", host: "a", uri: &uri, redirect_uri: "https://a/oauth2/callback" };
    assert!(matches!(oidc.step(&request, NOW), OidcStep::Callback));
    assert!(oidc.callback(&request, NOW).is_err());
    let other = Uri::from_static("/");
    assert!(matches!(oidc.step(&OidcRequest { uri: &other, ..request }, NOW), OidcStep::Login));
    oidc.remove_cookies(&mut headers);
    let lines = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    for pair in lines {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        assert!(name != b"A" && name != b"I.1" && !name.starts_with(b"OauthNonce-148de9c5"));
    }
});
