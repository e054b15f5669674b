//! Documents that a policy has fetched, before their servers are resolved for a rule.

use pailou_api::{
    envoy::{ENVOY_GROUP, backend_settings::BackendSettings},
    refs::BackendRef,
};
use pailou_auth::DocumentId;
use pailou_snapshot::{DocumentContent, RemoteDocument};

use crate::{grants::Referrer, index::Index, servers, status::Problem};

use super::super::{server_settings, traffic::Traffic, values::invalid};

/// Most servers of a document.
const MAX_BACKENDS: usize = 16;

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

/// Servers of a document, as the policy names them.
#[derive(Clone, Copy)]
pub(super) struct Servers<'s> {
    /// Path of the document in the policy.
    pub(super) field: &'s str,
    /// The policy's namespace.
    pub(super) namespace: &'s str,
    pub(super) refs: &'s [BackendRef],
    pub(super) settings: Option<&'s BackendSettings>,
}

impl PolicyDocument {
    /// A document and its servers. `make` makes the document with the settings of the servers.
    ///
    /// # Errors
    /// The first server or setting that cannot be had.
    pub(super) fn new(
        index: &Index<'_>,
        servers: Servers<'_>,
        make: impl FnOnce(&Traffic) -> RemoteDocument,
    ) -> Result<Self, Problem> {
        let Servers { field, namespace, refs, settings } = servers;
        if refs.len() > MAX_BACKENDS {
            return Err(invalid(&format!("{field}.backendRefs: {} servers, but at most {MAX_BACKENDS} are allowed", refs.len())));
        }
        for (place, to) in refs.iter().enumerate() {
            let found = servers::check(index, referrer(namespace), &to.target());
            found.map_err(|problem| invalid(&format!("{field}.backendRefs[{place}]: {}", problem.message)))?;
        }
        let traffic = server_settings::read(index, field, settings)?;
        let document = make(&traffic);
        let document = RemoteDocument { id: identity(&document, servers), ..document };
        Ok(Self { field: field.to_owned(), namespace: namespace.to_owned(), refs: refs.to_vec(), traffic, document })
    }

    /// The policy, as one that refers to others.
    pub(crate) fn referrer(&self) -> Referrer<'_> {
        referrer(&self.namespace)
    }

    /// Field of a URL that asks for TLS: secrets, codes, tokens and keys would else cross the network in clear.
    pub(crate) fn tls_field(&self) -> Option<&'static str> {
        let is_https = |url: &str| url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        match &self.document.content {
            DocumentContent::Keys => is_https(&self.document.uri).then_some("URL"),
            DocumentContent::Provider(provider) if provider.token_endpoint.as_deref().is_some_and(is_https) => {
                Some("tokenEndpoint")
            }
            DocumentContent::Provider(provider) => is_https(&provider.issuer).then_some("issuer"),
        }
    }
}

fn referrer(namespace: &str) -> Referrer<'_> {
    Referrer { group: ENVOY_GROUP, kind: "SecurityPolicy", namespace }
}

/// One document for all policies that name it by the same URLs, servers, times and settings: it is fetched once, and no policy decides
/// over another's.
fn identity(document: &RemoteDocument, Servers { namespace, refs, settings, .. }: Servers<'_>) -> DocumentId {
    let servers = refs.iter().map(|to| {
        let port = to.port.map_or(0, |port| port.get());
        format!("{}/{}/{}/{}:{port}*{}", to.group, to.kind, to.namespace.as_deref().unwrap_or(namespace), to.name, to.weight)
    });
    let times = [document.connect_timeout, document.cache_duration, document.failed_refetch_duration];
    let own = [document.uri.to_string(), format!("{:?}", document.content), format!("{times:?} {settings:?}")];
    let parts: Vec<String> = own.into_iter().chain(servers).collect();
    DocumentId::of(parts.iter().map(String::as_str))
}
