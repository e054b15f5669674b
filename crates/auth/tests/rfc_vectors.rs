//! Examples of RFC 7515, RFC 7520 and RFC 8037, and what RFC 8725 warns of.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use pailou_auth::{
    CredentialSource, JwkSet, JwtAuth, JwtContext, JwtError, JwtProvider, JwtRequirement, KeySource, Keys, TokenCache, TokenChecks,
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// Time of RFC 7515's example, before its `exp`.
const NOW: i64 = 1_300_819_000;

fn provider(keys: &Value, checks: TokenChecks) -> Arc<JwtProvider> {
    Arc::new(JwtProvider {
        name: "idp".into(),
        checks,
        sources: vec![CredentialSource::Header { name: header::AUTHORIZATION, prefix: "Bearer ".into(), is_prefix_required: true }],
        claim_headers: Arc::default(),
        recompute_route: false,
        keys: KeySource::Local(Arc::new(JwkSet::parse(keys.to_string().as_bytes()).unwrap())),
    })
}

fn verify_at(now: i64, keys: &Value, checks: TokenChecks, token: &str) -> Result<Value, JwtError> {
    let auth = JwtAuth { providers: vec![provider(keys, checks)], requirement: JwtRequirement::Valid };
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap())]);
    let cache = TokenCache::default();
    let context = JwtContext { now, fetch: &|_, _| Keys::Unavailable, cache: &cache };
    let first = auth.authenticate(&headers, None, &context).map(|tokens| (**tokens.claims[0].1.payload()).clone());
    // A token that is remembered fares as the first time.
    let second = auth.authenticate(&headers, None, &context).map(|tokens| (**tokens.claims[0].1.payload()).clone());
    assert_eq!(first, second);
    first
}

fn verify(keys: &Value, token: &str) -> Result<Value, JwtError> {
    verify_at(NOW, keys, TokenChecks::default(), token)
}

fn encode(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A key of HS256, and a token of this header and payload that it signed.
fn signed(header: &str, payload: &str) -> (Value, String) {
    let secret = [7; 32];
    let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
    let keys = json!({"keys": [{"kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(secret)}]});
    (keys, format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag)))
}

const RFC7515_A1: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn rfc7515_a1_keys() -> Value {
    json!({"keys": [{"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]})
}

#[test]
fn rfc_7515_a1_hs256() {
    let claims = verify(&rfc7515_a1_keys(), RFC7515_A1).unwrap();
    assert_eq!(claims, json!({"iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true}));
}

#[test]
fn rfc_7515_a2_rs256() {
    let keys = json!({"keys": [{"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}]});
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    assert_eq!(verify(&keys, token).unwrap()["iss"], "joe");
    // The public key is not the secret of a hash (RFC 8725, section 2.1).
    let confused = token.replacen("eyJhbGciOiJSUzI1NiJ9", &encode(&json!({"alg": "HS256"})), 1);
    assert_eq!(verify(&keys, &confused), Err(JwtError::NoKey));
}

#[test]
fn rfc_7515_a3_es256() {
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]});
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert_eq!(verify(&keys, token).unwrap()["iss"], "joe");
}

#[test]
fn rfc_7515_a5_unsecured_and_its_spellings_fail() {
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    for algorithm in ["none", "None", "nOnE", "NONE", ""] {
        let token = format!("{}.{payload}.", encode(&json!({"alg": algorithm})));
        assert_eq!(verify(&rfc7515_a1_keys(), &token), Err(JwtError::Algorithm), "{algorithm}");
    }
}

#[test]
fn rfc_8037_a4_eddsa() {
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]});
    // The payload of the example is no JSON object: the signature is right, and the token is none.
    let example = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(verify(&keys, example), Err(JwtError::PayloadJson));
    let pair = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap();
    let message = format!("{}.{}", encode(&json!({"alg": "EdDSA"})), encode(&json!({"sub": "me"})));
    let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())));
    let own = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": BASE64_URL_SAFE_NO_PAD.encode(pair.public_key())}]});
    assert_eq!(verify(&own, &token).unwrap()["sub"], "me");
    assert_eq!(verify(&keys, &token), Err(JwtError::Signature));
}

#[test]
fn a_key_id_chooses_the_key_and_its_absence_tries_all() {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pairs: Vec<_> = (0..2)
        .map(|_| {
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
        })
        .collect();
    let key = |pair: &EcdsaKeyPair, id: &str| {
        let point = pair.public_key().as_ref();
        let coordinate = |range: std::ops::Range<usize>| BASE64_URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"kty": "EC", "crv": "P-256", "kid": id, "x": coordinate(1..33), "y": coordinate(33..65)})
    };
    let keys = json!({"keys": [key(&pairs[0], "one"), key(&pairs[1], "two")]});
    let token = |header: Value| {
        let message = format!("{}.{}", encode(&header), encode(&json!({})));
        let signature = pairs[1].sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    };
    assert!(verify(&keys, &token(json!({"alg": "ES256", "kid": "two"}))).is_ok());
    assert!(verify(&keys, &token(json!({"alg": "ES256"}))).is_ok());
    assert_eq!(verify(&keys, &token(json!({"alg": "ES256", "kid": "one"}))), Err(JwtError::Signature));
    assert_eq!(verify(&keys, &token(json!({"alg": "ES256", "kid": "../../two"}))), Err(JwtError::NoKey));
    assert_eq!(verify(&keys, &token(json!({"alg": "ES384"}))), Err(JwtError::NoKey));
}

#[test]
fn keys_that_a_token_brings_are_never_used() {
    let stranger = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64_URL_SAFE_NO_PAD.encode(stranger.public_key())});
    let header = json!({"alg": "EdDSA", "jwk": jwk, "jku": "https://evil.example/keys", "x5u": "https://evil.example/chain"});
    let message = format!("{}.{}", encode(&header), encode(&json!({})));
    let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(stranger.sign(message.as_bytes())));
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]});
    assert_eq!(verify(&keys, &token), Err(JwtError::Signature));
}

#[test]
fn what_two_readers_could_take_differently_is_refused() {
    for (header, payload, expected) in [
        (r#"{"alg":"HS256","alg":"none"}"#, "{}", JwtError::HeaderJson),
        (r#"{"alg":"HS256"}"#, r#"{"sub":"a","sub":"b"}"#, JwtError::PayloadJson),
        (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, "{}", JwtError::Critical),
        (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, "{}", JwtError::Critical),
        (r#"{"alg":"HS256"}"#, r#"{"exp":"9999999999"}"#, JwtError::Claim("exp")),
        (r#"{"alg":"HS256","kid":7}"#, "{}", JwtError::KeyId),
        (r#"{"alg":["HS256"]}"#, "{}", JwtError::NoAlgorithm),
        (r#"{"alg":"HS256"}"#, "[]", JwtError::PayloadJson),
        (r#"{"alg":"HS256"}"#, "{} {}", JwtError::PayloadJson),
    ] {
        let (keys, token) = signed(header, payload);
        assert_eq!(verify(&keys, &token), Err(expected), "{header} {payload}");
    }
}

#[test]
fn malformed_tokens_are_refused() {
    let (keys, token) = signed(r#"{"alg":"HS256"}"#, "{}");
    assert!(verify(&keys, &token).is_ok());
    for (wrong, expected) in [
        (format!("{token}."), JwtError::Form),
        (token.replace('.', ":"), JwtError::Form),
        (format!("{token}="), JwtError::SignatureBase64),
        (format!(" {token}"), JwtError::HeaderBase64),
        (format!("{}.{token}", "a".repeat(1 << 20)), JwtError::Form),
        (format!("{}x", &token[..token.len() - 1]), JwtError::Signature),
    ] {
        let error = verify(&keys, &wrong).unwrap_err();
        assert!(error == expected || error == JwtError::SignatureBase64, "{error} {expected}");
    }
}

#[test]
fn times_have_a_minute_of_skew_and_audiences_are_texts_or_lists() {
    let (keys, token) = signed(r#"{"alg":"HS256"}"#, r#"{"iss":"me","aud":["a","b"],"nbf":1000,"exp":2000}"#);
    let at = |now| verify_at(now, &keys, TokenChecks::default(), &token).map(|_| ());
    assert_eq!([at(939), at(940), at(2060), at(2061)], [Err(JwtError::NotYetValid), Ok(()), Ok(()), Err(JwtError::Expired)]);
    let checked = |issuer: &str, audience: &str| {
        let checks = TokenChecks { issuer: Some(issuer.into()), audiences: vec!["x".into(), audience.into()] };
        verify_at(1500, &keys, checks, &token).map(|_| ())
    };
    assert_eq!(checked("me", "b"), Ok(()));
    assert_eq!(checked("me", "c"), Err(JwtError::Audience));
    assert_eq!(checked("you", "b"), Err(JwtError::Issuer));
}

#[test]
fn a_missing_token_passes_only_if_that_is_allowed() {
    let (keys, token) = signed(r#"{"alg":"HS256"}"#, "{}");
    let broken = format!("{}AAAA", &token[..token.len() - 4]);
    let cache = TokenCache::default();
    let context = JwtContext { now: NOW, fetch: &|_, _| Keys::Unavailable, cache: &cache };
    let outcome = |requirement, token: Option<&str>| {
        let auth = JwtAuth { providers: vec![provider(&keys, TokenChecks::default())], requirement };
        let value = token.map(|token| (header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap()));
        auth.authenticate(&value.into_iter().collect(), None, &context).map(|tokens| tokens.claims.len())
    };
    for (requirement, expected) in [
        (JwtRequirement::Valid, [Ok(1), Err(JwtError::Missing), Err(JwtError::Signature)]),
        (JwtRequirement::ValidOrMissing, [Ok(1), Ok(0), Err(JwtError::Signature)]),
        (JwtRequirement::Any, [Ok(1), Ok(0), Ok(0)]),
    ] {
        assert_eq!([Some(&*token), None, Some(&*broken)].map(|token| outcome(requirement, token)), expected, "{requirement:?}");
    }
}
