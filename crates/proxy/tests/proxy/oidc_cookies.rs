//! Cookies of sessions: which requests bear them to a backend (SecurityPolicy `oidc`).

use crate::support::{
    ear::Ear,
    login::{SECRETS, guarded_route, open_route},
    objects::{GATEWAY, Gateway, backend},
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
async fn a_name_that_a_policy_chooses_counts_in_its_namespace_and_for_its_hosts() {
    let (ear, provider) = (Ear::start().await, Provider::start().await);
    let on_host = |route: String, host: &str| route.replace("parentRefs:", &format!("hostnames: [{host}]\n  parentRefs:"));
    let in_other =
        |object: String, name: &str| object.replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, namespace: other}}"));
    let objects = [
        GATEWAY.replace("protocol: HTTP", "protocol: HTTP, allowedRoutes: {namespaces: {from: All}}"),
        on_host(guarded_route("one", &provider, ", cookieNames: {accessToken: at}"), "a.test"),
        on_host(open_route("open"), "a.test"),
        on_host(open_route("away"), "b.test"),
        // Its Gateway is not in its namespace.
        in_other(on_host(open_route("other"), "a.test"), "other").replace("name: gw", "name: gw, namespace: default"),
        backend("ear", ear.address, ""),
        in_other(backend("ear", ear.address, ""), "ear"),
        SECRETS.to_owned(),
    ];
    let gateway = Gateway::at_own_address(&objects.concat());
    let mut browser = Browser::default();
    assert_eq!(browser.log_in(&gateway, &provider, "/one").await.status, 302);
    browser.cookies.retain(|name, _| name == "at" || name.starts_with("OauthHMAC-"));
    browser.cookies.insert("at".to_owned(), "own".to_owned());
    assert_eq!(browser.cookies.len(), 2);
    for (path, host, rest) in [("/open", "a.test", None), ("/other", "a.test", Some("at=own")), ("/away", "b.test", Some("at=own"))]
    {
        let head = browser.head(path, "").replace("host: a.test", &format!("host: {host}"));
        assert!(gateway.ask(&head).await.starts_with("HTTP/1.1 200 "), "{path}");
        let head = ear.next().await;
        assert_eq!(head.lines().find_map(|line| line.strip_prefix("cookie: ")), rest, "{path}: {head}");
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
