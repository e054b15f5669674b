//! Documents that the gateway fetches and keeps fresh.

use std::time::Duration;

use pailou_auth::{DocumentId, ProviderSettings};

use super::ClusterKey;

/// A document behind a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteDocument {
    /// Its identity: state with the same one carries over from one snapshot to the next.
    pub id: DocumentId,
    /// URL, of `http` or `https`.
    pub uri: Box<str>,
    /// Its kind.
    pub content: DocumentContent,
    /// The clusters of its servers by weight; the URL's host where there are none.
    pub backends: Box<[(u32, ClusterKey)]>,
    /// Time for a connection.
    pub connect_timeout: Duration,
    /// Time after which it is fetched again.
    pub cache_duration: Duration,
    /// Time after which a failed fetch is repeated.
    pub failed_refetch_duration: Duration,
}

/// Kind of a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DocumentContent {
    /// A set of keys.
    Keys,
    /// The endpoints of a provider of OpenID Connect. Its keys are behind one of them, and fetched with them.
    Provider(Box<ProviderSettings>),
}
