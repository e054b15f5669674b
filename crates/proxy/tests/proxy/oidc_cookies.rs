//! Cookies of sessions: which requests bear them to a backend (SecurityPolicy `oidc`).

use crate::support::{
    ear::Ear,
    login::{SECRETS, guarded_route, open_route},
    objects::{Gateway, backend},
    provider::{Browser, Provider},
};

#[tokio::test]
async fn no_route_of_the_host_lets_cookies_of_a_session_through() {
    let (ear, provider) = (Ear::start().await, Provider::start().await);
    let plain = ", disableTokenEncryption: true, cookieNames: {accessToken: at}";
    let routes = [guarded_route("one", &provider, ""), guarded_route("plain", &provider, plain), open_route("open")].concat();
    let gateway = Gateway::serve(&[&*routes, &backend("ear", ear.address, ""), SECRETS].concat());
    let mut browser = Browser::default();
    browser.cookies.insert("theme".to_owned(), "dark".to_owned());
    for path in ["/one", "/plain"] {
        assert_eq!(browser.log_in(&gateway, &provider, path).await.status, 302);
    }
    // A login that is under way, and a session of each policy.
    browser.get(&gateway, "/one/logout", "").await;
    browser.get(&gateway, "/one", "").await;
    assert!(browser.cookies.contains_key("at") && browser.cookies.keys().any(|name| name.starts_with("OauthNonce-")));
    for path in ["/open", "/plain"] {
        assert_eq!(browser.get(&gateway, path, "").await.status, 200, "{path}");
        let head = ear.next().await;
        assert!(head.contains("\r\ncookie: theme=dark\r\n"), "{path}: {head}");
    }
}

#[tokio::test]
async fn callback_and_logout_are_found_however_a_client_writes_them() {
    let (ear, provider) = (Ear::start().await, Provider::start().await);
    let gateway = Gateway::serve(&[&*guarded_route("one", &provider, ""), &backend("ear", ear.address, ""), SECRETS].concat());
    let mut browser = Browser::default();
    let callback = provider.confirm(&browser.get(&gateway, "/one", "").await.location);
    let callback = callback.replace("/one/callback", "/one//x/..%2fc%61llback");
    assert_eq!(browser.get(&gateway, &callback, "").await.status, 302);
    assert_eq!(browser.get(&gateway, "/one", "").await.status, 200);
    assert_eq!(browser.get(&gateway, "/one/./log%6Fut", "").await.status, 302);
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies.keys());
}
