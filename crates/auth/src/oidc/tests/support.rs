//! A provider, a browser, and a client that logs in.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::{JwkSet, oidc::*, query_values};

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://id.example";

pub(super) fn oidc() -> Oidc {
    let provider =
        ProviderSettings { issuer: ISSUER.into(), authorization_endpoint: None, token_endpoint: None, end_session_endpoint: None };
    Oidc {
        provider,
        client_id: "shop".into(),
        client_secret: ClientSecret::new(b"s e/cret"),
        scopes: vec!["openid".into(), "profile".into()],
        resources: vec!["https://api.example".into()],
        callback_path: "/oauth2/callback".into(),
        logout_path: "/logout".into(),
        forwards_access_token: true,
        id_token_header: Some(HeaderName::from_static("x-id-token")),
        default_token_ttl: Duration::ZERO,
        uses_refresh_token: true,
        default_refresh_token_ttl: Duration::from_secs(604_800),
        csrf_token_ttl: Duration::from_secs(600),
        encrypts_tokens: true,
        cookie_names: CookieNames::new("uid", None, None),
        cookies: CookieAttributes::default(),
        deny_redirect: vec![DenyRedirect {
            header: DenyRedirectHeader::Field(HeaderName::from_static("x-requested-with")),
            value: DenyRedirectValue::Exact("XMLHttpRequest".into()),
        }],
        pass_through: Vec::new(),
        keys: OidcKeys::derive(&[7; 32], &["uid", ISSUER, "shop"]).unwrap(),
    }
}

pub(super) fn provider() -> Provider {
    Provider {
        authorization_endpoint: "https://id.example/auth?tenant=1".into(),
        token_endpoint: Uri::from_static("https://id.example/token"),
        end_session_endpoint: Some("https://id.example/end".into()),
        jwks_uri: Uri::from_static("https://id.example/keys"),
    }
}

/// A browser's cookies.
#[derive(Default)]
pub(super) struct Browser(pub(super) std::collections::BTreeMap<String, String>);

impl Browser {
    pub(super) fn keep(&mut self, set: &[HeaderValue]) {
        for line in set {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            match line.contains("Max-Age=0") {
                true => drop(self.0.remove(name)),
                false => drop(self.0.insert(name.to_owned(), value.to_owned())),
            }
        }
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        match pairs.is_empty() {
            true => HeaderMap::new(),
            false => HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(pairs.join("; ")).unwrap())]),
        }
    }
}

pub(super) fn request<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> OidcRequest<'r> {
    OidcRequest {
        method: &Method::GET,
        headers,
        scheme: "https",
        authority: "shop.example",
        host: "shop.example",
        uri,
        redirect_uri: "https://shop.example/oauth2/callback",
    }
}

pub(super) fn query(location: &HeaderValue, name: &str) -> String {
    let uri: Uri = location.to_str().unwrap().parse().unwrap();
    let value = query_values(uri.query().unwrap(), name).next().unwrap_or_else(|| panic!("no {name} in {uri}"));
    String::from_utf8(value.into_owned()).unwrap()
}

pub(super) fn login(oidc: &Oidc, browser: &mut Browser, path: &str, entropy: u8, now: i64) -> OidcReply {
    let (headers, uri) = (browser.headers(), path.parse().unwrap());
    let request = request(&headers, &uri);
    assert!(matches!(oidc.step(&request, now), OidcStep::Login), "{path}");
    let reply = oidc.login(&provider(), &request, &[entropy; 24], now).unwrap();
    browser.keep(&reply.set_cookies);
    reply
}

pub(super) fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap()
}

pub(super) fn key_set() -> JwkSet {
    let x = BASE64_URL_SAFE_NO_PAD.encode(signer().public_key().as_ref());
    JwkSet::parse(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x}]}).to_string().as_bytes()).unwrap()
}

pub(super) fn id_token(claims: &Value) -> Token {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": "1"})), part(claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signer().sign(message.as_bytes()).as_ref());
    Token::new(format!("{message}.{signature}"))
}

pub(super) fn claims(nonce: &str) -> Value {
    json!({"iss": ISSUER, "aud": "shop", "sub": "u", "exp": NOW + 300, "iat": NOW, "nonce": nonce})
}

pub(super) fn tokens(id_token: Option<Token>) -> TokenResponse {
    TokenResponse {
        access_token: Token::new("access".into()),
        id_token,
        refresh_token: Some(Token::new("refresh".into())),
        expires_in: Some(300),
    }
}

pub(super) fn callback_path(reply: &OidcReply) -> Uri {
    format!("/oauth2/callback?code=c&state={}", query(&reply.location, "state")).parse().unwrap()
}

pub(super) fn come_back(oidc: &Oidc, browser: &mut Browser, reply: &OidcReply) -> Result<OidcReply, OidcError> {
    let (headers, uri) = (browser.headers(), callback_path(reply));
    let request = request(&headers, &uri);
    assert!(matches!(oidc.step(&request, NOW), OidcStep::Callback));
    let pending = match oidc.callback(&request, NOW)? {
        Ok(reply) => return Ok(reply),
        Err(pending) => pending,
    };
    let token = id_token(&claims(&query(&reply.location, "nonce")));
    oidc.logged_in(&request, &pending, &tokens(Some(token)), &key_set(), NOW)
}

pub(super) fn log_in(oidc: &Oidc) -> Browser {
    let mut browser = Browser::default();
    let reply = login(oidc, &mut browser, "/cart", 1, NOW);
    let reply = come_back(oidc, &mut browser, &reply).unwrap();
    browser.keep(&reply.set_cookies);
    browser
}

pub(super) fn step(oidc: &Oidc, browser: &Browser, path: &str, now: i64) -> OidcStep {
    oidc.step(&request(&browser.headers(), &path.parse().unwrap()), now)
}
