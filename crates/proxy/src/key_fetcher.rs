//! Fetches of key sets and providers: before a request needs them, again when their time is over, and soon after a failure.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use http::Uri;
use pailou_auth::{DiscoveryError, DocumentId, JwkSet, JwkSetError};
use pailou_snapshot::{DocumentContent, RemoteDocument};

use crate::{
    cluster::{Background, ClusterState},
    context::Context,
    dns::Dns,
    key_sets::{FetchedKeys, KeySet},
    local_addresses::LocalAddresses,
    remote_document::{DocumentServers, FetchError},
    runtime::Runtime,
};

/// Shortest pause between two fetches, whatever the configuration says.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// Takes over the documents of the snapshot that has come into force.
pub(crate) fn update(context: &Arc<Context>, runtime: &Runtime, background: &Background) {
    let start = |id| {
        let set = Arc::new(KeySet::default());
        let (context, dns) = (Arc::downgrade(context), background.dns.clone());
        background.tasks.spawn(Fetcher { id, context, dns, set: Arc::downgrade(&set) }.run());
        set
    };
    context.key_sets.update(runtime.snapshot().documents.iter().map(|document| document.id), start);
}

/// Clusters of a set's servers, by weight.
type Servers = Vec<(u32, Arc<ClusterState>)>;

/// The task of one set. It ends when no snapshot names the set.
struct Fetcher {
    id: DocumentId,
    context: Weak<Context>,
    dns: Dns,
    set: Weak<KeySet>,
}

impl Fetcher {
    async fn run(self) {
        let mut has_failed = false;
        while self.set.strong_count() > 0 {
            // As the configuration has it now.
            let Some((document, clusters, local_addresses)) = self.document() else { return };
            let connect_timeout = document.connect_timeout;
            let servers = DocumentServers { clusters: &clusters, dns: &self.dns, connect_timeout, local_addresses };
            let found = fetch(&document, &servers).await.map_err(|error| Arc::<str>::from(error.to_string()));
            let Some(set) = self.set.upgrade() else { return };
            let pause = match found {
                Ok(fetched) => {
                    if std::mem::take(&mut has_failed) {
                        tracing::info!(uri = %document.uri, "{} can be fetched again", subject(&document));
                    }
                    set.put(Ok(fetched));
                    jittered(document.cache_duration)
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        let consequence = match &document.content {
                            _ if set.has_keys() => "the last ones go on",
                            DocumentContent::Keys => "tokens cannot be verified",
                            DocumentContent::Provider(_) => "nobody can log in",
                        };
                        tracing::warn!(uri = %document.uri, %error, "{} cannot be fetched; {consequence}", subject(&document));
                    }
                    set.put(Err(error));
                    jittered(document.failed_refetch_duration)
                }
            };
            // A configuration that goes ends the wait within a pause.
            tokio::select! {
                () = tokio::time::sleep(pause.max(MIN_PAUSE)) => {}
                () = set.wanted() => {}
            }
        }
    }

    /// The document, its servers, and whether they may be the machine itself.
    fn document(&self) -> Option<(Arc<RemoteDocument>, Servers, LocalAddresses)> {
        let context = self.context.upgrade()?;
        let runtime = context.runtime.load_full()?;
        let document = runtime.snapshot().documents.iter().find(|document| document.id == self.id)?;
        let clusters = document.backends.iter();
        let clusters = clusters.filter_map(|(weight, key)| Some((*weight, Arc::clone(runtime.find(key)?))));
        Some((Arc::clone(document), clusters.collect(), context.local_addresses))
    }
}

/// Name of a document's content in the log.
fn subject(document: &RemoteDocument) -> &'static str {
    match document.content {
        DocumentContent::Keys => "keys of tokens",
        DocumentContent::Provider(_) => "endpoints and keys of an identity provider",
    }
}

/// Reason why keys cannot be had.
#[derive(Debug, thiserror::Error)]
enum KeyFetchError {
    #[error("{0} is no URL")]
    Url(Box<str>),
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Keys(#[from] JwkSetError),
    #[error("{0}")]
    Discovery(#[from] DiscoveryError),
}

/// Fetches keys, and before that the provider's endpoints where they lead to the keys.
async fn fetch(document: &RemoteDocument, servers: &DocumentServers<'_>) -> Result<FetchedKeys, KeyFetchError> {
    let uri: Uri = document.uri.parse().map_err(|_| KeyFetchError::Url(document.uri.clone()))?;
    let text = servers.fetch(&uri).await?;
    let DocumentContent::Provider(settings) = &document.content else {
        return Ok(FetchedKeys { keys: Arc::new(JwkSet::parse(&text)?), provider: None });
    };
    let provider = settings.read_discovery(&text)?;
    let keys = JwkSet::parse(&servers.fetch(&provider.jwks_uri).await?)?;
    Ok(FetchedKeys { keys: Arc::new(keys), provider: Some(Arc::new(provider)) })
}

/// A pause up to a tenth longer or shorter, so that replicas do not keep step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + fastrand::f64() / 5.0)
}
