//! The gateway's own picker, called as the gateway calls it, on the simulation's clock.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use pailou_picker::{EventFeed, Objective, PendingScrape, PickRequest, Picked, PoolState, PromptTokens, QueueTerms, criticality};
use pailou_snapshot::{Address, Endpoint, EndpointRole, KvEvents, ModelServer, Name, Pool, Queueing, RoutingStrategy};
use tokio::runtime::{Builder, Runtime};

use super::{
    block_tokens,
    waiting::{SimulationClock, WaitingRequests},
};
use crate::picker::{
    kv::KvEvent,
    policy::{EndpointPicker, PickCall, ReplicaId, SCRAPE_INTERVAL},
    prompt,
    replica::{EngineStats, Replica, adapter_name},
};

/// Port of the first replica.
const FIRST_PORT: u16 = 10_000;
const MODEL: &str = "qwen";
/// Queueing as annotations switch it on.
const QUEUEING: Queueing = Queueing {
    max_requests: 5_000,
    max_bytes: 1 << 30,
    timeout: Duration::from_secs(60),
    max_concurrency: None,
    reserve: 25,
    evicts: false,
};

/// Our picker.
pub(super) struct Pailou {
    /// One for each gateway.
    states: Vec<Arc<PoolState>>,
    pool: Arc<Pool>,
    /// Start of the run.
    epoch: Instant,
    picked: HashMap<usize, Picked>,
    /// Those of all gateways.
    scrapes: HashMap<ReplicaId, Vec<PendingScrape>>,
    intervals: HashMap<ReplicaId, Duration>,
    /// Ways of engines' events to each gateway, where there are any.
    feeds: HashMap<ReplicaId, Vec<EventFeed>>,
    batch: Vec<u8>,
    text: Vec<u8>,
    /// Objective of every request.
    objective: Objective,
    clock: SimulationClock,
    waiting: WaitingRequests,
    /// Never driven: nothing is scraped from sockets.
    _runtime: Runtime,
}

impl Pailou {
    /// As many gateways, among which requests are dealt out.
    ///
    /// # Errors
    /// When there is no runtime.
    pub(super) fn new(strategy: RoutingStrategy, gateways: usize, seed: u64) -> io::Result<Self> {
        Self::start(strategy, None, None, gateways, seed)
    }

    /// One gateway in which requests wait while the pool is saturated, and leave so many percent of it to those of the highest priority.
    ///
    /// # Errors
    /// As of [`Pailou::new`].
    pub(super) fn queueing(reserve: u8, seed: u64) -> io::Result<Self> {
        Self::start(RoutingStrategy::PrefixCache, None, Some(Queueing { reserve, ..QUEUEING }), 1, seed)
    }

    /// The same, with the events of engines' caches, and prompts whose tokens are known.
    ///
    /// # Errors
    /// As of [`Pailou::new`].
    pub(super) fn exact(gateways: usize, seed: u64) -> io::Result<Self> {
        let events = KvEvents { port: 5557, replay_port: None, ranks: 1, max_blocks: 10_000_000 };
        Self::start(RoutingStrategy::PrefixCache, Some(events), None, gateways, seed)
    }

    fn start(
        strategy: RoutingStrategy,
        kv_events: Option<KvEvents>,
        queueing: Option<Queueing>,
        gateways: usize,
        seed: u64,
    ) -> io::Result<Self> {
        // Ties and the seed of the prefix index come from this thread's generator.
        fastrand::seed(seed);
        let runtime = Builder::new_current_thread().build()?;
        let epoch = Instant::now();
        let pool = Arc::new(Pool { kv_events, queueing, ..Pool::new(Name::new("default", "pool"), ModelServer::Vllm, strategy) });
        let state = |_| PoolState::new_at(Arc::clone(&pool), &[], runtime.handle(), epoch);
        Ok(Self {
            states: (0..gateways).map(state).collect(),
            pool,
            epoch,
            picked: HashMap::new(),
            scrapes: HashMap::new(),
            intervals: HashMap::new(),
            feeds: HashMap::new(),
            batch: Vec::new(),
            text: Vec::new(),
            objective: Objective::default(),
            clock: SimulationClock::new(epoch),
            waiting: WaitingRequests::default(),
            _runtime: runtime,
        })
    }

    /// The same, for requests that want these times kept.
    pub(super) fn with_objective(self, objective: Objective) -> Self {
        Self { objective, ..self }
    }

    /// Picks, or waits in the gateway's queue.
    fn pick_or_wait(&mut self, call: &PickCall<'_>) -> Option<ReplicaId> {
        let (state, clock, text) = (Arc::clone(&self.states[0]), self.clock.clone(), self.text.clone());
        let (priority, max_tokens) = (call.priority, call.max_tokens.map(u64::from));
        let adapter = call.adapter.map(adapter_name);
        let wait = async move {
            let request = PickRequest {
                model: adapter.as_deref().unwrap_or(MODEL),
                prompt: &text,
                input_bytes: text.len(),
                max_tokens,
                criticality: criticality(priority),
                priority,
                tells_prefill: true,
                ..PickRequest::default()
            };
            state.pick_or_wait_by(&clock, &request, &QueueTerms { priority, ..QueueTerms::default() }).await
        };
        let picked = self.waiting.begin(call.id, wait)?.ok()?;
        self.sent(call.id, picked)
    }

    fn sent(&mut self, id: usize, picked: Picked) -> Option<ReplicaId> {
        let replica = replica(&picked);
        self.picked.insert(id, picked);
        replica
    }
}

impl EndpointPicker for Pailou {
    fn pick(&mut self, call: &PickCall<'_>, _: &[Replica], now: Duration) -> Option<ReplicaId> {
        prompt::text(call.prompt, &mut self.text);
        if self.pool.queueing.is_some() {
            self.clock.set(now);
            return self.pick_or_wait(call);
        }
        let adapter = call.adapter.map(adapter_name);
        let tokens = self.subscribes().then(|| PromptTokens::new(block_tokens::of_prompt(call).into(), None, None));
        let request = PickRequest {
            model: adapter.as_deref().unwrap_or(MODEL),
            prompt: &self.text,
            input_bytes: self.text.len(),
            max_tokens: call.max_tokens.map(u64::from),
            criticality: criticality(call.priority),
            priority: call.priority,
            tells_prefill: true,
            objective: self.objective,
            tokens: tokens.as_ref(),
            ..PickRequest::default()
        };
        let gateway = fastrand::usize(..self.states.len());
        let picked = self.states[gateway].pick_at(&request, self.epoch + now).ok()?;
        self.sent(call.id, picked)
    }

    fn is_waiting(&self, id: usize) -> bool {
        self.waiting.has(id)
    }

    fn take_dispatched(&mut self, now: Duration) -> Vec<(usize, Option<ReplicaId>)> {
        self.clock.set(now);
        let mut dispatched = Vec::new();
        while let Some((id, result)) = self.waiting.next() {
            dispatched.push((id, result.ok().and_then(|picked| self.sent(id, picked))));
        }
        dispatched
    }

    fn fail_over(&mut self, call: &PickCall<'_>, _: ReplicaId, _: &[Replica], now: Duration) -> Option<ReplicaId> {
        let picked = self.picked.get_mut(&call.id)?;
        if picked.fail_over_at(self.epoch + now) { replica(picked) } else { None }
    }

    fn first_token(&mut self, id: usize, now: Duration) {
        if let Some(picked) = self.picked.get_mut(&id) {
            picked.first_token_at(true, self.epoch + now);
        }
    }

    fn end(&mut self, id: usize, cached: Option<u32>, output: u32, now: Duration) {
        if let Some(picked) = self.picked.remove(&id)
            && cached.is_some()
        {
            picked.finished_at(cached.map(u64::from), output.into(), self.epoch + now);
        }
    }

    fn set_members(&mut self, members: &[ReplicaId], now: Duration) {
        let endpoints: Vec<_> = members.iter().map(|replica| endpoint(*replica)).collect();
        self.intervals.retain(|replica, _| members.contains(replica));
        for state in &self.states {
            state.update_at(Arc::clone(&self.pool), &endpoints, self.epoch + now);
        }
        self.feeds.retain(|replica, _| members.contains(replica));
        for replica in members.iter().filter(|_| self.pool.kv_events.is_some()) {
            if let Entry::Vacant(vacant) = self.feeds.entry(*replica) {
                vacant.insert(self.states.iter().filter_map(|state| state.event_feed(address(*replica))).collect());
            }
        }
    }

    fn subscribes(&self) -> bool {
        self.pool.kv_events.is_some()
    }

    fn take_events(&mut self, replica: ReplicaId, events: Option<&[KvEvent]>) {
        let Some(feeds) = self.feeds.get_mut(&replica) else { return };
        let Some(events) = events else { return feeds.iter_mut().for_each(EventFeed::restart) };
        block_tokens::encode(events, &mut self.batch);
        feeds.iter_mut().for_each(|feed| feed.apply(&self.batch));
    }

    fn scrapes(&self) -> bool {
        true
    }

    fn begin_scrape(&mut self, replica: ReplicaId) {
        let scrapes = self.states.iter().filter_map(|state| state.begin_scrape(address(replica)));
        self.scrapes.insert(replica, scrapes.collect());
    }

    fn end_scrape(&mut self, replica: ReplicaId, stats: Option<&EngineStats>, now: Duration) -> Duration {
        let page = stats.map(EngineStats::page);
        let interval = self.intervals.entry(replica).or_default();
        let before = *interval;
        *interval = SCRAPE_INTERVAL;
        for scrape in self.scrapes.remove(&replica).into_iter().flatten() {
            *interval = scrape.end(page.as_deref().map(str::as_bytes), before, self.epoch + now);
        }
        *interval
    }
}

fn address(replica: ReplicaId) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + replica as u16))
}

fn endpoint(replica: ReplicaId) -> Endpoint {
    Endpoint {
        address: Address::Socket(address(replica)),
        name: format!("pod-{replica}").into(),
        priority: 0,
        role: EndpointRole::Decode,
        context: None,
    }
}

fn replica(picked: &Picked) -> Option<ReplicaId> {
    let address = picked.endpoint().endpoint().address.socket()?;
    Some(usize::from(address.port() - FIRST_PORT))
}
