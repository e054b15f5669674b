//! State of a pool between requests.

mod exact;
mod queueing;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use pailou_snapshot::{Endpoint, KvEvents, Name, Pool, RoutingStrategy};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    candidates::saturation_of_pool,
    endpoint::{Members, PoolEndpoint},
    exact_prefixes::{self, ExactPrefixes},
    kv_events::{KvCache, Ranks, Subscribers},
    load::{Load, Tokens},
    objective::{ObjectiveCounts, ObjectiveTotals},
    pick::{self, Gate},
    pick_request::{PickError, PickRequest},
    picked::Picked,
    pool_metrics::PoolReport,
    pool_traits::PoolTraits,
    prefix::PrefixIndex,
    preview,
    receipt::{Receipt, Receipts},
    room::RoomTerms,
    scrape::{Activity, PendingScrape, Scraper, Transport},
    tokens::TokenSource,
};

/// State of a pool's endpoints. It scrapes their metrics for as long as it lives.
pub struct PoolState {
    shared: Arc<Shared>,
    runtime: Handle,
    /// Those of each endpoint. Also what makes updates come one after the other.
    followers: Mutex<HashMap<SocketAddr, Followers>>,
}

/// Context of picks, reservations and scrapers.
pub(crate) struct Shared {
    pub(crate) members: ArcSwap<Members>,
    pub(crate) traits: PoolTraits,
    pub(crate) activity: Activity,
    pub(crate) receipts: Receipts,
    pub(crate) objectives: ObjectiveCounts,
    /// `None` without KV events.
    pub(crate) exact: ArcSwapOption<ExactPrefixes>,
    /// Tokenizers in this process, where there are any.
    pub(crate) token_source: ArcSwapOption<Tokenizers>,
    /// The way to engines' metrics; `None` is plain TCP.
    pub(crate) transport: Mutex<Option<Arc<dyn Transport>>>,
}

/// Tokenizers in this process: a pointer that is swapped holds no trait object.
pub(crate) struct Tokenizers(pub(crate) Arc<dyn TokenSource>);

/// Sockets of a pool's KV events, and the index that they fill.
struct EventSockets<'a> {
    settings: KvEvents,
    ranks: Ranks<'a>,
    cache: Arc<KvCache>,
}

/// Tasks that follow an endpoint.
struct Followers {
    scraper: Scraper,
    subscribers: Option<Subscribers>,
}

/// An endpoint's figures, for the operator.
#[derive(Clone, Debug)]
pub struct EndpointReport {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Whether its engine's own figures are recent; otherwise the next three are estimates from our own requests.
    pub fresh: bool,
    /// Why they cannot be read.
    pub metrics_problem: Option<Arc<str>>,
    /// Requests in its engine's queue.
    pub waiting: f32,
    /// Requests that run.
    pub running: f32,
    /// Share of its KV cache in use, 0 to 1.
    pub kv: f32,
    /// Requests in flight from here.
    pub in_flight: u32,
    /// Requests sent from here since the start, each attempt one.
    pub requests: u64,
    /// Their estimated tokens.
    pub in_flight_tokens: u64,
    /// It has just failed, and comes last.
    pub failing: bool,
    /// Blocks of prompts remembered for it, at most 28,672.
    pub prefix_blocks: usize,
    /// Whether all is known that its engine has cached, by its KV events; `None` without such.
    pub kv_events_complete: Option<bool>,
    /// Prompt tokens that were expected in its cache, of requests that reported how many were.
    pub predicted_tokens: u64,
    /// Prompt tokens that were.
    pub cached_tokens: u64,
}

impl PoolState {
    /// The state of a new pool. It scrapes metrics on the runtime.
    pub fn new(pool: Arc<Pool>, endpoints: &[Endpoint], runtime: &Handle) -> Arc<Self> {
        Self::new_at(pool, endpoints, runtime, Instant::now())
    }

    /// The same as [`PoolState::new`] at this time: a simulator has a clock of its own.
    pub fn new_at(pool: Arc<Pool>, endpoints: &[Endpoint], runtime: &Handle, now: Instant) -> Arc<Self> {
        let members = Members {
            pool: Arc::clone(&pool),
            endpoints: Box::default(),
            has_roles: false,
            has_prefill: false,
            index: Arc::new(PrefixIndex::new()),
            queue: Arc::default(),
        };
        let shared = Shared {
            members: ArcSwap::from_pointee(members),
            traits: PoolTraits::default(),
            activity: Activity::new(now),
            receipts: Receipts::default(),
            objectives: ObjectiveCounts::default(),
            exact: ArcSwapOption::empty(),
            token_source: ArcSwapOption::empty(),
            transport: Mutex::default(),
        };
        let state = Self { shared: Arc::new(shared), runtime: runtime.clone(), followers: Mutex::default() };
        state.update_at(pool, endpoints, now);
        Arc::new(state)
    }

    /// Reads engines' metrics by another way from the next scrape on; `None` is plain TCP, as of a new pool. It is set before the
    /// endpoints that need it.
    pub fn set_transport(&self, transport: Option<Arc<dyn Transport>>) {
        *self.shared.transport.lock() = transport;
    }

    /// Identity of the way to engines' metrics.
    pub fn transport_identity(&self) -> Option<u128> {
        self.shared.transport.lock().as_ref().map(|transport| transport.identity())
    }

    /// Takes new settings and endpoints, both at once. Endpoints that stay (same address and name) keep their state; requests at
    /// those that go end as they would. Endpoints without an IP address are left out.
    pub fn update(&self, pool: Arc<Pool>, endpoints: &[Endpoint]) {
        self.update_at(pool, endpoints, Instant::now());
    }

    /// The same at this time, on a simulator's clock.
    pub fn update_at(&self, pool: Arc<Pool>, endpoints: &[Endpoint], now: Instant) {
        self.replace(pool, endpoints, now, |_| {});
    }

    /// The same as [`PoolState::update`]. `prepare` sees the new endpoints before the first pick does.
    pub fn update_after(&self, pool: Arc<Pool>, endpoints: &[Endpoint], prepare: impl FnOnce(&[Arc<PoolEndpoint>])) {
        self.replace(pool, endpoints, Instant::now(), prepare);
    }

    fn replace(&self, pool: Arc<Pool>, endpoints: &[Endpoint], now: Instant, prepare: impl FnOnce(&[Arc<PoolEndpoint>])) {
        let mut followers = self.followers.lock();
        let before = self.shared.members.load_full();
        if Arc::ptr_eq(&before.pool, &pool) && before.endpoints.iter().map(|state| &state.endpoint).eq(endpoints) {
            return prepare(&before.endpoints);
        }
        let members = Arc::new(before.succeeded(pool, succeed(&before, endpoints, now)));
        prepare(&members.endpoints);
        if members.pool.queueing.is_some() {
            members.queue.turn_on();
        }
        self.shared.members.store(Arc::clone(&members));
        self.shared.traits.update(&members);
        members.queue.note_room();
        let events = exact_prefixes::settings(&members.pool).map(|settings| {
            let exact = self.shared.exact.load_full().unwrap_or_else(|| Arc::new(ExactPrefixes::new()));
            exact.kv_cache.set_max_blocks(settings.max_blocks);
            self.shared.exact.store(Some(Arc::clone(&exact)));
            EventSockets { settings, ranks: Ranks::new(&members.endpoints), cache: Arc::clone(&exact.kv_cache) }
        });
        if events.is_none() {
            self.shared.exact.store(None);
        }
        let mut former = std::mem::take(&mut *followers);
        for endpoint in &members.endpoints {
            let running = former.remove(&endpoint.address).filter(|running| running.scraper.is_of(endpoint));
            followers.insert(endpoint.address, self.follow(endpoint, running, events.as_ref()));
        }
        // Those that go give up their places in the index before others take their slots.
        drop(former);
        for gone in before.endpoints.iter().filter(|endpoint| !members.endpoints.iter().any(|kept| Arc::ptr_eq(kept, endpoint))) {
            members.index.close(gone);
            if let Some(exact) = &*self.shared.exact.load() {
                exact.forget(gone.slot);
            }
        }
        if members.pool.strategy == RoutingStrategy::Load {
            members.endpoints.iter().for_each(|endpoint| members.index.clear(endpoint));
        }
    }

    /// Goes on following an endpoint, or begins.
    fn follow(&self, endpoint: &Arc<PoolEndpoint>, running: Option<Followers>, events: Option<&EventSockets<'_>>) -> Followers {
        let (scraper, subscribers) = running.map_or((None, None), |running| (Some(running.scraper), running.subscribers));
        Followers {
            scraper: scraper.unwrap_or_else(|| Scraper::start(&self.runtime, endpoint, &self.shared)),
            subscribers: events.map(|EventSockets { settings, ranks, cache }| {
                let ranks = ranks.of(endpoint, *settings);
                let subscribers = subscribers.filter(|subscribers| subscribers.has(*settings, &ranks));
                subscribers.unwrap_or_else(|| Subscribers::start(&self.runtime, endpoint, &self.shared, cache, *settings, ranks))
            }),
        }
    }

    /// Picks an endpoint for a request and reserves a place there.
    ///
    /// # Errors
    /// No endpoint may serve it, or none has room and it can be refused.
    pub fn pick(&self, request: &PickRequest<'_>) -> Result<Picked, PickError> {
        self.pick_at(request, Instant::now())
    }

    /// The choice that [`PoolState::pick`] would make now, with its reasons. No place is reserved, and nothing is expected to be cached. `None`: no
    /// endpoint may serve the request.
    pub fn preview(&self, request: &PickRequest<'_>) -> Option<Receipt> {
        preview::preview(&self.shared, request, Instant::now())
    }

    /// Reserves a place for a request that another picker sent to the first of these endpoints; the others follow in their
    /// order. `None`: the pool has none of them.
    pub fn hold(&self, endpoints: &[SocketAddr], input_bytes: usize) -> Option<Picked> {
        pick::hold(&self.shared, endpoints, Tokens::estimate(input_bytes, None))
    }

    /// Whether it has endpoints that prefill for others.
    pub fn has_prefill(&self) -> bool {
        self.shared.traits.has_prefill()
    }

    /// Whether not every endpoint decodes.
    pub fn has_roles(&self) -> bool {
        self.shared.members.load().has_roles
    }

    /// All endpoints.
    pub fn endpoints(&self) -> Vec<Arc<PoolEndpoint>> {
        self.shared.members.load().endpoints.to_vec()
    }

    /// The same as [`PoolState::pick`] at this time, on a simulator's clock.
    ///
    /// # Errors
    /// As of [`PoolState::pick`].
    pub fn pick_at(&self, request: &PickRequest<'_>, now: Instant) -> Result<Picked, PickError> {
        pick::pick(&self.shared, request, Gate::Open, now)
    }

    /// Begins a scrape that a simulator answers: the picker counts its requests in flight at this moment, as at the start of its own
    /// scrapes. `None`: the pool has no endpoint of this address.
    pub fn begin_scrape(&self, address: SocketAddr) -> Option<PendingScrape> {
        let members = self.shared.members.load();
        let endpoint = members.endpoints.iter().find(|endpoint| endpoint.address == address)?;
        Some(PendingScrape::begin(endpoint, &self.shared))
    }

    /// Takes the KV events of an endpoint's engine from a simulator, in a pool whose engines publish them. `None`: the pool has no endpoint of
    /// this address, or no events.
    #[cfg(feature = "simulation")]
    pub fn event_feed(&self, address: SocketAddr) -> Option<crate::EventFeed> {
        let members = self.shared.members.load();
        let endpoint = members.endpoints.iter().find(|endpoint| endpoint.address == address)?;
        crate::EventFeed::new(&self.shared.exact.load().as_ref()?.kv_cache, endpoint.slot)
    }

    /// All endpoints' figures.
    pub fn snapshot(&self) -> Vec<EndpointReport> {
        let now = Instant::now();
        let exact = self.shared.exact.load();
        self.shared.members.load().endpoints.iter().map(|endpoint| report(endpoint, exact.as_deref(), now)).collect()
    }

    /// Objectives of its requests that were kept, and those that were not.
    pub fn objectives(&self) -> ObjectiveTotals {
        self.shared.objectives.totals()
    }

    /// All figures of the pool.
    pub fn report(&self) -> PoolReport {
        let members = self.shared.members.load();
        let saturation = saturation_of_pool(&members, &PickRequest::default(), RoomTerms::of(&members.pool, false), Instant::now())
            .unwrap_or(1.0);
        let Name { namespace, name } = &members.pool.name;
        let (namespace, name) = (namespace.as_ref().into(), name.as_ref().into());
        PoolReport {
            namespace,
            name,
            endpoints: self.snapshot(),
            queue: self.queue(),
            saturation,
            objectives: self.objectives(),
            prefix_blocks: members.index.len(),
        }
    }

    /// Names under which its engines serve models and adapters, as their metrics last had them.
    pub fn served_models(&self) -> BTreeSet<Box<str>> {
        let mut names = BTreeSet::new();
        for endpoint in &self.shared.members.load().endpoints {
            let reading = endpoint.reading.load();
            let Some(figures) = &reading.figures else { continue };
            let adapters = figures.adapters.iter().flat_map(|adapters| adapters.running.iter().chain(&adapters.waiting));
            names.extend(figures.models.iter().chain(adapters).cloned());
        }
        names
    }

    /// Different blocks of prompts in the prefix index: at most 28,672 for each endpoint.
    pub fn prefix_blocks(&self) -> usize {
        self.shared.members.load().index.len()
    }

    /// Keeps the receipts of this many recent requests, at most 4,096; none unless it is called.
    pub fn keep_receipts(&self, count: usize) {
        self.shared.receipts.set_capacity(count);
    }

    /// The receipts kept, the newest last.
    pub fn receipts(&self) -> Vec<Arc<Receipt>> {
        self.shared.receipts.recent()
    }

    #[cfg(test)]
    pub(crate) fn exact(&self) -> Arc<ExactPrefixes> {
        self.shared.exact.load_full().expect("KV events")
    }

    #[cfg(test)]
    pub(crate) fn kv_cache(&self) -> Arc<KvCache> {
        Arc::clone(&self.exact().kv_cache)
    }

    #[cfg(test)]
    pub(crate) fn members(&self) -> Arc<Members> {
        self.shared.members.load_full()
    }
}

impl std::fmt::Debug for PoolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolState").field("pool", &self.shared.members.load().pool.name).finish_non_exhaustive()
    }
}

/// The states of new endpoints: those that were there, and new ones for the others. The first of an address counts.
fn succeed(before: &Members, endpoints: &[Endpoint], now: Instant) -> Box<[Arc<PoolEndpoint>]> {
    let former: HashMap<SocketAddr, &Arc<PoolEndpoint>> = before.endpoints.iter().map(|state| (state.address, state)).collect();
    let taken: HashSet<u16> = before.endpoints.iter().map(|state| state.slot).collect();
    let mut free = (0..u16::MAX).filter(|slot| !taken.contains(slot));
    let mut seen = HashSet::new();
    let states = endpoints.iter().filter(|endpoint| endpoint.address.socket().is_some_and(|address| seen.insert(address)));
    let states = states.filter_map(|endpoint| match former.get(&endpoint.address.socket()?) {
        Some(state) if state.endpoint == *endpoint => Some(Arc::clone(state)),
        _ => PoolEndpoint::new(endpoint, free.next()?, now).map(Arc::new),
    });
    states.collect()
}

fn report(endpoint: &PoolEndpoint, exact: Option<&ExactPrefixes>, now: Instant) -> EndpointReport {
    let level = endpoint.record.in_flight.level();
    let reading = endpoint.reading.load();
    let load = Load::new(level, &reading, now);
    let (predicted_tokens, cached_tokens) = endpoint.accuracy.totals();
    EndpointReport {
        endpoint: endpoint.endpoint.clone(),
        fresh: load.fresh,
        metrics_problem: reading.problem.clone(),
        waiting: load.waiting,
        running: load.running,
        kv: load.kv,
        in_flight: level.requests(),
        requests: endpoint.record.in_flight.begun(),
        in_flight_tokens: level.tokens(),
        failing: endpoint.record.failures.is_last(now),
        prefix_blocks: endpoint.blocks.len(),
        kv_events_complete: exact.and_then(|exact| exact.kv_cache.is_complete(endpoint.slot)),
        predicted_tokens,
        cached_tokens,
    }
}

#[cfg(test)]
mod tests;
