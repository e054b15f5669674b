//! The cookies of a session, long tokens of which are spread over several: however a client changes, loses, repeats and reorders them, they are
//! that session or none.

#![no_main]

#[path = "support/oidc_settings.rs"]
mod oidc_settings;

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use pailou_auth::{JwkSet, Oidc, OidcRequest, OidcStep, Provider, TokenResponse, query_values};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

/// A change of the cookies, which are named by their place.
#[derive(Arbitrary, Debug)]
enum Change {
    Drop(u8),
    Swap(u8, u8),
    /// A cookie gets the name of another.
    Rename(u8, u8),
    /// A cookie is there twice.
    Repeat(u8),
    /// A cookie of this name in front of all.
    Forge(String, String),
    Byte(u8, u16, u8),
    /// A value is cut, and its rest is put in front of another's.
    Move(u8, u8, u16),
}

struct Case {
    oidc: Oidc,
    cookies: Vec<(String, String)>,
    access: String,
}

static CASES: LazyLock<[Case; 2]> = LazyLock::new(|| [case(true), case(false)]);

fn request<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> OidcRequest<'r> {
    OidcRequest { method: &Method::GET, headers, scheme: "https", authority: "a", host: "a", uri, redirect_uri: "https://a/oauth2/callback" }
}

/// A client that has logged in, with an access token that takes several cookies.
fn case(encrypts_tokens: bool) -> Case {
    let oidc = oidc_settings::oidc(encrypts_tokens, false);
    let provider = Provider {
        authorization_endpoint: "https://id.example/auth".into(),
        token_endpoint: Uri::from_static("https://id.example/token"),
        end_session_endpoint: None,
        jwks_uri: Uri::from_static("https://id.example/keys"),
    };
    let root = Uri::from_static("/");
    let begun = oidc.login(&provider, &request(&HeaderMap::new(), &root), &[5; 24], NOW).expect("a login");
    let location: Uri = begun.location.to_str().expect("text").parse().expect("a URL");
    let parameter = |name: &str| {
        let value = query_values(location.query().unwrap_or_default(), name).next().expect("a parameter");
        String::from_utf8(value.into_owned()).expect("text")
    };
    let headers = header_of(&pairs(&begun.set_cookies));
    let callback: Uri = format!("/oauth2/callback?code=c&state={}", parameter("state")).parse().expect("a path");
    let back = request(&headers, &callback);
    let pending = oidc.callback(&back, NOW).expect("a callback").expect_err("no session yet");
    let signer = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).expect("a seed");
    let x = BASE64_URL_SAFE_NO_PAD.encode(signer.public_key().as_ref());
    let keys = JwkSet::parse(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}).to_string().as_bytes()).expect("keys");
    let claims = json!({"iss": oidc_settings::ISSUER, "aud": "c", "sub": "u", "exp": NOW + 300, "iat": NOW, "nonce": parameter("nonce")});
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "EdDSA"})), part(&claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()).as_ref());
    let access = "access-".repeat(1500);
    let tokens = json!({"access_token": access, "id_token": format!("{message}.{signature}"), "expires_in": 300});
    let tokens = TokenResponse::read(200, tokens.to_string().as_bytes()).expect("tokens");
    let reply = oidc.logged_in(&back, &pending, &tokens, &keys, NOW).expect("a session");
    let cookies: Vec<_> = pairs(&reply.set_cookies).into_iter().filter(|(_, value)| value != "deleted").collect();
    assert!(cookies.iter().any(|(name, _)| name == "A.2"), "the token takes three cookies");
    Case { oidc, cookies, access }
}

fn pairs(lines: &[HeaderValue]) -> Vec<(String, String)> {
    let pair = |line: &HeaderValue| {
        let (name, value) = line.to_str().ok()?.split(';').next()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    lines.iter().filter_map(pair).collect()
}

fn header_of(cookies: &[(String, String)]) -> HeaderMap {
    let text = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    HeaderValue::try_from(text).ok().map(|value| (header::COOKIE, value)).into_iter().collect()
}

fn apply(change: Change, cookies: &mut Vec<(String, String)>) {
    let count = cookies.len();
    let at = move |place: u8| usize::from(place) % count;
    match change {
        Change::Drop(place) => drop(cookies.remove(at(place))),
        Change::Swap(one, other) => {
            let (one, other) = (at(one), at(other));
            cookies.swap(one, other);
        }
        Change::Rename(one, other) => {
            let name = cookies[at(other)].0.clone();
            let one = at(one);
            cookies[one].0 = name;
        }
        Change::Repeat(place) => cookies.push(cookies[at(place)].clone()),
        Change::Forge(name, value) => cookies.insert(0, (name, value)),
        Change::Byte(place, at_byte, byte) => {
            let place = at(place);
            let mut value = cookies[place].1.clone().into_bytes();
            if let Some(old) = value.len().checked_sub(1).map(|last| usize::from(at_byte).min(last)) {
                value[old] = byte;
            }
            cookies[place].1 = String::from_utf8_lossy(&value).into_owned();
        }
        Change::Move(from, to, length) => {
            let (from, to) = (at(from), at(to));
            let cut = usize::from(length).min(cookies[from].1.len());
            if cookies[from].1.is_char_boundary(cut) {
                let rest = cookies[from].1.split_off(cut);
                cookies[to].1.insert_str(0, &rest);
            }
        }
    }
}

fuzz_target!(|input: (bool, Vec<Change>)| {
    let (encrypts_tokens, changes) = input;
    let Case { oidc, cookies: own, access } = &CASES[usize::from(!encrypts_tokens)];
    let mut cookies = own.clone();
    for change in changes.into_iter().take(32) {
        if !cookies.is_empty() {
            apply(change, &mut cookies);
        }
    }
    let (mut headers, root) = (header_of(&cookies), Uri::from_static("/"));
    let is_same = cookies == *own;
    match oidc.step(&request(&headers, &root), NOW) {
        OidcStep::Session(session) => assert!(session.access_token.expose() == access && session.id_token.is_some()),
        OidcStep::Login => assert!(!is_same),
        other => panic!("{other:?}"),
    }
    // Nobody else's, and no later time's.
    let stranger = OidcRequest { host: "b", ..request(&headers, &root) };
    assert!(matches!(oidc.step(&stranger, NOW), OidcStep::Login));
    assert!(matches!(oidc.step(&request(&headers, &root), NOW + 301), OidcStep::Login));
    oidc.remove_cookies(&mut headers);
    let left = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    for pair in left {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        assert!(name != b"A" && name != b"A.1" && name != b"I");
    }
});
