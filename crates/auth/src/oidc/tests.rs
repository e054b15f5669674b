mod support;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use support::*;

#[test]
fn a_client_logs_in_and_comes_back_to_its_url_with_a_session() {
    let oidc = oidc();
    let mut browser = Browser::default();
    let reply = login(&oidc, &mut browser, "/cart?item=1", 1, NOW);
    let location = reply.location.to_str().unwrap();
    assert!(location.starts_with("https://id.example/auth?tenant=1&client_id=shop&response_type=code&redirect_uri="), "{location}");
    assert_eq!(query(&reply.location, "scope"), "openid profile");
    assert_eq!(query(&reply.location, "resource"), "https://api.example");
    assert_eq!(query(&reply.location, "code_challenge_method"), "S256");

    let (headers, uri) = (browser.headers(), callback_path(&reply));
    let back = request(&headers, &uri);
    let pending = oidc.callback(&back, NOW).unwrap().unwrap_err();
    let exchange = oidc.code_request(&provider(), &pending, back.redirect_uri);
    assert_eq!(exchange.authorization, "Basic c2hvcDpzJTIwZSUyRmNyZXQ=");
    let verifier = exchange.body.split("code_verifier=").nth(1).unwrap().split('&').next().unwrap();
    let challenge = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    assert_eq!(query(&reply.location, "code_challenge"), BASE64_URL_SAFE_NO_PAD.encode(challenge));
    assert_eq!(verifier.len(), 43);
    assert!(
        exchange
            .body
            .starts_with("grant_type=authorization_code&code=c&redirect_uri=https%3A%2F%2Fshop.example%2Foauth2%2Fcallback")
    );
    assert!(!format!("{exchange:?} {oidc:?}").contains("cret%"), "{exchange:?}");

    let reply = come_back(&oidc, &mut browser, &reply).unwrap();
    assert_eq!(reply.location, "https://shop.example/cart?item=1");
    browser.keep(&reply.set_cookies);
    assert_eq!(browser.0.len(), 5, "{:?}", browser.0.keys());
    let OidcStep::Session(session) = step(&oidc, &browser, "/", NOW + 299) else { panic!("no session") };
    let mut headers = browser.headers();
    headers.insert("x-id-token", HeaderValue::from_static("forged"));
    oidc.forward(&session, &mut headers);
    assert_eq!(headers["authorization"], "Bearer access");
    assert_eq!(headers["x-id-token"].to_str().unwrap(), session.id_token.as_ref().unwrap().expose());
    headers.insert(header::COOKIE, HeaderValue::try_from(format!("a=1; {}", headers["cookie"].to_str().unwrap())).unwrap());
    oidc.remove_cookies(&mut headers);
    assert_eq!(headers["cookie"], "a=1");
}

#[test]
fn altered_stolen_and_old_cookies_are_no_session() {
    let oidc = oidc();
    let browser = log_in(&oidc);
    assert!(matches!(step(&oidc, &browser, "/", NOW + 301), OidcStep::Refresh(_)));
    for name in browser.0.keys().filter(|name| !name.starts_with("RefreshToken")) {
        let mut altered = Browser(browser.0.clone());
        altered.0.get_mut(name).unwrap().replace_range(..1, "9");
        assert!(!matches!(step(&oidc, &altered, "/", NOW), OidcStep::Session(_)), "{name}");
        let mut without = Browser(browser.0.clone());
        without.0.remove(name);
        assert!(!matches!(step(&oidc, &without, "/", NOW), OidcStep::Session(_)), "{name}");
    }
    // Another host, another key, another policy's names.
    let (headers, uri) = (browser.headers(), Uri::from_static("/"));
    let other_host = OidcRequest { host: "other.example", ..request(&headers, &uri) };
    assert!(matches!(oidc.step(&other_host, NOW), OidcStep::Login));
    let other_key = Oidc { keys: OidcKeys::derive(&[8; 32], &["uid", ISSUER, "shop"]).unwrap(), ..support::oidc() };
    assert!(matches!(step(&other_key, &browser, "/", NOW), OidcStep::Login));
    let domain = CookieAttributes { domain: Some("example".into()), ..CookieAttributes::default() };
    assert!(matches!(step(&Oidc { cookies: domain, ..support::oidc() }, &browser, "/", NOW), OidcStep::Login));
    // The same settings made anew, as by another replica or after a restart, take the session.
    assert!(matches!(step(&support::oidc(), &browser, "/", NOW), OidcStep::Session(_)));
}

#[test]
fn a_redirect_is_denied_by_a_part_of_the_request_as_by_a_header() {
    let denied = |header: DenyRedirectHeader, value: &str| {
        let value = DenyRedirectValue::Prefix(value.into());
        let oidc = Oidc { deny_redirect: vec![DenyRedirect { header, value }], ..support::oidc() };
        let (headers, uri) = (HeaderMap::new(), Uri::from_static("/api/v1?a=b"));
        matches!(oidc.step(&request(&headers, &uri), NOW), OidcStep::Unauthorized)
    };
    assert!(denied(DenyRedirectHeader::Path, "/api/v1?a"));
    assert!(denied(DenyRedirectHeader::Authority, "shop."));
    assert!(denied(DenyRedirectHeader::Scheme, "https"));
    assert!(denied(DenyRedirectHeader::Method, "GET"));
    assert!(!denied(DenyRedirectHeader::Path, "/other"));
    assert!(!denied(DenyRedirectHeader::Field(HeaderName::from_static("path")), "/api"));
}

#[test]
fn three_tabs_log_in_and_abandoned_logins_do_not_pile_up() {
    let oidc = oidc();
    let mut browser = Browser::default();
    let tabs: Vec<_> = (1..=3).map(|tab| login(&oidc, &mut browser, &format!("/{tab}"), tab, NOW)).collect();
    for (tab, reply) in (1..).zip(&tabs) {
        let reply = come_back(&oidc, &mut browser, reply).unwrap();
        assert_eq!(reply.location, format!("https://shop.example/{tab}").as_str());
        browser.keep(&reply.set_cookies);
    }
    let mut browser = Browser::default();
    let replies: Vec<_> = (0..100).map(|at| login(&oidc, &mut browser, "/", at, NOW - 100 + i64::from(at))).collect();
    assert_eq!(browser.0.len(), 8);
    assert!(come_back(&oidc, &mut browser, &replies[99]).is_ok());
    assert_eq!(come_back(&oidc, &mut browser, &replies[0]), Err(StateError::NoFlow.into()));
    // Logins that began at once, before any cookie was there: the next one clears them away.
    let mut crowd = Browser::default();
    for at in 0..100 {
        let reply = login(&oidc, &mut Browser::default(), "/", at, NOW);
        crowd.keep(&reply.set_cookies);
    }
    assert!(crowd.headers()[header::COOKIE].len() < 8 << 10);
    login(&oidc, &mut crowd, "/", 200, NOW);
    login(&oidc, &mut crowd, "/", 201, NOW);
    assert_eq!(crowd.0.len(), 8);
}

#[test]
fn cookies_that_are_no_flow_push_no_login_out() {
    let oidc = oidc();
    let mut browser = Browser::default();
    let tabs: Vec<_> = (1..=7).map(|tab| login(&oidc, &mut browser, "/", tab, NOW + i64::from(tab))).collect();
    let prefix = format!("{}.", oidc.cookie_names.nonce);
    for forged in ["zzz".to_owned(), format!("ffffffffff{}", "0".repeat(16)), format!("{:010x}{}", NOW - 601, "0".repeat(16))] {
        browser.0.insert(format!("{prefix}{forged}"), "x".to_owned());
    }
    let last = login(&oidc, &mut browser, "/", 8, NOW + 8);
    assert_eq!(browser.0.len(), 8, "{:?}", browser.0.keys());
    // The oldest goes first.
    login(&oidc, &mut browser, "/", 9, NOW + 9);
    assert_eq!(come_back(&oidc, &mut browser, &tabs[0]), Err(StateError::NoFlow.into()));
    assert!(come_back(&oidc, &mut browser, &tabs[1]).is_ok() && come_back(&oidc, &mut browser, &last).is_ok());
}

#[test]
fn a_state_counts_once_for_its_browser_in_its_time_and_leads_nowhere_else() {
    let oidc = oidc();
    let mut browser = Browser::default();
    let reply = login(&oidc, &mut browser, "/cart", 1, NOW);
    let callback = |browser: &Browser, uri: &Uri, now| oidc.callback(&request(&browser.headers(), uri), now).map(drop);
    let uri = callback_path(&reply);
    assert_eq!(callback(&Browser::default(), &uri, NOW), Err(StateError::NoFlow.into()));
    assert_eq!(callback(&browser, &uri, NOW + 601), Err(StateError::Expired.into()));
    assert_eq!(callback(&browser, &Uri::from_static("/oauth2/callback?code=c"), NOW), Err(OidcError::Parameter("state")));
    let twice = format!("{uri}&state=x").parse().unwrap();
    assert_eq!(callback(&browser, &twice, NOW), Err(OidcError::Parameter("state")));
    let refused = format!("/oauth2/callback?error=access_denied&state={}", query(&reply.location, "state")).parse().unwrap();
    assert_eq!(callback(&browser, &refused, NOW), Err(OidcError::Refused("access_denied".into())));
    let mix_up = format!("{uri}&iss=https%3A%2F%2Fevil.example").parse().unwrap();
    assert_eq!(callback(&browser, &mix_up, NOW), Err(OidcError::Issuer));
    // Another URL in it breaks its MAC.
    let state = BASE64_URL_SAFE_NO_PAD.decode(query(&reply.location, "state")).unwrap();
    let altered = String::from_utf8(state).unwrap().replace("shop.example/cart", "evil.example/cart");
    let altered = format!("/oauth2/callback?code=c&state={}", BASE64_URL_SAFE_NO_PAD.encode(altered)).parse().unwrap();
    assert_eq!(callback(&browser, &altered, NOW), Err(StateError::Altered.into()));
    // A login is over once it has come to its end.
    let done = come_back(&oidc, &mut browser, &reply).unwrap();
    browser.keep(&done.set_cookies);
    assert_eq!(callback(&browser, &uri, NOW), Err(StateError::NoFlow.into()));
}

#[test]
fn a_state_of_another_host_is_taken_where_cookies_are_shared() {
    let shared = |domain: Option<&str>| Oidc {
        cookies: CookieAttributes { domain: domain.map(Into::into), ..CookieAttributes::default() },
        ..oidc()
    };
    for (domain, is_taken) in [(Some("example"), true), (Some("hop.example"), false), (None, false)] {
        let oidc = shared(domain);
        let mut browser = Browser::default();
        let reply = login(&oidc, &mut browser, "/cart", 1, NOW);
        let (headers, uri) = (browser.headers(), callback_path(&reply));
        let there = OidcRequest { authority: "login.example", host: "login.example", ..request(&headers, &uri) };
        assert_eq!(oidc.callback(&there, NOW).is_ok(), is_taken, "{domain:?}");
    }
}

#[test]
fn id_tokens_are_checked() {
    let oidc = oidc();
    let mut browser = Browser::default();
    let reply = login(&oidc, &mut browser, "/", 1, NOW);
    let (headers, uri) = (browser.headers(), callback_path(&reply));
    let back = request(&headers, &uri);
    let pending = oidc.callback(&back, NOW).unwrap().unwrap_err();
    let nonce = query(&reply.location, "nonce");
    let judge = |token: Option<Token>| oidc.logged_in(&back, &pending, &tokens(token), &key_set(), NOW).map(drop);
    let with = |name: &str, value: Value| {
        let mut claims = claims(&nonce);
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        judge(Some(id_token(&claims)))
    };
    let token = |error: JwtError| Err(OidcError::IdToken(IdTokenError::Token(error)));
    let wrong = |error: IdTokenError| Err(OidcError::IdToken(error));
    assert_eq!(judge(None), wrong(IdTokenError::Missing));
    assert_eq!(with("sub", json!("u")), Ok(()));
    assert_eq!(with("iss", json!("https://evil.example")), token(JwtError::Issuer));
    assert_eq!(with("iss", Value::Null), token(JwtError::Issuer));
    assert_eq!(with("aud", json!("other")), token(JwtError::Audience));
    assert_eq!(with("aud", json!(["shop", "other"])), wrong(IdTokenError::AuthorizedParty));
    assert_eq!(with("azp", json!("other")), wrong(IdTokenError::AuthorizedParty));
    assert_eq!(with("azp", json!("shop")), Ok(()));
    assert_eq!(with("nonce", json!("other")), wrong(IdTokenError::Nonce));
    assert_eq!(with("nonce", Value::Null), wrong(IdTokenError::NoClaim("nonce")));
    assert_eq!(with("sub", Value::Null), wrong(IdTokenError::NoClaim("sub")));
    assert_eq!(with("iat", Value::Null), wrong(IdTokenError::NoClaim("iat")));
    assert_eq!(with("iat", json!(NOW + 61)), wrong(IdTokenError::IssuedAt));
    assert_eq!(with("exp", Value::Null), wrong(IdTokenError::NoClaim("exp")));
    assert_eq!(with("exp", json!(NOW - 61)), token(JwtError::Expired));
    assert_eq!(with("exp", json!("1")), token(JwtError::Claim("exp")));
    let good = id_token(&claims(&nonce));
    let (message, _) = good.expose().rsplit_once('.').unwrap();
    assert_eq!(
        judge(Some(Token::new(format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode([1; 64]))))),
        token(JwtError::Signature)
    );
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let payload = message.split_once('.').unwrap().1;
    assert_eq!(judge(Some(Token::new(format!("{none}.{payload}.")))), token(JwtError::Algorithm));
    let symmetric = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    assert_eq!(judge(Some(Token::new(format!("{symmetric}.{payload}.eA")))), wrong(IdTokenError::Symmetric));
    let other_key = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"2"}"#);
    let unknown = judge(Some(Token::new(format!("{other_key}.{payload}.eA")))).unwrap_err();
    assert!(unknown.is_missing_key());
}

#[test]
fn a_session_goes_on_for_the_same_user() {
    let oidc = oidc();
    let mut browser = log_in(&oidc);
    let later = NOW + 301;
    // Browsers drop what is too old.
    browser.0.retain(|name, _| name.starts_with("RefreshToken") || name.starts_with("IdToken"));
    let OidcStep::Refresh(refresh) = step(&oidc, &browser, "/", later) else { panic!("no refresh") };
    assert!(oidc.refresh_request(&provider(), &refresh).body.starts_with("grant_type=refresh_token&refresh_token=refresh"));
    let (headers, uri) = (browser.headers(), Uri::from_static("/"));
    let again = request(&headers, &uri);
    let other = id_token(&json!({"iss": ISSUER, "aud": "shop", "sub": "other", "exp": later + 300, "iat": later}));
    let refused = oidc.refreshed(&again, &refresh, tokens(Some(other)), &key_set(), later).unwrap_err();
    assert_eq!(refused, OidcError::IdToken(IdTokenError::Subject));
    // Neither a new ID token nor a new refresh token: those of before stay.
    let response = TokenResponse { refresh_token: None, ..tokens(None) };
    let LoggedIn { session, set_cookies } = oidc.refreshed(&again, &refresh, response, &key_set(), later).unwrap();
    assert!(session.id_token.is_some());
    browser.keep(&set_cookies);
    assert_eq!(browser.0.len(), 5);
    assert!(matches!(step(&oidc, &browser, "/", later), OidcStep::Session(_)));
    assert!(matches!(step(&oidc, &browser, "/", later + 301), OidcStep::Refresh(_)));
    assert!(matches!(step(&oidc, &browser, "/", later + 604_801), OidcStep::Login));
    assert!(matches!(step(&Oidc { uses_refresh_token: false, ..support::oidc() }, &browser, "/", later + 301), OidcStep::Login));
}

#[test]
fn logout_deletes_the_session_and_tells_the_provider() {
    let oidc = oidc();
    let mut browser = log_in(&oidc);
    assert!(matches!(step(&oidc, &browser, "/logout", NOW), OidcStep::Logout));
    let (headers, uri) = (browser.headers(), Uri::from_static("/logout"));
    let reply = oidc.logout(Some(&provider()), &request(&headers, &uri), NOW).unwrap();
    assert!(reply.location.to_str().unwrap().starts_with("https://id.example/end?id_token_hint="));
    assert_eq!(query(&reply.location, "post_logout_redirect_uri"), "https://shop.example/");
    browser.keep(&reply.set_cookies);
    assert!(browser.0.is_empty());
    let reply = oidc.logout(None, &request(&headers, &uri), NOW).unwrap();
    assert_eq!(reply.location, "https://shop.example/");
}

#[test]
fn strict_cookies_are_sent_again_after_a_page_of_the_site_itself() {
    let cookies = CookieAttributes { same_site: SameSite::Strict, ..CookieAttributes::default() };
    let oidc = Oidc { cookies, ..oidc() };
    let mut browser = Browser::default();
    let reply = login(&oidc, &mut browser, "/?a=1&b=%22", 1, NOW);
    assert!(reply.page.is_none() && reply.set_cookies[0].to_str().unwrap().ends_with("SameSite=Lax"));
    let reply = come_back(&oidc, &mut browser, &reply).unwrap();
    assert!(reply.page.unwrap().contains("url=https://shop.example/?a=1&amp;b=%22\""));
    assert!(reply.set_cookies[0].to_str().unwrap().ends_with("SameSite=Strict"));
}

#[test]
fn scripts_get_no_redirect_and_bearers_pass_to_jwt() {
    let bearer = CredentialSource::Header { name: header::AUTHORIZATION, prefix: "Bearer ".into(), is_prefix_required: true };
    let oidc = Oidc { pass_through: vec![bearer], ..oidc() };
    let script = HeaderMap::from_iter([(HeaderName::from_static("x-requested-with"), HeaderValue::from_static("XMLHttpRequest"))]);
    let uri = Uri::from_static("/");
    assert!(matches!(oidc.step(&request(&script, &uri), NOW), OidcStep::Unauthorized));
    let machine = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"))]);
    assert!(matches!(oidc.step(&request(&machine, &uri), NOW), OidcStep::PassThrough));
    let other = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Basic t"))]);
    assert!(matches!(oidc.step(&request(&other, &uri), NOW), OidcStep::Login));
}

#[test]
fn tokens_too_long_for_cookies_are_refused_and_plain_ones_stay_plain() {
    let oidc = Oidc { encrypts_tokens: false, ..oidc() };
    let browser = log_in(&oidc);
    assert_eq!(browser.0[&*oidc.cookie_names.access_token], "access");
    assert!(!browser.0[&*oidc.cookie_names.refresh_token].contains("refresh"));
    let mut browser = Browser::default();
    let reply = login(&oidc, &mut browser, "/", 1, NOW);
    let (headers, uri) = (browser.headers(), callback_path(&reply));
    let back = request(&headers, &uri);
    let pending = oidc.callback(&back, NOW).unwrap().unwrap_err();
    let good = id_token(&claims(&query(&reply.location, "nonce")));
    for access in ["a".repeat(40_000), "a;b".to_owned()] {
        let response = TokenResponse { access_token: Token::new(access), ..tokens(Some(good.clone())) };
        assert_eq!(oidc.logged_in(&back, &pending, &response, &key_set(), NOW), Err(OidcError::TooLarge));
    }
    let response = TokenResponse { expires_in: None, ..tokens(Some(good)) };
    assert_eq!(oidc.logged_in(&back, &pending, &response, &key_set(), NOW), Err(OidcError::NoExpiry));
}

proptest! {
    #[test]
    fn no_cookie_and_no_state_that_others_make_is_accepted(cookie in "[ -~]{0,200}", state in "[ -~]{0,200}", json in "\\{\"url\":\"[ -~]{0,40}\",\"flow_id\":\"[0-9a-f]{26}\",\"csrf_token\":\"[ -~]{0,43}\"\\}") {
        let oidc = oidc();
        let names = &oidc.cookie_names;
        let line = format!("{cookie}; {}={cookie}; {}={cookie}; {}=1900000000; {}={state}", names.access_token, names.hmac, names.expires, names.refresh_token);
        let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(line).unwrap())]);
        let uri = Uri::from_static("/");
        let request = request(&headers, &uri);
        prop_assert!(matches!(oidc.step(&request, NOW), OidcStep::Login));
        let cookies = Cookies::read(&headers);
        prop_assert!(oidc.find_flow(&request, &cookies, state.as_bytes(), NOW).is_err());
        prop_assert!(oidc.find_flow(&request, &cookies, BASE64_URL_SAFE_NO_PAD.encode(&json).as_bytes(), NOW).is_err());
        let mut rest = headers.clone();
        oidc.remove_cookies(&mut rest);
        let left = Cookies::read(&rest);
        prop_assert!(left.find(&names.access_token).is_none() && left.find(&names.refresh_token).is_none());
    }
}
