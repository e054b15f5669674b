//! State of one endpoint.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use pailou_snapshot::{Endpoint, Pool};

use crate::{
    failures::Failures,
    latency::Latency,
    load::{InFlight, Tokens},
    new_prompts::NewPrompts,
    prefix::{Blocks, PrefixIndex},
    queue::Queue,
    rendezvous,
    scrape::Reading,
};

/// Requests under way at an endpoint, and how it fared. Every endpoint has one, in a pool or not.
#[derive(Debug, Default)]
pub struct EndpointRecord {
    pub(crate) in_flight: InFlight,
    pub(crate) failures: Failures,
    /// Prompt tokens sent from here that await their prefill: those not cached, until the first token.
    pub(crate) prefill: AtomicU64,
    /// The part of `prefill` of requests that tell when theirs ends: an answer in one piece does so only at its own end.
    pub(crate) told_prefill: AtomicU64,
}

impl EndpointRecord {
    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.level().requests()
    }

    /// Its failures.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Counts a request that no pick counts, until [`EndpointRecord::end`].
    pub fn begin(&self) {
        self.in_flight.reserve(Tokens::default());
    }

    /// Ends what [`EndpointRecord::begin`] began.
    pub fn end(&self) {
        self.in_flight.release(Tokens::default());
    }
}

/// An endpoint of a pool, with all that picks know of it. It lives as long as the endpoint is in the pool or a request is under way at
/// it.
pub struct PoolEndpoint {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    /// Its place in the prefix index, its own among the pool's endpoints.
    pub(crate) slot: u16,
    pub(crate) record: EndpointRecord,
    pub(crate) reading: ArcSwap<Reading>,
    pub(crate) blocks: Blocks,
    pub(crate) accuracy: Accuracy,
    pub(crate) latency: Latency,
    pub(crate) new_prompts: NewPrompts,
    /// By which gateways agree on the homes of prompts.
    pub(crate) identity: u64,
}

impl PoolEndpoint {
    /// The state of a new endpoint; `None` unless it has an IP address, as all of a pool's have.
    pub(crate) fn new(endpoint: &Endpoint, slot: u16, now: Instant) -> Option<Self> {
        let address = endpoint.address.socket()?;
        Some(Self {
            endpoint: endpoint.clone(),
            address,
            slot,
            record: EndpointRecord { failures: Failures::since(now), ..EndpointRecord::default() },
            reading: ArcSwap::default(),
            blocks: Blocks::default(),
            accuracy: Accuracy::default(),
            latency: Latency::default(),
            new_prompts: NewPrompts::default(),
            identity: rendezvous::identity(&address.to_string()),
        })
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its number, its own among the pool's present endpoints. A later endpoint may have it again.
    pub fn slot(&self) -> usize {
        usize::from(self.slot)
    }

    /// Requests under way at it, and how it fared.
    pub fn record(&self) -> &EndpointRecord {
        &self.record
    }
}

impl std::fmt::Debug for PoolEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, slot, record, .. } = self;
        f.debug_struct("PoolEndpoint")
            .field("endpoint", endpoint)
            .field("slot", slot)
            .field("record", record)
            .finish_non_exhaustive()
    }
}

/// How well the prefix index foretells what engines have cached, in prompt tokens of requests that reported it.
#[derive(Default)]
pub(crate) struct Accuracy {
    predicted: AtomicU64,
    cached: AtomicU64,
}

impl Accuracy {
    pub(crate) fn record(&self, predicted: u64, cached: u64) {
        self.predicted.fetch_add(predicted, Relaxed);
        self.cached.fetch_add(cached, Relaxed);
    }

    /// Predicted tokens, then those that were cached.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.predicted.load(Relaxed), self.cached.load(Relaxed))
    }
}

/// A pool at one time: its settings and endpoints together, so that no pick sees one without the other.
pub(crate) struct Members {
    pub(crate) pool: Arc<Pool>,
    pub(crate) endpoints: Box<[Arc<PoolEndpoint>]>,
    /// Not every endpoint decodes.
    pub(crate) has_roles: bool,
    /// One of them prefills for others.
    pub(crate) has_prefill: bool,
    pub(crate) index: Arc<PrefixIndex>,
    pub(crate) queue: Arc<Queue>,
}

impl Members {
    /// The same pool with other settings and endpoints.
    pub(crate) fn succeeded(&self, pool: Arc<Pool>, endpoints: Box<[Arc<PoolEndpoint>]>) -> Self {
        let role = |endpoint: &Arc<PoolEndpoint>| endpoint.endpoint.role;
        let has_roles = endpoints.iter().any(|endpoint| !role(endpoint).can_decode());
        let has_prefill = endpoints.iter().any(|endpoint| role(endpoint).can_prefill());
        Self { pool, endpoints, has_roles, has_prefill, index: Arc::clone(&self.index), queue: Arc::clone(&self.queue) }
    }
}
