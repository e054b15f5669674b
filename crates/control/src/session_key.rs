//! The key that proxies keep sessions with (SecurityPolicy `oidc`). A Secret of the controller's namespace holds it, the same for all
//! replicas and over their restarts; the feed hands it to the proxies that need it.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use pailou_compile::{SESSION_KEY, SESSION_KEY_SECRET};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time;

use crate::backoff::Backoff;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read or create it: {0}")]
    Api(#[from] kube::Error),
    #[error("the system gives no random bytes")]
    Random,
}

/// Creates the Secret, unless it is there. One that is there stays as it is, be it Envoy Gateway's.
pub async fn create(client: Client, namespace: String) {
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));
    while let Err(error) = create_once(&secrets).await {
        tracing::warn!("no key for sessions (SecurityPolicy oidc) in Secret {namespace}/{SESSION_KEY_SECRET}: {error}");
        time::sleep(backoff.failed()).await;
    }
}

async fn create_once(secrets: &Api<Secret>) -> Result<(), Error> {
    if secrets.get_opt(SESSION_KEY_SECRET).await?.is_some() {
        return Ok(());
    }
    let mut key = vec![0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| Error::Random)?;
    let metadata = ObjectMeta { name: Some(SESSION_KEY_SECRET.to_owned()), ..ObjectMeta::default() };
    let data = BTreeMap::from([(SESSION_KEY.to_owned(), ByteString(key))]);
    let secret = Secret { metadata, data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() };
    match secrets.create(&PostParams::default(), &secret).await {
        // Another replica was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => Ok(created.map(drop)?),
    }
}
