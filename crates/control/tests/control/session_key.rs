//! The Secret with the key of sessions.

use pailou_control::session_key;
use serde_json::json;

use crate::cluster::{client, cluster};

const SECRETS: &str = "/api/v1/secrets";

#[tokio::test(start_paused = true)]
async fn the_key_is_made_once_and_that_of_others_stays() {
    let api = cluster();
    let key = || api.all(SECRETS).iter().find(|it| it["metadata"]["name"] == "envoy-oidc-hmac").map(|it| it["data"].clone());
    session_key::create(client(&api), "pailou".to_owned()).await;
    let made = key().unwrap();
    // 32 bytes in base64.
    assert_eq!(made["hmac-secret"].as_str().unwrap().len(), 44);
    session_key::create(client(&api), "pailou".to_owned()).await;
    assert_eq!(key().unwrap(), made);
    assert_ne!(made, json!({}));
}
