//! Exchanges with providers: how many, and which of them others have to wait for (SecurityPolicy `oidc`).

use tokio::task::JoinSet;

use crate::support::{
    ear::Ear,
    login::{SECRETS, guarded_route, serve},
    objects::{Gateway, backend, raw},
    provider::{Browser, Provider},
};

#[tokio::test]
async fn a_state_that_is_sent_again_and_again_asks_the_provider_once() {
    let (gateway, _ear, provider) = serve("}").await;
    let mut browser = Browser::default();
    let callback = provider.confirm(&browser.get(&gateway, "/", "").await.location);
    provider.holds.send_replace(true);
    let (mut first, mut again) = (browser.clone(), browser);
    let replays = async {
        provider.asked("/token", 1).await;
        for _ in 0..5 {
            let seen = again.get(&gateway, &callback, "").await;
            assert_eq!(seen.status, 401, "{}", seen.text);
            assert!(seen.text.contains("this login is over, or is being completed; open the page again"), "{}", seen.text);
        }
        provider.holds.send_replace(false);
    };
    let (seen, ()) = tokio::join!(first.get(&gateway, &callback, ""), replays);
    assert_eq!(seen.status, 302, "{}", seen.text);
    // Neither after the login, nor after one that the provider refuses.
    assert_eq!(again.get(&gateway, &callback, "").await.status, 401);
    let mut other = Browser::default();
    let callback = provider.confirm(&other.get(&gateway, "/", "").await.location).replace("code=code", "code=forged");
    for _ in 0..3 {
        assert_eq!(other.get(&gateway, &callback, "").await.status, 401);
    }
    assert_eq!(provider.count("/token"), 2);
}

#[tokio::test]
async fn a_client_that_leaves_while_its_code_is_exchanged_comes_back_to_its_login() {
    let (gateway, _ear, provider) = serve("}").await;
    let mut browser = Browser::default();
    let callback = provider.confirm(&browser.get(&gateway, "/", "").await.location);
    provider.holds.send_replace(true);
    let mut left = browser.clone();
    tokio::select! {
        _ = left.get(&gateway, &callback, "") => panic!("an answer while the provider holds"),
        () = provider.asked("/token", 1) => {}
    }
    provider.holds.send_replace(false);
    let mut replay = browser.clone();
    let seen = loop {
        let seen = browser.get(&gateway, &callback, "").await;
        // Until the gateway sees that the first has left.
        if seen.status != 401 {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(seen.status, 302, "{}", seen.text);
    assert_eq!(replay.get(&gateway, &callback, "").await.status, 401, "a login has one answer");
    assert_eq!(provider.count("/token"), 1);
}

#[tokio::test]
async fn a_provider_that_hangs_stops_no_logins_at_another() {
    let (ear, hanging, other) = (Ear::start().await, Provider::start().await, Provider::start().await);
    let routes = [guarded_route("hanging", &hanging, ""), guarded_route("other", &other, "")];
    let objects = [&*routes.concat(), &backend("ear", ear.address, ""), SECRETS].concat();
    let gateway = Gateway::serve(&objects);
    let mut session = Browser::default();
    session.log_in(&gateway, &hanging, "/hanging").await;
    session.cookies.retain(|name, _| name.starts_with("RefreshToken"));
    hanging.holds.send_replace(true);
    let mut logins = JoinSet::new();
    // As many as one provider may have under way.
    for _ in 0..32 {
        let mut browser = Browser::default();
        let callback = hanging.confirm(&browser.get(&gateway, "/hanging", "").await.location);
        let (address, request) = (gateway.address, browser.head(&callback, "connection: close\r\n\r\n"));
        logins.spawn(async move { raw(address, &request).await });
    }
    hanging.asked("/token", 33).await;
    // Sessions have room of their own.
    let (address, request) = (gateway.address, session.head("/hanging", "connection: close\r\n\r\n"));
    let refresh = tokio::spawn(async move { raw(address, &request).await });
    hanging.asked("/token", 34).await;
    let seen = Browser::default().log_in(&gateway, &other, "/other").await;
    assert_eq!(seen.status, 302, "{}", seen.text);
    hanging.holds.send_replace(false);
    assert!(refresh.await.unwrap().starts_with("HTTP/1.1 200 "));
    for seen in logins.join_all().await {
        assert!(seen.starts_with("HTTP/1.1 302 "), "{seen}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_session_is_refreshed_loses_nothing() {
    let (gateway, ear, provider) = serve(", forwardAccessToken: true}").await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, &provider, "/").await;
    browser.cookies.retain(|name, _| name.starts_with("RefreshToken") || name.starts_with("IdToken"));
    provider.holds.send_replace(true);
    let mut left = browser.clone();
    tokio::select! {
        _ = left.get(&gateway, "/", "") => panic!("an answer while the provider holds"),
        () = provider.asked("/token", 2) => {}
    }
    provider.holds.send_replace(false);
    // The refresh token has been used: the answer to it is kept.
    let seen = browser.get(&gateway, "/", "").await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert!(ear.next().await.contains("\r\nauthorization: bearer access-3\r\n"));
    assert_eq!(provider.count("/token"), 2);
}

#[tokio::test]
async fn a_client_secret_that_is_wrong_ends_no_session() {
    let (gateway, _ear, provider) = serve("}").await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, &provider, "/").await;
    browser.cookies.retain(|name, _| name.starts_with("RefreshToken"));
    provider.state.lock().client_secret = Some("another");
    let seen = browser.get(&gateway, "/", "").await;
    assert_eq!(seen.status, 503, "{}", seen.text);
    gateway.log.line("invalid_client").await;
    provider.state.lock().client_secret = None;
    assert_eq!(browser.get(&gateway, "/", "").await.status, 200);
}
