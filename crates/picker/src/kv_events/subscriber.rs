//! Subscribers: a task for each data-parallel rank of an endpoint.

use std::{net::SocketAddr, ops::Range, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use pailou_kv_events::{
    ApplyOutcome, Ingest, Publication, PublisherId, SequenceAction, SequenceKeeper, ZmtpSocket, subscribe_to_all,
};
use pailou_snapshot::KvEvents;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle, time::sleep_until};

use super::{
    KvCache,
    connection::{Connection, ConnectionError},
    replay::{Replay, ReplayEvent},
};
use crate::{endpoint::PoolEndpoint, state::Shared};

/// Pause before the first further attempt to connect, and the longest one, after doubling; up to a half of each is left out at random.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// Time of a connection after which it was a good one, though nothing was published.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);

/// An endpoint's subscribers, which end when this is dropped.
pub(crate) struct Subscribers {
    settings: KvEvents,
    ranks: Range<u16>,
    cache: Arc<KvCache>,
    tasks: Vec<(PublisherId, AbortHandle)>,
}

impl Subscribers {
    /// Subscribes to an endpoint's ranks.
    pub(crate) fn start(
        runtime: &Handle,
        endpoint: &Arc<PoolEndpoint>,
        shared: &Arc<Shared>,
        cache: &Arc<KvCache>,
        settings: KvEvents,
        ranks: Range<u16>,
    ) -> Self {
        let subscribers = ranks.clone().filter_map(|rank| Subscriber::new(endpoint, (shared, cache), settings, rank));
        let start = |subscriber: Subscriber| (subscriber.publisher, runtime.spawn(subscriber.run()).abort_handle());
        Self { settings, ranks, cache: Arc::clone(cache), tasks: subscribers.map(start).collect() }
    }

    pub(crate) fn has(&self, settings: KvEvents, ranks: &Range<u16>) -> bool {
        self.settings == settings && self.ranks == *ranks
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        for (publisher, task) in &self.tasks {
            self.cache.retire(*publisher);
            task.abort();
        }
    }
}

struct Subscriber {
    endpoint: Arc<PoolEndpoint>,
    shared: Arc<Shared>,
    cache: Arc<KvCache>,
    publisher: PublisherId,
    address: SocketAddr,
    replay_address: Option<SocketAddr>,
    keeper: SequenceKeeper<Bytes>,
    ingest: Ingest,
    replay: Option<Replay>,
    is_complete: bool,
    resets: watch::Receiver<u64>,
    /// Whether the operator knows that the publisher cannot be reached, or not be understood.
    is_reported: bool,
}

impl Subscriber {
    fn new(
        endpoint: &Arc<PoolEndpoint>,
        (shared, cache): (&Arc<Shared>, &Arc<KvCache>),
        settings: KvEvents,
        rank: u16,
    ) -> Option<Self> {
        let at = |port: u16| Some(SocketAddr::new(endpoint.address.ip(), port.checked_add(rank)?));
        let cache = Arc::clone(cache);
        let address = at(settings.port)?;
        let replay_address = settings.replay_port.and_then(at);
        Some(Self {
            address,
            replay_address,
            keeper: SequenceKeeper::new(replay_address.is_some()),
            publisher: cache.add_publisher(endpoint.slot)?,
            resets: cache.resets.subscribe(),
            endpoint: Arc::clone(endpoint),
            shared: Arc::clone(shared),
            cache,
            ingest: Ingest::default(),
            replay: None,
            is_complete: false,
            is_reported: false,
        })
    }

    async fn run(mut self) {
        let mut backoff = SHORTEST_BACKOFF;
        loop {
            let error = match Connection::open(self.address, ZmtpSocket::Subscriber, &subscribe_to_all()).await {
                Ok(connection) => {
                    let (opened, understood) = (Instant::now(), self.ingest.counters().events);
                    let error = self.follow(connection).await;
                    if self.ingest.counters().events > understood || opened.elapsed() >= GOOD_CONNECTION {
                        backoff = SHORTEST_BACKOFF;
                        self.is_reported = false;
                    }
                    error
                }
                Err(error) => error,
            };
            self.report(&error);
            tokio::time::sleep(backoff.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    /// Reads a connection to its end.
    async fn follow(&mut self, mut connection: Connection) -> ConnectionError {
        self.resets.mark_unchanged();
        self.advance(|keeper, act| keeper.connected(Instant::now(), act));
        let error = loop {
            let deadline = self.keeper.next_deadline();
            tokio::select! {
                message = connection.next_message() => match message {
                    Ok(frames) => self.take(Publication::new(&frames)),
                    Err(error) => break error,
                },
                event = next_event(&mut self.replay) => self.take_replayed(event),
                () = at(deadline) => self.advance(|keeper, act| keeper.tick(Instant::now(), act)),
                Ok(()) = self.resets.changed() => self.advance(|keeper, act| keeper.connected(Instant::now(), act)),
            }
        };
        self.advance(|keeper, act| keeper.disconnected(act));
        self.set_complete(false);
        error
    }

    fn take(&mut self, batch: Option<Publication>) {
        match batch {
            Some(batch) => self.advance(|keeper, act| keeper.live(batch.number, batch.payload, Instant::now(), act)),
            None => {
                self.ingest.lose();
                self.set_complete(false);
            }
        }
    }

    fn take_replayed(&mut self, event: Option<ReplayEvent>) {
        match event {
            Some(ReplayEvent::Begun) => self.advance(|keeper, _| keeper.replay_begun(Instant::now())),
            Some(ReplayEvent::Batch(batch)) => {
                self.advance(|keeper, act| keeper.replayed(batch.number, batch.payload, Instant::now(), act));
            }
            Some(ReplayEvent::End) => {
                self.replay = None;
                self.advance(|keeper, act| keeper.replay_ended(Instant::now(), act));
            }
            Some(ReplayEvent::Failed(error)) => {
                self.replay = None;
                let (pool, endpoint) = (&self.shared.members.load().pool.name, &self.endpoint.endpoint.name);
                tracing::warn!(%pool, %endpoint, problem = %error, "cannot replay KV events; blocks cached before are unknown");
                self.advance(|keeper, act| keeper.replay_failed(Instant::now(), act));
            }
            None => {
                self.replay = None;
                self.advance(|keeper, act| keeper.replay_failed(Instant::now(), act));
            }
        }
    }

    /// Lets the keeper go on, and does what it says.
    fn advance(&mut self, step: impl FnOnce(&mut SequenceKeeper<Bytes>, &mut dyn FnMut(SequenceAction<Bytes>))) {
        let Self { keeper, cache, publisher, ingest, replay, replay_address, .. } = self;
        let counters = keeper.counters();
        let (mut has_cleared_cache, mut has_lost_cache) = (false, false);
        step(keeper, &mut |action| match action {
            SequenceAction::Clear => {
                has_cleared_cache = false;
                cache.clear(*publisher);
                ingest.clear();
            }
            SequenceAction::Apply { payload, is_live } => {
                let is_clear = cache.apply(*publisher, ingest, &payload, is_live) == ApplyOutcome::Cleared;
                has_cleared_cache |= is_clear;
                // A clear before this connection says nothing of the blocks that requests have left there since.
                has_lost_cache |= is_clear && is_live;
            }
            SequenceAction::Replay { from } => *replay = replay_address.map(|address| Replay::start(cache, address, from)),
            SequenceAction::AbandonReplay => *replay = None,
        });
        if has_cleared_cache {
            self.keeper.cache_cleared();
        }
        self.cache.counters.sequenced(counters, self.keeper.counters());
        if has_lost_cache || self.keeper.counters().restarts > counters.restarts {
            self.shared.members.load().index.clear(&self.endpoint);
            if let Some(exact) = &*self.shared.exact.load() {
                exact.forget(self.endpoint.slot);
            }
        }
        self.set_complete(self.keeper.is_complete() && !self.ingest.has_lost());
        if self.ingest.is_mute() {
            self.report(&"KV events arrive and none is understood");
        }
    }

    fn set_complete(&mut self, is_complete: bool) {
        if std::mem::replace(&mut self.is_complete, is_complete) != is_complete {
            self.cache.set_complete(self.publisher, is_complete);
        }
    }

    /// Logs a problem, once until a connection to the publisher was a good one.
    fn report(&mut self, problem: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.is_reported, true) {
            let (pool, endpoint) = (&self.shared.members.load().pool.name, &self.endpoint.endpoint.name);
            tracing::warn!(%pool, %endpoint, address = %self.address, %problem, "cannot follow KV events; estimating cached prefixes");
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.cache.remove_publisher(self.publisher);
    }
}

async fn next_event(replay: &mut Option<Replay>) -> Option<ReplayEvent> {
    match replay {
        Some(replay) => replay.next().await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
