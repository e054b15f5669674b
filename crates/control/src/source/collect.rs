//! The collector: every task's changes in one store, compiled once for a burst.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use pailou_config::compile::{Compiler, Settings};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time,
};

use super::{change::Change, live::LiveTable, pods, scopes::Scopes, world::World};
use crate::{events::Events, metrics::Metrics, published::Published};

/// A burst is over when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(5);
/// A burst that does not end is compiled after this long all the same.
const BURST: Duration = Duration::from_millis(50);
/// How often it is said what is still waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// The collector.
pub(crate) struct Collector {
    scopes: Scopes,
    changes: mpsc::Receiver<Change>,
    settings: watch::Receiver<Settings>,
    published: watch::Sender<Option<Published>>,
    metrics: Arc<Metrics>,
    world: World,
    bundles: BTreeMap<String, Option<String>>,
    compiler: Option<(Settings, Compiler)>,
}

impl Collector {
    /// A collector that has heard nothing yet.
    pub(crate) fn new(
        scopes: Scopes,
        changes: mpsc::Receiver<Change>,
        settings: watch::Receiver<Settings>,
        published: watch::Sender<Option<Published>>,
        live: Arc<LiveTable>,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        let world = World::new(settings.borrow().controllers.clone(), live, events, metrics.clone());
        Self { scopes, changes, settings, published, metrics, world, bundles: BTreeMap::new(), compiler: None }
    }

    /// Collects and compiles until every watch and whoever sets the settings is gone.
    pub(crate) async fn run(mut self) {
        let mut is_waiting = true;
        loop {
            tokio::select! {
                change = self.changes.recv() => match change {
                    Some(change) => self.take(change),
                    None => return,
                },
                settings = self.settings.changed() => match settings {
                    Ok(()) => self.world.is_dirty = true,
                    Err(_) => return,
                },
                () = time::sleep(PATIENCE), if is_waiting => {
                    tracing::warn!("still waiting for the first list of {}", self.scopes.awaited().join(", "));
                }
            }
            self.burst().await;
            self.follow_pods();
            if self.world.is_dirty && (!is_waiting || self.scopes.is_synced()) {
                is_waiting = false;
                self.world.is_dirty = false;
                self.compile().await;
            }
        }
    }

    async fn burst(&mut self) {
        let end = time::Instant::now() + BURST;
        while let Ok(Some(change)) = time::timeout_at(end.min(time::Instant::now() + QUIET), self.changes.recv()).await {
            self.take(change);
        }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Replace(run, objects) if self.scopes.is_current(&run) => {
                self.scopes.synced(&run);
                self.world.replace(&run.scope, objects);
            }
            Change::Upsert(run, seen) if self.scopes.is_current(&run) => self.world.upsert(run.scope.kind, *seen),
            Change::Delete(run, key) if self.scopes.is_current(&run) => self.world.delete(&key),
            Change::Replace(..) | Change::Upsert(..) | Change::Delete(..) => {}
            Change::Served { kind, group, version, plural } => self.scopes.serve(kind, group, version, &plural),
            Change::Unserved { kind, group } => {
                let gone = self.scopes.unserve(kind, group);
                self.world.delete_all(&gone);
            }
            Change::Bundles(bundles) => {
                self.bundles = bundles;
                self.world.is_dirty = true;
            }
            Change::Listed => self.scopes.listed(),
        }
    }

    /// Watches the Pods that InferencePools select now.
    fn follow_pods(&mut self) {
        if std::mem::take(&mut self.world.are_pools_dirty) {
            let gone = self.scopes.select_pods(pods::selectors(&self.world.store));
            self.world.delete_all(&gone);
        }
    }

    async fn compile(&mut self) {
        let settings = Settings { bundles: self.bundles.clone(), ..self.settings.borrow_and_update().clone() };
        let mut compiler = match self.compiler.take() {
            Some((known, compiler)) if known == settings => compiler,
            _ => Compiler::new(settings.clone()),
        };
        let (store, start) = (self.world.store.clone(), Instant::now());
        let work = spawn_blocking(move || {
            let compiled = compiler.update(&store);
            (store, compiler, compiled)
        });
        let (store, compiler, compiled) = match work.await {
            Ok(done) => done,
            // The next change tries again, from nothing.
            Err(error) => return tracing::error!(%error, "compiling failed; what was known stays"),
        };
        let took = start.elapsed();
        self.metrics.compiled(took, store.len());
        let milliseconds = took.as_secs_f64() * 1e3;
        match self.published.borrow().is_some() {
            true => tracing::debug!("{} objects compiled in {milliseconds:.1} ms", store.len()),
            false => tracing::info!("everything is known: {} objects compiled in {milliseconds:.1} ms", store.len()),
        }
        self.compiler = Some((settings.clone(), compiler));
        let published = Published {
            store,
            objects: self.world.objects.clone(),
            settings: Arc::new(settings),
            compiled,
            held: self.world.held.clone(),
        };
        self.published.send_replace(Some(published));
    }
}
