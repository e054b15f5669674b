//! Scraping: every endpoint's metrics, often while the pool has traffic and rarely while it has none.
//!
//! Each endpoint has a task with a connection of its own that stays open, so that an endpoint that hangs delays no other.
//! Requests in flight cover the time between two scrapes, so that these need not follow each other closely: every 50 ms in a
//! pool of up to 25 endpoints, every 200 ms in one of 100, which is 500 scrapes a second at most up to there.

mod client;
mod pending;
mod transport;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::Notify, task::AbortHandle};

use self::client::Client;
pub(crate) use self::client::connect_plain;
pub use self::pending::PendingScrape;
pub use self::transport::{Connecting, Stream, Transport};
use crate::{
    endpoint::{Members, PoolEndpoint},
    load::Level,
    metrics::{Adapters, Figures},
    state::Shared,
};

/// Between two scrapes of an endpoint of a pool with traffic: this for each endpoint of the pool, within the following bounds.
const INTERVAL_PER_ENDPOINT: Duration = Duration::from_millis(2);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
const LONGEST_INTERVAL: Duration = Duration::from_millis(200);
/// Between two scrapes of a pool without traffic, after doubling.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);
/// Between two scrapes of an endpoint that does not answer them, after doubling.
const FAILING_INTERVAL: Duration = Duration::from_secs(2);
/// A pool that was picked from within this time has traffic.
const TRAFFIC: Duration = Duration::from_secs(2);
/// Figures are good for two intervals, but at least for this long.
const LEAST_FRESHNESS: Duration = Duration::from_secs(1);
/// How long after the last figures an engine is taken to run as many requests at once as they showed.
const SLOTS_AGE: Duration = Duration::from_secs(60);
/// Problem of an endpoint that answers, but not with figures.
const NO_FIGURES: &str = "GET /metrics has none of the figures of the pool's kind of engine";
/// Bytes of a prompt per token of the KV cache.
const BYTES_PER_TOKEN: u64 = 4;

/// Result of an endpoint's last scrape.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Its time; `None` if none ever succeeded.
    pub(crate) at: Option<Instant>,
    /// When the next is due after it.
    pub(crate) interval: Duration,
    /// Whether it failed. The other fields are then those of the last that did not.
    pub(crate) failed: bool,
    /// Our requests in flight at its time.
    pub(crate) level: Level,
    /// Requests that the engine runs at once, as far as it has shown.
    pub(crate) slots: Option<u32>,
    /// `None` if the endpoint has none to tell.
    pub(crate) figures: Option<Figures>,
    /// Why there are no recent figures, as the first scrape without them had it.
    pub(crate) problem: Option<Arc<str>>,
}

impl Reading {
    /// The engine's figures, unless they are out of date.
    pub(crate) fn fresh(&self, now: Instant) -> Option<&Figures> {
        // Engines without figures cost no look at the time.
        let (at, figures) = (self.at?, self.figures.as_ref()?);
        let is_good = || now.saturating_duration_since(at) <= (self.interval * 2).max(LEAST_FRESHNESS);
        (!self.failed && is_good()).then_some(figures)
    }

    /// Requests that the engine runs at once, if it has shown that of late: it may have been replaced by another.
    pub(crate) fn recent_slots(&self, now: Instant) -> Option<u32> {
        self.slots.filter(|_| self.at.is_some_and(|at| now.saturating_duration_since(at) <= SLOTS_AGE))
    }

    /// The engine's adapters, unless the figures are out of date.
    pub(crate) fn adapters(&self, now: Instant) -> Option<&Adapters> {
        // Few engines have any.
        self.figures.as_ref()?.adapters.as_ref()?;
        self.fresh(now)?.adapters.as_ref()
    }

    /// State after a scrape with these figures.
    pub(crate) fn successor(&self, figures: Option<Figures>, level: Level, interval: Duration, at: Instant) -> Self {
        let slots = figures.as_ref().and_then(|figures| self.slots_shown(figures));
        Self { at: Some(at), interval, failed: false, level, slots, figures, problem: None }
    }

    /// State after a scrape that failed.
    fn failure(&self, problem: Arc<str>) -> Self {
        Self { failed: true, figures: self.figures.clone(), problem: Some(problem), ..*self }
    }

    /// Whether an engine that told these figures before and those now was restarted in between.
    pub(crate) fn restarted(&self, figures: &Figures) -> bool {
        let Some(before) = &self.figures else { return false };
        let restarted = before.started.zip(figures.started).is_some_and(|(before, now)| now > before);
        restarted || before.served.zip(figures.served).is_some_and(|(before, now)| now < before)
    }

    /// None of what was seen before a restart counts. An engine is full if a queue has stood from one scrape to the next while no more came to run: what has just arrived waits
    /// for the next step even in an empty engine.
    fn slots_shown(&self, figures: &Figures) -> Option<u32> {
        let running = figures.running as u32;
        if self.restarted(figures) {
            return None;
        }
        let stood = self.figures.as_ref().is_some_and(|before| before.waiting > 0.0 && figures.running <= before.running);
        match figures.waiting > 0.0 && stood && running > 0 {
            true => Some(running),
            false => self.slots.map(|slots| slots.max(running)),
        }
    }
}

/// Whether a pool has traffic.
pub(crate) struct Activity {
    epoch: Instant,
    /// When the last pick was, in tenths of a second after `epoch`, plus one; 0 is never.
    last: AtomicU64,
    /// Whether scrapers may be waiting for long.
    idle: AtomicBool,
    woken: Notify,
}

impl Activity {
    pub(crate) fn new(now: Instant) -> Self {
        Self { epoch: now, last: AtomicU64::new(0), idle: AtomicBool::new(false), woken: Notify::new() }
    }

    /// There is a request. Writes only ten times a second: all threads come by here.
    pub(crate) fn touch(&self, now: Instant) {
        let now = self.tick(now);
        if self.last.load(SeqCst) != now {
            self.last.store(now, SeqCst);
        }
        if self.idle.load(SeqCst) && self.idle.swap(false, SeqCst) {
            self.woken.notify_waiters();
        }
    }

    /// Time since the pool's state was made.
    pub(crate) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    fn has_traffic(&self, now: Instant) -> bool {
        let last = self.last.load(SeqCst);
        last != 0 && self.tick(now).saturating_sub(last) <= TRAFFIC.as_millis() as u64 / 100
    }

    fn tick(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64 / 100 + 1
    }
}

/// An endpoint's scraping, which ends when this is dropped.
pub(crate) struct Scraper {
    endpoint: Arc<PoolEndpoint>,
    task: AbortHandle,
}

impl Scraper {
    pub(crate) fn start(runtime: &Handle, endpoint: &Arc<PoolEndpoint>, shared: &Arc<Shared>) -> Self {
        let task = runtime.spawn(run(Arc::clone(endpoint), Arc::clone(shared))).abort_handle();
        Self { endpoint: Arc::clone(endpoint), task }
    }

    pub(crate) fn is_of(&self, endpoint: &Arc<PoolEndpoint>) -> bool {
        Arc::ptr_eq(&self.endpoint, endpoint)
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(endpoint: Arc<PoolEndpoint>, shared: Arc<Shared>) {
    let mut client = Client::new(endpoint.address);
    let mut due = Due { interval: Duration::ZERO, idle: false };
    loop {
        due = scrape(&endpoint, &shared, &mut client, due.interval).await;
        let woken = shared.activity.woken.notified();
        tokio::pin!(woken);
        // Enlisted first, then declared idle, then traffic looked for: a pick either sees the one or is seen by the other.
        woken.as_mut().enable();
        let mut pause = due.interval;
        if due.idle {
            shared.activity.idle.store(true, SeqCst);
            if shared.activity.has_traffic(Instant::now()) {
                pause = SHORTEST_INTERVAL;
            }
        }
        // No two endpoints in step.
        let pause = pause.mul_f32(0.9 + fastrand::f32() * 0.2);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = woken => {}
        }
    }
}

/// When an endpoint is scraped next.
pub(crate) struct Due {
    pub(crate) interval: Duration,
    /// The pool has no traffic, so that the next pick calls for a scrape at once.
    idle: bool,
}

async fn scrape(endpoint: &PoolEndpoint, shared: &Shared, client: &mut Client, last_interval: Duration) -> Due {
    let runtime = shared.members.load().pool.runtime;
    let before = endpoint.record.in_flight.level();
    let transport = shared.transport.lock().clone();
    let result = client.scrape(runtime, transport).await;
    record(endpoint, shared, before, result, last_interval, Instant::now())
}

/// Takes the result of a scrape before which so many of our requests were in flight.
pub(crate) fn record(
    endpoint: &PoolEndpoint,
    shared: &Shared,
    before: Level,
    result: Result<Option<Figures>, impl fmt::Display>,
    last_interval: Duration,
    now: Instant,
) -> Due {
    let members = shared.members.load_full();
    // The engine may or may not have counted requests sent or ended meanwhile: they count as counted.
    let level = endpoint.record.in_flight.level().max(before);
    let last = endpoint.reading.load_full();
    let base = (INTERVAL_PER_ENDPOINT * members.endpoints.len() as u32).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
    let active = shared.activity.has_traffic(now) || level.requests() > 0 || members.queue.len() > 0;
    let doubled = (last_interval * 2).max(base);
    let interval = match &result {
        Ok(Some(_)) if active => base,
        Err(_) if active => doubled.min(FAILING_INTERVAL),
        _ => doubled.min(IDLE_INTERVAL),
    };
    match result {
        Ok(figures) => {
            if let Some(figures) = &figures {
                note_cache(endpoint, &members, &last, figures);
            }
            let problem = figures.is_none().then(|| note_problem(endpoint, &members, &last, &NO_FIGURES));
            if problem.is_none() && last.problem.is_some() {
                tracing::info!(pool = %members.pool.name, endpoint = %endpoint.endpoint.name, "engine metrics can be read again");
            }
            endpoint.reading.store(Arc::new(Reading { problem, ..last.successor(figures, level, interval, now) }));
        }
        Err(error) if !last.failed => {
            let problem = note_problem(endpoint, &members, &last, &error);
            endpoint.reading.store(Arc::new(last.failure(problem)));
        }
        Err(_) => {}
    }
    members.queue.note_room();
    Due { interval, idle: !active }
}

/// Logs that an engine's metrics cannot be read, once until they can; the text to keep.
fn note_problem(endpoint: &PoolEndpoint, members: &Members, last: &Reading, problem: &dyn fmt::Display) -> Arc<str> {
    if last.problem.is_none() {
        let (pool, name) = (&members.pool.name, &endpoint.endpoint.name);
        tracing::warn!(%pool, endpoint = %name, %problem, "cannot read engine metrics; estimating the load from requests sent");
    }
    last.problem.clone().unwrap_or_else(|| problem.to_string().into())
}

/// Applies figures of the engine's prefix cache: its size, and whether it was lost.
fn note_cache(endpoint: &PoolEndpoint, members: &Members, last: &Reading, figures: &Figures) {
    if last.restarted(figures) {
        tracing::info!(endpoint = %endpoint.endpoint.name, "engine restarted; its prefix cache counts as empty");
        members.index.clear(endpoint);
    }
    endpoint.blocks.set_capacity(figures.kv_tokens.map_or(u64::MAX, |tokens| tokens.saturating_mul(BYTES_PER_TOKEN)));
}

#[cfg(test)]
mod tests;
