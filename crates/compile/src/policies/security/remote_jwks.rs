//! `remoteJWKS` of a provider of a SecurityPolicy's `jwt`.

use std::{hash::BuildHasher, time::Duration};

use foldhash::fast::FixedState;
use http::{Uri, uri::Scheme};
use pailou_api::{
    envoy::{ENVOY_GROUP, jwt::RemoteJwks},
    refs::BackendRef,
};
use pailou_auth::DocumentId;
use pailou_snapshot::RemoteDocument;

use crate::{grants::Referrer, index::Index, servers, status::Problem};

use super::super::{server_settings, traffic::Traffic, values::invalid};

/// Most servers of a set.
const MAX_BACKENDS: usize = 16;
/// Longest URL.
const MAX_URI: usize = 253;
/// Envoy Gateway's defaults.
const CACHE_DURATION: Duration = Duration::from_secs(300);
const FAILED_REFETCH_DURATION: Duration = Duration::from_secs(1);

/// A document, before its servers are resolved for a rule.
#[derive(Debug)]
pub(crate) struct PolicyDocument {
    /// Path in the policy.
    pub(crate) field: String,
    /// The policy's namespace.
    namespace: String,
    pub(crate) refs: Vec<BackendRef>,
    /// Settings of its clusters.
    pub(crate) traffic: Traffic,
    /// All but the clusters.
    pub(crate) document: RemoteDocument,
}

/// Reads the settings.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(index: &Index<'_>, namespace: &str, field: &str, spec: &RemoteJwks) -> Result<PolicyDocument, Problem> {
    let wrong = || invalid(&format!("{field}.uri: write a URL of http or https, up to {MAX_URI} characters"));
    let uri: Uri = spec.uri.parse().map_err(|_| wrong())?;
    let is_http = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let has_host = uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    if spec.uri.len() > MAX_URI || !is_http || !has_host {
        return Err(wrong());
    }
    let refs = spec.servers();
    if refs.len() > MAX_BACKENDS {
        return Err(invalid(&format!("{field}.backendRefs: {} servers, but at most {MAX_BACKENDS} are allowed", refs.len())));
    }
    for (place, to) in refs.iter().enumerate() {
        let found = servers::check(index, referrer(namespace), &to.target());
        found.map_err(|problem| invalid(&format!("{field}.backendRefs[{place}]: {}", problem.message)))?;
    }
    let traffic = server_settings::read(index, field, spec.backend_settings.as_ref())?;
    let duration = |set: Option<pailou_api::Duration>, default| set.map_or(default, |it| it.as_std());
    let document = RemoteDocument {
        id: identity(namespace, &spec.uri, &refs),
        uri: spec.uri.as_str().into(),
        backends: Box::default(),
        connect_timeout: traffic.rule().timeouts.connect,
        cache_duration: duration(spec.cache_duration, CACHE_DURATION),
        failed_refetch_duration: duration(spec.failed_refetch_duration, FAILED_REFETCH_DURATION),
    };
    Ok(PolicyDocument { field: field.to_owned(), namespace: namespace.to_owned(), refs, traffic, document })
}

impl PolicyDocument {
    /// The policy, as one that refers to others.
    pub(crate) fn referrer(&self) -> Referrer<'_> {
        referrer(&self.namespace)
    }

    /// Whether the URL asks for TLS.
    pub(crate) fn needs_tls(&self) -> bool {
        self.document.uri.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    }
}

fn referrer(namespace: &str) -> Referrer<'_> {
    Referrer { group: ENVOY_GROUP, kind: "SecurityPolicy", namespace }
}

/// One document for all policies that name it by the same URL and servers: it is fetched once.
fn identity(namespace: &str, uri: &str, refs: &[BackendRef]) -> DocumentId {
    let servers = refs.iter().map(|to| {
        let port = to.port.map_or(0, |port| port.get());
        format!("{}/{}/{}/{}:{port}*{}", to.group, to.kind, to.namespace.as_deref().unwrap_or(namespace), to.name, to.weight)
    });
    let parts: Vec<String> = std::iter::once(uri.to_owned()).chain(servers).collect();
    DocumentId(FixedState::with_seed(0).hash_one(parts))
}
