//! Access to a feed: a pod's token leads to its service account, and that to the one Gateway that the controller provisioned it
//! for.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, Client, api::PostParams};
use pailou_api::Gateway;
use pailou_snapshot::Name;

use crate::{
    ClusterState,
    provision::{FEED_AUDIENCE, data_plane},
};

/// Reason to refuse a feed. Its text never holds a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no bearer token")]
    NoToken,
    #[error("the API server cannot review the token: {0}")]
    Unknown(#[source] kube::Error),
    #[error("the token is not valid for this audience")]
    Invalid,
    #[error("{0} is not the service account of a data plane")]
    Stranger(String),
}

/// Finds the Gateway that the bearer of a token serves.
pub(super) async fn gateway(client: &Client, known: &ClusterState, authorization: Option<&str>) -> Result<Name, Refusal> {
    let token = authorization.and_then(|it| it.strip_prefix("Bearer ")).ok_or(Refusal::NoToken)?;
    let audiences = vec![FEED_AUDIENCE.to_owned()];
    let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(audiences) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let review = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await.map_err(Refusal::Unknown)?;
    let status = review.status.unwrap_or_default();
    // An API server that knows nothing of audiences would say that any token is good.
    let is_for_us = status.audiences.iter().flatten().any(|it| it == FEED_AUDIENCE);
    let user = status.user.and_then(|user| user.username).unwrap_or_default();
    if status.authenticated != Some(true) || !is_for_us || user.is_empty() {
        return Err(Refusal::Invalid);
    }
    let account = user.strip_prefix("system:serviceaccount:").and_then(|it| it.split_once(':'));
    account.and_then(|(namespace, name)| served_by(known, namespace, name)).ok_or(Refusal::Stranger(user))
}

fn served_by(known: &ClusterState, namespace: &str, account: &str) -> Option<Name> {
    let mut gateways = known.store.all::<Gateway>().filter(|it| it.meta.namespace == namespace);
    gateways.find(|it| data_plane(&it.meta.name) == account).map(|it| Name::new(namespace, &it.meta.name))
}
