//! The collector: every task's changes in one store, told once for a burst.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pailou_compile::Settings;
use tokio::{
    sync::{mpsc, watch},
    time,
};

use super::{change::Change, object_cache::ObjectCache, pods, scopes::Scopes};
use crate::cluster_state::ClusterState;

/// Length of a burst: a change that comes alone is reported at once, and those within this time after it together.
const BURST: Duration = Duration::from_millis(5);
/// Interval of log lines that name the lists still missing.
const SYNC_REPORT_INTERVAL: Duration = Duration::from_secs(15);

/// The collector.
pub(crate) struct Collector {
    scopes: Scopes,
    changes: mpsc::Receiver<Change>,
    settings: watch::Receiver<Settings>,
    known: watch::Sender<Option<ClusterState>>,
    object_cache: ObjectCache,
    bundles: BTreeMap<String, Option<String>>,
    /// The settings with them, until either changes.
    reported_settings: Option<Arc<Settings>>,
    /// Time of the last report.
    reported_at: time::Instant,
}

impl Collector {
    /// A collector that has heard nothing yet.
    pub(crate) fn new(
        scopes: Scopes,
        changes: mpsc::Receiver<Change>,
        settings: watch::Receiver<Settings>,
        known: watch::Sender<Option<ClusterState>>,
        object_cache: ObjectCache,
    ) -> Self {
        Self {
            scopes,
            changes,
            settings,
            known,
            object_cache,
            bundles: BTreeMap::new(),
            reported_settings: None,
            reported_at: time::Instant::now(),
        }
    }

    /// Collects and reports until every watch and the sender of settings are gone.
    pub(crate) async fn run(mut self) {
        let mut is_waiting = true;
        loop {
            tokio::select! {
                change = self.changes.recv() => match change {
                    Some(change) => self.take(change),
                    None => return,
                },
                settings = self.settings.changed() => match settings {
                    Ok(()) => self.resettle(),
                    Err(_) => return,
                },
                () = time::sleep(SYNC_REPORT_INTERVAL), if is_waiting => {
                    tracing::warn!("still waiting for the first list of {}", self.scopes.awaited().join(", "));
                }
            }
            self.burst().await;
            self.follow_pods();
            if self.object_cache.is_dirty && (!is_waiting || self.scopes.is_synced()) {
                is_waiting = false;
                self.object_cache.is_dirty = false;
                self.report();
            }
        }
    }

    async fn burst(&mut self) {
        while let Ok(Some(change)) = time::timeout_at(self.reported_at + BURST, self.changes.recv()).await {
            self.take(change);
        }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Replace(run, objects) if self.scopes.is_current(&run) => {
                self.scopes.synced(&run);
                self.object_cache.replace(&run.scope, objects);
            }
            Change::Upsert(run, raw) if self.scopes.is_current(&run) => self.object_cache.observe(run.scope.kind, *raw),
            Change::Delete(run, key) if self.scopes.is_current(&run) => self.object_cache.delete(&key),
            Change::Replace(..) | Change::Upsert(..) | Change::Delete(..) => {}
            Change::Served { kind, group, version, plural } => self.scopes.serve(kind, group, version, &plural),
            Change::Unserved { kind, group } => {
                let gone = self.scopes.unserve(kind, group);
                self.object_cache.delete_all(&gone);
            }
            Change::Bundles(bundles) => {
                self.bundles = bundles;
                self.resettle();
            }
            Change::Listed => self.scopes.listed(),
        }
    }

    /// The next report has other settings.
    fn resettle(&mut self) {
        self.reported_settings = None;
        self.object_cache.is_dirty = true;
    }

    /// Watches the Pods that InferencePools select now.
    fn follow_pods(&mut self) {
        if std::mem::take(&mut self.object_cache.are_pools_dirty) {
            let gone = self.scopes.select_pods(pods::selectors(&self.object_cache.store));
            self.object_cache.delete_all(&gone);
        }
    }

    /// Reports the objects as they are now. A slow receiver gets the newest next, and no other waits for it.
    fn report(&mut self) {
        let (settings, bundles) = (&self.settings, &self.bundles);
        let joined = || Arc::new(Settings { bundles: bundles.clone(), ..settings.borrow().clone() });
        let settings = self.reported_settings.get_or_insert_with(joined).clone();
        let ObjectCache { store, objects, held, .. } = &self.object_cache;
        let known = ClusterState { store: store.clone(), objects: objects.clone(), settings, held: held.clone() };
        self.known.send_replace(Some(known));
        self.reported_at = time::Instant::now();
    }
}
