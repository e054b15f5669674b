//! State of one endpoint.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use pailou_snapshot::{Endpoint, Pool};

use crate::{
    failures::Failures,
    load::InFlight,
    prefix::{Blocks, PrefixIndex},
    scrape::Reading,
};

/// An endpoint's state, for as long as the endpoint is in the pool or a request is under way at it.
pub(crate) struct EndpointState {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    /// Its place in the prefix index, its own among the pool's endpoints.
    pub(crate) slot: u16,
    pub(crate) in_flight: InFlight,
    pub(crate) reading: ArcSwap<Reading>,
    pub(crate) failures: Failures,
    pub(crate) blocks: Blocks,
    pub(crate) accuracy: Accuracy,
}

impl EndpointState {
    /// The state of a new endpoint; `None` unless it has an IP address, as all of a pool's have.
    pub(crate) fn new(endpoint: &Endpoint, slot: u16) -> Option<Self> {
        let address = endpoint.address.socket()?;
        Some(Self {
            endpoint: endpoint.clone(),
            address,
            slot,
            in_flight: InFlight::default(),
            reading: ArcSwap::default(),
            failures: Failures::default(),
            blocks: Blocks::default(),
            accuracy: Accuracy::default(),
        })
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
    pub(crate) endpoints: Box<[Arc<EndpointState>]>,
    pub(crate) index: Arc<PrefixIndex>,
}
