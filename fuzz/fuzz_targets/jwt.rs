//! No token passes that is not signed with the key, whatever its bytes and whatever keys it names; one that is signed does, until a byte of it
//! changes.

#![no_main]

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use pailou_auth::{
    CredentialSource, DocumentId, JwkSet, JwtAuth, JwtContext, JwtProvider, JwtRequirement, KeySource, Keys, TokenCache,
    TokenChecks,
};

/// Of RFC 7515, A.1: a token by HS256, and its key.
const TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const KEYS: &[u8] =
    br#"{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#;
/// Before the token ends.
const NOW: i64 = 1_300_819_000;

static SETTINGS: LazyLock<JwtAuth> = LazyLock::new(|| {
    let provider = JwtProvider {
        name: "p".into(),
        checks: TokenChecks::default(),
        sources: vec![CredentialSource::Header {
            name: HeaderName::from_static("x-token"),
            prefix: "".into(),
            is_prefix_required: true,
        }],
        claim_headers: Default::default(),
        recompute_route: false,
        keys: KeySource::Local(Arc::new(JwkSet::parse(KEYS).expect("a set of keys"))),
    };
    JwtAuth { providers: vec![Arc::new(provider)], requirement: JwtRequirement::Valid }
});

fn passes(token: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(token) else { return false };
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-token"), value)]);
    let fetch = |_: DocumentId, _: bool| Keys::Unavailable;
    let context = JwtContext { now: NOW, fetch: &fetch, cache: &TokenCache::default() };
    SETTINGS.authenticate(&headers, None, &context).is_ok()
}

fuzz_target!(|input: (&[u8], u16, u8)| {
    let (token, at, byte) = input;
    assert!(passes(TOKEN.as_bytes()));
    assert!(token == TOKEN.as_bytes() || !passes(token));
    let mut changed = TOKEN.as_bytes().to_vec();
    let at = usize::from(at) % changed.len();
    changed[at] = byte;
    assert_eq!(passes(&changed), changed == TOKEN.as_bytes());
    // A set of keys is configuration, and may be anything too.
    let _ = JwkSet::parse(token);
});
