//! The collector: every task's changes in one store, compiled once for a burst.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use pailou_config::{
    compile::{Compiler, Settings},
    parse::ParseError,
    resources::{Kind, Object, ObjectKey},
    store::Store,
};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time,
};

use super::{
    change::{Change, Run, Scope},
    classes::{self, Held, Holder},
    live::{Live, LiveTable},
    pods,
    scopes::Scopes,
    seen::Seen,
};
use crate::{
    events::{Events, Regarding},
    metrics::Metrics,
    published::{Objects, Published},
};

/// A burst is over when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(5);
/// A burst that does not end is compiled after this long all the same.
const BURST: Duration = Duration::from_millis(50);
/// Objects that are remembered as unreadable; of others it is said whenever they come.
const MAX_UNREADABLE: usize = 10_000;
/// How often it is said what is still waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// The collector.
pub(crate) struct Collector {
    scopes: Scopes,
    changes: mpsc::Receiver<Change>,
    settings: watch::Receiver<Settings>,
    published: watch::Sender<Option<Published>>,
    live: Arc<LiveTable>,
    metrics: Arc<Metrics>,
    events: Events,
    store: Arc<Store>,
    objects: Arc<Objects>,
    held: Arc<Held>,
    /// Objects that could not be read, by the version that could not: each is said once.
    unreadable: HashMap<ObjectKey, String>,
    is_dirty: bool,
    are_pools_dirty: bool,
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
        Self {
            scopes,
            changes,
            settings,
            published,
            live,
            metrics,
            store: Arc::default(),
            objects: Arc::default(),
            held: Arc::default(),
            unreadable: HashMap::new(),
            events,
            is_dirty: true,
            are_pools_dirty: false,
            compiler: None,
        }
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
                    Ok(()) => self.is_dirty = true,
                    Err(_) => return,
                },
                () = time::sleep(PATIENCE), if is_waiting => {
                    tracing::warn!("still waiting for the first list of {}", self.scopes.awaited().join(", "));
                }
            }
            self.burst().await;
            self.follow_pods();
            if self.is_dirty && (!is_waiting || self.scopes.is_synced()) {
                is_waiting = false;
                self.is_dirty = false;
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
            Change::Replace(run, objects) if self.scopes.is_current(&run) => self.replace(&run, objects),
            Change::Upsert(run, seen) if self.scopes.is_current(&run) => self.upsert(run.scope.kind, *seen),
            Change::Delete(run, key) if self.scopes.is_current(&run) => self.delete(&key),
            Change::Replace(..) | Change::Upsert(..) | Change::Delete(..) => {}
            Change::Served { kind, group, version, plural } => self.scopes.serve(kind, group, version, &plural),
            Change::Unserved { kind, group } => {
                let gone = self.scopes.unserve(kind, group);
                self.delete_all(&gone);
            }
            Change::Listed => self.scopes.listed(),
        }
    }

    fn replace(&mut self, run: &Run, objects: Vec<Seen>) {
        self.scopes.synced(run);
        let listed: BTreeSet<ObjectKey> = objects.iter().map(|seen| seen.key.clone()).collect();
        for key in self.keys(&run.scope) {
            if !listed.contains(&key) {
                self.delete(&key);
            }
        }
        objects.into_iter().for_each(|seen| self.upsert(run.scope.kind, seen));
    }

    fn upsert(&mut self, kind: Kind, seen: Seen) {
        let entry = match seen.entry {
            Ok(entry) => entry,
            Err(ref errors) => return self.undecodable(kind, &seen, errors),
        };
        let Seen { key, live, json, .. } = seen;
        self.unreadable.remove(&key);
        if let Some(live) = live {
            let holder = classes::holder(&entry, &live, &self.settings.borrow().controllers);
            let is_held = matches!(entry.object, Object::GatewayClass(_)) && self.hold(&key, holder, &live);
            self.live.put(&key, live);
            if is_held {
                return;
            }
        }
        self.are_pools_dirty |= matches!(entry.object, Object::InferencePool(_));
        match Arc::make_mut(&mut self.store).upsert(entry) {
            Ok(changed) => self.is_dirty |= changed,
            Err(error) => return tracing::error!("{error}"),
        }
        Arc::make_mut(&mut self.objects).insert(Arc::new(key), json);
    }

    /// Says what is wrong with an object. What it was before, if it was anything, goes on being served.
    fn undecodable(&mut self, kind: Kind, seen: &Seen, errors: &[ParseError]) {
        if self.unreadable.get(&seen.key) == Some(&seen.resource_version) {
            return;
        }
        self.metrics.undecodable(kind);
        if self.unreadable.len() < MAX_UNREADABLE || self.unreadable.contains_key(&seen.key) {
            self.unreadable.insert(seen.key.clone(), seen.resource_version.clone());
        }
        let note = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let is_served = self.objects.contains_key(&seen.key);
        tracing::warn!("{} is not read{}: {note}", seen.key, if is_served { ", and what it was before stays" } else { "" });
        let regarding = Regarding { key: &seen.key, api_version: &seen.api_version, uid: &seen.uid };
        self.events.warn(regarding, "Read", "Invalid", &note);
    }

    /// Notes who holds a class. Gives back whether another controller does; the class then leaves the store.
    fn hold(&mut self, key: &ObjectKey, holder: Option<Holder>, live: &Live) -> bool {
        if self.held.get(&key.name) == holder.as_ref() {
            return holder.is_some();
        }
        self.is_dirty = true;
        let Some(holder) = holder else {
            Arc::make_mut(&mut self.held).remove(&key.name);
            tracing::info!("{key} is held by no other controller any more");
            return false;
        };
        let message = format!(
            "left alone with everything under it: {} has written its status. To hand it over, remove that controller and create \
             the class anew",
            holder.manager
        );
        tracing::warn!("{key} is {message}");
        let regarding = Regarding { key, api_version: &live.api_version, uid: &live.uid };
        self.events.warn(regarding, "Accept", "HeldByAnotherController", &message);
        Arc::make_mut(&mut self.held).insert(key.name.clone(), holder);
        self.take_out(key);
        true
    }

    fn delete(&mut self, key: &ObjectKey) {
        if key.kind == Kind::GatewayClass.name() {
            Arc::make_mut(&mut self.held).remove(&key.name);
        }
        self.live.remove(key);
        self.unreadable.remove(key);
        self.take_out(key);
    }

    fn take_out(&mut self, key: &ObjectKey) {
        if self.objects.contains_key(key) {
            Arc::make_mut(&mut self.objects).remove(key);
            Arc::make_mut(&mut self.store).delete(key);
            self.is_dirty = true;
            self.are_pools_dirty |= key.kind == Kind::InferencePool.name();
        }
    }

    fn delete_all(&mut self, scopes: &[Scope]) {
        for key in scopes.iter().flat_map(|scope| self.keys(scope)).collect::<Vec<_>>() {
            self.delete(&key);
        }
    }

    /// Everything that is known of a scope, in the store or not.
    fn keys(&self, scope: &Scope) -> Vec<ObjectKey> {
        let class = |name: &String| ObjectKey::new(scope.group, Kind::GatewayClass.name(), "", name);
        let held = self.held.keys().map(class);
        let stored = self.store.of_kind(scope.kind).map(|entry| entry.object.key());
        stored.chain(held).chain(self.unreadable.keys().cloned()).filter(|key| scope.covers(key)).collect()
    }

    /// Watches the Pods that InferencePools select now.
    fn follow_pods(&mut self) {
        if std::mem::take(&mut self.are_pools_dirty) {
            let gone = self.scopes.select_pods(pods::selectors(&self.store));
            self.delete_all(&gone);
        }
    }

    async fn compile(&mut self) {
        let settings = self.settings.borrow_and_update().clone();
        let mut compiler = match self.compiler.take() {
            Some((known, compiler)) if known == settings => compiler,
            _ => Compiler::new(settings.clone()),
        };
        let (store, start) = (self.store.clone(), Instant::now());
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
        let published =
            Published { store, objects: self.objects.clone(), settings: Arc::new(settings), compiled, held: self.held.clone() };
        self.published.send_replace(Some(published));
    }
}
