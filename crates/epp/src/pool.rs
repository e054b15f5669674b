//! The pool that is picked for.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use pailou_extproc::endpoints::Subset;
use pailou_picker::{EndpointReport, MetricNames, PoolReport, PoolState, TokenSource, Transport};
use pailou_snapshot::OnePool;
use pailou_snapshot::Pool;
use tokio::{runtime::Handle, sync::watch};

use crate::metrics::Metrics;

/// A picker of one pool's endpoints. Its engines' metrics are scraped for as long as it knows the pool.
pub struct EndpointPicker {
    current: ArcSwapOption<Current>,
    is_ready: watch::Sender<bool>,
    runtime: Handle,
    token_source: Option<Arc<dyn TokenSource>>,
    pub(crate) metrics: Metrics,
}

/// The pool at one time.
pub(crate) struct Current {
    pub(crate) pool: Arc<Pool>,
    pub(crate) state: Arc<PoolState>,
    endpoints: Vec<SocketAddr>,
}

impl EndpointPicker {
    /// A picker that knows no pool yet. It scrapes metrics on the runtime, and exports its own under these names as well.
    pub fn new(runtime: &Handle, names: MetricNames) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            is_ready: watch::Sender::new(false),
            runtime: runtime.clone(),
            token_source: None,
            metrics: Metrics::new(names),
        }
    }

    /// The same with tokenizers in this process.
    #[must_use]
    pub fn with_token_source(self, token_source: Option<Arc<dyn TokenSource>>) -> Self {
        Self { token_source, ..self }
    }

    /// Sets the pool; `None`: there is none. Endpoints that stay keep their state. `transport` is the way to their metrics; `None` is plain
    /// TCP.
    pub fn update(&self, pool: Option<OnePool>, transport: Option<Arc<dyn Transport>>) {
        let is_there = pool.is_some();
        let next = pool.map(|OnePool { pool, endpoints, .. }| {
            let known = self.current.load_full().filter(|current| current.pool.name == pool.name);
            let state = known.map_or_else(|| PoolState::new(pool.clone(), &[], &self.runtime), |current| current.state.clone());
            state.set_transport(transport);
            state.set_token_source(self.token_source.clone());
            state.update(pool.clone(), &endpoints);
            Arc::new(Current { pool, state, endpoints: endpoints.iter().filter_map(|it| it.address.socket()).collect() })
        });
        self.current.store(next);
        self.is_ready.send_if_modified(|ready| std::mem::replace(ready, is_there) != is_there);
    }

    /// Whether there is a pool to pick for.
    pub fn is_ready(&self) -> bool {
        *self.is_ready.borrow()
    }

    /// All endpoints' figures; none where there is no pool.
    pub fn endpoints(&self) -> Vec<EndpointReport> {
        self.current.load().as_ref().map(|current| current.state.snapshot()).unwrap_or_default()
    }

    /// All figures of the pool; `None` where there is none.
    pub fn report(&self) -> Option<PoolReport> {
        self.current.load().as_ref().map(|current| current.state.report())
    }

    /// Requests and responses under way.
    pub fn conversations(&self) -> u64 {
        self.metrics.conversations.get().try_into().unwrap_or(0)
    }

    /// Requests since the start by outcome, of outcomes that there were.
    pub fn outcomes(&self) -> Vec<(&'static str, u64)> {
        self.metrics.outcomes()
    }

    /// Every metric in OpenMetrics' text format.
    pub fn encode_metrics(&self, text: &mut String) {
        let exact = self.current.load().as_ref().map(|current| current.state.exact_figures()).unwrap_or_default();
        self.metrics.encode(self.report(), exact, text);
    }

    /// Refuses the requests that wait, as the process ends. Gives whether there were any.
    pub(crate) fn close_queue(&self) -> bool {
        let current = self.current.load();
        let Some(state) = current.as_ref().map(|current| &current.state) else { return false };
        let waits = state.queue().is_some_and(|queue| !queue.levels.is_empty());
        state.close_queue();
        waits
    }

    /// When there begins to be a pool, or ceases to.
    pub(crate) fn readiness(&self) -> watch::Receiver<bool> {
        self.is_ready.subscribe()
    }

    pub(crate) fn current(&self) -> Option<Arc<Current>> {
        self.current.load_full()
    }
}

impl std::fmt::Debug for EndpointPicker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.current().map(|current| current.pool.name.clone());
        f.debug_struct("EndpointPicker").field("pool", &name).finish_non_exhaustive()
    }
}

impl Current {
    /// The endpoints that are in a subset.
    pub(crate) fn eligible(&self, subset: &Subset) -> Vec<SocketAddr> {
        self.endpoints.iter().copied().filter(|endpoint| subset.contains(*endpoint)).collect()
    }
}
