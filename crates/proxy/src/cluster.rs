//! A cluster's run-time state: its endpoints, how they fare, and which one a request goes to.
//!
//! Choosing reads one immutable `View` and a few atomics; whatever changes the view (endpoints that come and go, health,
//! settings) builds a new one behind a lock that no request waits for.

mod background;
mod endpoint;
mod hash;
mod maglev;
mod outlier;
mod priority;
mod settings;
mod token;
mod view;

pub use background::Background;
use background::CheckTask;
pub use endpoint::{Attempt, EndpointConnection, EndpointId, EndpointState};
pub(crate) use hash::cookie;
pub use hash::{HashedRequest, hash_of};
pub use outlier::AttemptOutcome;
pub(crate) use priority::Census;
pub(crate) use settings::ClusterSettings;
pub(crate) use token::EndpointToken;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use arc_swap::{ArcSwap, Guard};
use pailou_picker::{PickError, PickRequest, Picked, PoolEndpoint, PoolState, PromptTokens, QueueTerms, TokenQuestion, TokensWay};
use pailou_snapshot::{ActiveCheck, Address, Cluster, ClusterKey, ClusterKind, Endpoint, PassiveCheck};
use parking_lot::{Mutex, MutexGuard};
use view::{Members, View};

/// The state of a cluster. It outlives reloads for as long as its [`ClusterKey`] stays, and its endpoints' state for as long
/// as their addresses stay.
pub struct ClusterState {
    key: ClusterKey,
    this: Weak<Self>,
    settings: ArcSwap<ClusterSettings>,
    view: ArcSwap<View>,
    /// The picker's part, where the cluster is an InferencePool: all clusters of a pool share one.
    pool: Option<Arc<PoolState>>,
    /// Held to change the view; never by a request, but one that ejects an endpoint.
    updating: Mutex<Updating>,
    turn: AtomicUsize,
    /// Connections to endpoints that were ever opened.
    opened: AtomicU64,
    background: Background,
}

#[derive(Debug, Default)]
struct Updating {
    cell: Arc<[Endpoint]>,
    next_id: u32,
    checks: HashMap<EndpointId, CheckTask>,
}

impl Updating {
    fn new_id(&mut self) -> EndpointId {
        let id = EndpointId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        id
    }
}

impl ClusterState {
    /// A cluster with these endpoints; `pool` is the picker's part of an InferencePool. Its health checks run in the background
    /// and end with it.
    pub fn new(
        settings: Arc<Cluster>,
        endpoints: Arc<[Endpoint]>,
        pool: Option<Arc<PoolState>>,
        background: &Background,
    ) -> Arc<Self> {
        let cluster = Arc::new_cyclic(|this| Self {
            pool,
            key: settings.key.clone(),
            this: this.clone(),
            settings: ArcSwap::from_pointee(ClusterSettings::new(settings, background.local_backends, None)),
            view: ArcSwap::default(),
            updating: Mutex::default(),
            turn: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            background: background.clone(),
        });
        cluster.update_endpoints(&endpoints);
        cluster
    }

    /// Its identity.
    pub fn key(&self) -> &ClusterKey {
        &self.key
    }

    /// Its settings, as of the newest snapshot.
    pub fn settings(&self) -> Arc<Cluster> {
        Arc::clone(&self.settings.load().cluster)
    }

    /// The same, with what is made of them once.
    pub(crate) fn current_settings(&self) -> Arc<ClusterSettings> {
        self.settings.load_full()
    }

    /// State of the built-in picker, if the cluster is an InferencePool. [`ClusterState::pick`] picks by it, with what this
    /// cluster's health checks found.
    pub fn pool(&self) -> Option<&Arc<PoolState>> {
        self.pool.as_ref()
    }

    /// Connections to its endpoints that were ever opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// How many endpoints there are, and how many of them are healthy.
    pub(crate) fn census(&self) -> Census {
        self.view.load().census
    }

    /// Chooses an endpoint. `hash` is what a consistent hash is taken of ([`hash_of`]); without one such a cluster is spread
    /// at random. `None`: there is no endpoint, or none is healthy and panic is switched off.
    pub fn choose(&self, hash: Option<u64>) -> Option<Attempt> {
        self.choose_excluding(hash, &[])
    }

    /// Chooses an endpoint for a further attempt: one not tried yet where there is one, of the same priority first, then of
    /// others; else one tried before.
    pub fn choose_excluding(&self, hash: Option<u64>, tried: &[EndpointId]) -> Option<Attempt> {
        self.choose_at(hash, tried, Instant::now)
    }

    /// As [`ClusterState::choose_excluding`], by the caller's clock, which is read only while an endpoint is ejected.
    pub fn choose_at(&self, hash: Option<u64>, tried: &[EndpointId], now: impl FnOnce() -> Instant) -> Option<Attempt> {
        self.view_at(now).choose(hash, tried, &self.turn).map(EndpointState::attempt)
    }

    /// The view, renewed where an ejected endpoint returns.
    fn view_at(&self, now: impl FnOnce() -> Instant) -> Guard<Arc<View>> {
        let mut view = self.view.load();
        if let Some(at) = view.returns_at {
            let now = now();
            // A request that finds the lock taken uses the old view: another is about to replace it.
            if at <= now
                && let Some(updating) = self.updating.try_lock()
            {
                self.refresh(&updating, now);
                drop(updating);
                view = self.view.load();
            }
        }
        view
    }

    /// Picks an endpoint of a pool: those that health checks rule out, active or passive, come last.
    ///
    /// # Errors
    /// As [`PoolState::pick`]; a cluster that is no pool has no endpoint to pick.
    pub fn pick(&self, request: &PickRequest<'_>) -> Result<Picked, PickError> {
        let pool = self.pool.as_ref().ok_or(PickError::NoEndpoints)?;
        let view = self.view_at(Instant::now);
        pool.pick(&PickRequest { avoided: view.avoided(), ..*request })
    }

    /// The choice that [`ClusterState::pick`] would make now, with its reasons. Nothing comes of it.
    pub(crate) fn preview(&self, request: &PickRequest<'_>) -> Option<pailou_picker::Receipt> {
        let pool = self.pool.as_ref()?;
        let view = self.view_at(Instant::now);
        pool.preview(&PickRequest { avoided: view.avoided(), ..*request })
    }

    /// The same for an endpoint that has room, if no other request waits for it; as [`ClusterState::pick`] in a pool whose requests do not
    /// wait.
    ///
    /// # Errors
    /// As [`PoolState::pick_if_room`].
    pub fn pick_if_room(&self, request: &PickRequest<'_>) -> Result<Picked, PickError> {
        let pool = self.pool.as_ref().ok_or(PickError::NoEndpoints)?;
        let view = self.view_at(Instant::now);
        pool.pick_if_room(&PickRequest { avoided: view.avoided(), ..*request })
    }

    /// Waits in the pool's queue for an endpoint that has room.
    ///
    /// # Errors
    /// As [`PoolState::wait`].
    pub async fn wait_for_room(&self, request: &PickRequest<'_>, terms: &QueueTerms<'_>) -> Result<Picked, PickError> {
        let pool = self.pool.as_ref().ok_or(PickError::NoEndpoints)?;
        let pick = || {
            let view = self.view_at(Instant::now);
            pool.pick_in_turn(&PickRequest { avoided: view.avoided(), ..*request })
        };
        pool.wait(request, terms, pick).await
    }

    /// Tokens of a request's prompt, as [`PoolState::prompt_tokens`]; an engine that health checks rule out is not asked while another may
    /// be.
    ///
    /// # Errors
    /// They are to be estimated.
    pub async fn prompt_tokens(&self, question: &TokenQuestion<'_>) -> Result<PromptTokens, TokensWay> {
        let pool = self.pool.as_ref().ok_or_else(TokensWay::unneeded)?;
        let view = Guard::into_inner(self.view_at(Instant::now));
        pool.prompt_tokens(&TokenQuestion { avoided: view.avoided(), ..*question }).await
    }

    /// An attempt at an endpoint that was picked. `None`: it is not there any more.
    pub fn attempt_picked(&self, picked: &Arc<PoolEndpoint>) -> Option<Attempt> {
        self.view.load().members.picked(picked).map(EndpointState::attempt)
    }

    /// An attempt at an endpoint that was picked and has gone since: at what has its address now, else at it as it was. A Pod that ends
    /// answers for some time yet.
    pub(crate) fn attempt_gone(&self, picked: &Arc<PoolEndpoint>) -> Attempt {
        let endpoint = picked.endpoint();
        if let Some(state) = self.view.load().members.find(&endpoint.address) {
            return state.attempt();
        }
        let id = self.updating.lock().new_id();
        Arc::new(EndpointState::new(id, endpoint.clone(), Some(Arc::clone(picked)), self.this.clone())).attempt()
    }

    /// The endpoint of a session, as long as it is there and may be used.
    pub(crate) fn of_session(&self, token: EndpointToken) -> Option<Arc<EndpointState>> {
        let view = self.view_at(Instant::now);
        let endpoint = view.members.by_token(&self.key.endpoints, token)?;
        view.is_usable(endpoint).then(|| Arc::clone(endpoint))
    }

    /// The endpoint of a consistent hash.
    pub(crate) fn of_hash(&self, hash: u64) -> Option<Arc<EndpointState>> {
        self.view_at(Instant::now).choose(Some(hash), &[], &self.turn).cloned()
    }

    /// Whether an endpoint that may be used was not tried.
    pub(crate) fn has_untried(&self, tried: &[EndpointId]) -> bool {
        self.view.load().has_untried(tried)
    }

    /// Whether there is an endpoint with this address.
    pub fn has_endpoint(&self, address: &Address) -> bool {
        self.view.load().members.find(address).is_some()
    }

    /// All endpoints, for metrics and diagnosis.
    pub fn endpoints(&self) -> Vec<Arc<EndpointState>> {
        self.view.load().members.iter().cloned().collect()
    }

    /// Takes a new list of endpoints. Those that stay keep their state.
    pub fn update_endpoints(&self, endpoints: &Arc<[Endpoint]>) {
        let mut updating = self.updating.lock();
        if Arc::ptr_eq(&updating.cell, endpoints) {
            return;
        }
        let same = updating.cell == *endpoints;
        updating.cell = Arc::clone(endpoints);
        if !same {
            self.rebuild(&mut updating, Instant::now());
        }
    }

    /// Takes new settings under the same key.
    pub fn update_settings(&self, settings: &Arc<Cluster>) {
        let mut updating = self.updating.lock();
        let old = self.settings.load_full();
        if Arc::ptr_eq(&old.cluster, settings) {
            return;
        }
        self.settings.store(Arc::new(ClusterSettings::new(Arc::clone(settings), self.background.local_backends, Some(&old))));
        let old = &old.cluster;
        if old.health.active != settings.health.active || old.protocol != settings.protocol {
            updating.checks.clear();
        }
        let balances_alike = old.load_balancer == settings.load_balancer && old.health == settings.health;
        if self.pool.is_some() || !balances_alike || old.protocol != settings.protocol {
            self.rebuild(&mut updating, Instant::now());
        }
    }

    /// Takes an active check's verdict.
    pub(crate) fn set_passes_checks(&self, endpoint: &EndpointState, passes: bool) {
        if endpoint.passes_checks.swap(passes, Ordering::AcqRel) != passes {
            let name = &endpoint.endpoint().name;
            tracing::info!(cluster = %self.key.endpoints, endpoint = %name, healthy = passes, "health check");
            self.refresh(&self.updating.lock(), Instant::now());
        }
    }

    fn count_failure(&self, endpoint: &EndpointState, outcome: AttemptOutcome, now: impl FnOnce() -> Instant) {
        let settings = self.settings();
        if let Some(check) = &settings.health.passive
            && endpoint.fails_too_often(check, outcome)
        {
            self.eject(endpoint, check, now());
        }
    }

    fn eject(&self, endpoint: &EndpointState, check: &PassiveCheck, now: Instant) {
        let updating = self.updating.lock();
        endpoint.failures().answered();
        let members = Arc::clone(&self.view.load().members);
        let is_member = members.iter().any(|member| member.id() == endpoint.id());
        let ejected = members.iter().filter(|member| member.ejection.lock().holds(now)).count();
        if !is_member || endpoint.ejection.lock().holds(now) || !outlier::may_eject(check, ejected, members.len()) {
            return;
        }
        endpoint.ejection.lock().start(check, now);
        tracing::info!(cluster = %self.key.endpoints, endpoint = %endpoint.endpoint().name, "ejected");
        self.refresh(&updating, now);
    }

    /// A new view of other endpoints or settings. A pool's picker takes them after it, so that whatever is picked can be attempted.
    fn rebuild(&self, updating: &mut Updating, now: Instant) {
        let settings = self.settings();
        let cell = Arc::clone(&updating.cell);
        match (&self.pool, &settings.kind) {
            (Some(state), ClusterKind::Pool(pool)) => {
                state.update_after(Arc::clone(pool), &cell, |picked| self.replace_view(updating, &settings, picked, now));
            }
            _ => self.replace_view(updating, &settings, &[], now),
        }
    }

    /// `picked` are the picker's endpoints, where the cluster is a pool.
    fn replace_view(&self, updating: &mut Updating, settings: &Cluster, picked: &[Arc<PoolEndpoint>], now: Instant) {
        let old = Arc::clone(&self.view.load().members);
        let picked: HashMap<_, _> = picked.iter().map(|endpoint| (&endpoint.endpoint().address, endpoint)).collect();
        let cell = Arc::clone(&updating.cell);
        let members = Members::build(settings, &cell, |endpoint| {
            let picked = picked.get(&endpoint.address).copied();
            match old.find(&endpoint.address) {
                Some(state) if state.endpoint().name == endpoint.name && state.is_of(picked) => Arc::clone(state),
                _ => Arc::new(EndpointState::new(updating.new_id(), endpoint.clone(), picked.cloned(), self.this.clone())),
            }
        });
        self.watch(updating, &members, settings.health.active.as_ref());
        self.view.store(Arc::new(View::new(Arc::new(members), &settings.health, now)));
    }

    /// A new view of the same endpoints, whose health changed.
    fn refresh(&self, _updating: &MutexGuard<'_, Updating>, now: Instant) {
        let members = Arc::clone(&self.view.load().members);
        self.view.store(Arc::new(View::new(members, &self.settings().health, now)));
    }

    /// Starts active checks of new endpoints and ends those of endpoints gone.
    fn watch(&self, updating: &mut Updating, members: &Members, check: Option<&ActiveCheck>) {
        let Some(check) = check else {
            updating.checks.clear();
            members.iter().for_each(|endpoint| endpoint.passes_checks.store(true, Ordering::Release));
            return;
        };
        let mut old = std::mem::take(&mut updating.checks);
        updating.checks = members
            .iter()
            .map(|endpoint| {
                let task = old.remove(&endpoint.id());
                (endpoint.id(), task.unwrap_or_else(|| CheckTask::start(&self.background, &self.this, endpoint, check)))
            })
            .collect();
    }
}

/// The parts of the requests that preferred clusters and fallback ones get, by Envoy's default panic threshold.
pub(crate) fn shares(levels: [Census; 2]) -> [u32; 2] {
    let shares = priority::shares(&levels, view::PANIC_THRESHOLD);
    [0, 1].map(|level| shares[level].weight)
}

impl fmt::Debug for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterState").field("key", &self.key).field("view", &self.view).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
