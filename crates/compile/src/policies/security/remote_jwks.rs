//! `remoteJWKS` of a provider of a SecurityPolicy's `jwt`.

use std::time::Duration;

use http::{Uri, uri::Scheme};
use pailou_api::envoy::jwt::RemoteJwks;
use pailou_auth::{DocumentId, has_credentials};
use pailou_snapshot::{DocumentContent, RemoteDocument};

use crate::{index::Index, status::Problem};

use super::super::values::invalid;
use super::policy_document::{PolicyDocument, Servers};

/// Longest URL.
const MAX_URI: usize = 253;
/// Least time between two fetches, and most for a connection: they bound what a policy can ask of a server, and of the gateway.
const MIN_CACHE_DURATION: Duration = Duration::from_secs(1);
const MIN_FAILED_REFETCH_DURATION: Duration = Duration::from_millis(100);
pub(super) const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Envoy Gateway's defaults.
const CACHE_DURATION: Duration = Duration::from_secs(300);
const FAILED_REFETCH_DURATION: Duration = Duration::from_secs(1);

/// Reads the settings.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(index: &Index<'_>, namespace: &str, field: &str, spec: &RemoteJwks) -> Result<PolicyDocument, Problem> {
    if has_credentials(&spec.uri) {
        let message = format!("{field}.uri: it has a user name or a password, which no request would bear: remove it");
        return Err(invalid(&message));
    }
    let wrong = || invalid(&format!("{field}.uri: write a URL of http or https, up to {MAX_URI} characters"));
    let uri: Uri = spec.uri.parse().map_err(|_| wrong())?;
    let is_http = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let has_host = uri.authority().is_some_and(|authority| !authority.host().is_empty());
    if spec.uri.len() > MAX_URI || !is_http || !has_host {
        return Err(wrong());
    }
    let refs = spec.servers();
    let servers = Servers { field, namespace, refs: &refs, settings: spec.backend_settings.as_ref() };
    let duration = |set: Option<pailou_api::Duration>, default| set.map_or(default, |it| it.as_std());
    PolicyDocument::new(index, servers, |traffic| RemoteDocument {
        id: DocumentId::default(),
        uri: spec.uri.as_str().into(),
        content: DocumentContent::Keys,
        backends: Box::default(),
        connect_timeout: traffic.rule().timeouts.connect.min(MAX_CONNECT_TIMEOUT),
        cache_duration: duration(spec.cache_duration, CACHE_DURATION).max(MIN_CACHE_DURATION),
        failed_refetch_duration: duration(spec.failed_refetch_duration, FAILED_REFETCH_DURATION).max(MIN_FAILED_REFETCH_DURATION),
    })
}
