//! Fetches of key sets: before a request needs them, again when their time is over, and soon after a failure.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use pailou_auth::{DocumentId, JwkSet};
use pailou_snapshot::RemoteDocument;

use crate::{
    cluster::{Background, ClusterState},
    context::Context,
    dns::Dns,
    key_sets::KeySet,
    remote_document::fetch,
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
            let Some((document, clusters)) = self.document() else { return };
            let found = match fetch(&document, &clusters, &self.dns).await {
                Ok(text) => JwkSet::parse(&text).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let Some(set) = self.set.upgrade() else { return };
            let pause = match found {
                Ok(keys) => {
                    if std::mem::take(&mut has_failed) {
                        tracing::info!(uri = %document.uri, "keys of tokens can be fetched again");
                    }
                    set.fetched(Some(Arc::new(keys)));
                    jittered(document.cache_duration)
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        let consequence = if set.has_keys() { "the last ones go on" } else { "tokens cannot be verified" };
                        tracing::warn!(uri = %document.uri, error, "keys of tokens cannot be fetched; {consequence}");
                    }
                    set.fetched(None);
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

    /// The document, and its servers.
    fn document(&self) -> Option<(Arc<RemoteDocument>, Servers)> {
        let runtime = self.context.upgrade()?.runtime.load_full()?;
        let document = runtime.snapshot().documents.iter().find(|document| document.id == self.id)?;
        let clusters = document.backends.iter();
        let clusters = clusters.filter_map(|(weight, key)| Some((*weight, Arc::clone(runtime.find(key)?))));
        Some((Arc::clone(document), clusters.collect()))
    }
}

/// A pause up to a tenth longer or shorter, so that replicas do not keep step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + fastrand::f64() / 5.0)
}
