//! Cookies and `state` that others make begin no session and end no login; nothing of the policy's cookies is left for backends.

#![no_main]

#[path = "support/oidc_settings.rs"]
mod oidc_settings;

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use libfuzzer_sys::fuzz_target;
use pailou_auth::{OidcRequest, OidcStep};

const NOW: i64 = 1_800_000_000;

fuzz_target!(|input: (Vec<u8>, String, bool)| {
    let (cookie, query, encrypts_tokens) = input;
    let Ok(cookie) = HeaderValue::from_bytes(&cookie) else { return };
    let Ok(uri) = format!("/oauth2/callback?{query}").parse::<Uri>() else { return };
    let oidc = oidc_settings::oidc(encrypts_tokens, true);
    let mut headers = HeaderMap::from_iter([(header::COOKIE, cookie)]);
    let request = OidcRequest { method: &Method::GET, headers: &headers, scheme: "https", authority: "a", host: "a", uri: &uri, redirect_uri: "https://a/oauth2/callback" };
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
