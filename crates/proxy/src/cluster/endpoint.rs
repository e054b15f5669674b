//! One endpoint's run-time state: what is under way on it, and how well it fares.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use pailou_picker::{EndpointRecord, Failures, PoolEndpoint};
use pailou_snapshot::Endpoint;
use parking_lot::Mutex;

use super::{
    ClusterState,
    outlier::{AttemptOutcome, Ejection},
};
use crate::breaker::{Overflow, Resource};

/// Names an endpoint within its cluster's state; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(pub(super) u32);

/// Requests under way at an endpoint, and its failures in a row.
#[derive(Debug)]
enum Record {
    /// The cluster's own.
    Own(EndpointRecord),
    /// A pool's, which the picker and all clusters of the pool share. Picks count its requests.
    Picked(Arc<PoolEndpoint>),
}

/// An endpoint with its counters. It carries over as long as address and name stay.
#[derive(Debug)]
pub struct EndpointState {
    id: EndpointId,
    endpoint: Endpoint,
    cluster: Weak<ClusterState>,
    record: Record,
    connections: AtomicU32,
    /// Locked when an endpoint is ejected or returns, never by a request that fares well.
    pub(super) ejection: Mutex<Ejection>,
    /// Result of active checks; true while there are none.
    pub(super) passes_checks: AtomicBool,
}

impl EndpointState {
    pub(super) fn new(id: EndpointId, endpoint: Endpoint, picked: Option<Arc<PoolEndpoint>>, cluster: Weak<ClusterState>) -> Self {
        Self {
            id,
            endpoint,
            cluster,
            record: picked.map_or_else(|| Record::Own(EndpointRecord::default()), Record::Picked),
            connections: AtomicU32::new(0),
            ejection: Mutex::default(),
            passes_checks: AtomicBool::new(true),
        }
    }

    /// Its name within the cluster's state.
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// Its address and name. Its priority is the one it had when it appeared.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Requests under way on it.
    pub fn in_flight(&self) -> u32 {
        self.record().in_flight()
    }

    /// Its failures in a row.
    pub(super) fn failures(&self) -> &Failures {
        self.record().failures()
    }

    /// The picker's number for it, where it is a pool's.
    pub(crate) fn slot(&self) -> Option<usize> {
        match &self.record {
            Record::Own(_) => None,
            Record::Picked(picked) => Some(picked.slot()),
        }
    }

    /// Whether this is the picker's part of it; `None` where it has none.
    pub(super) fn is_of(&self, picked: Option<&Arc<PoolEndpoint>>) -> bool {
        match (&self.record, picked) {
            (Record::Own(_), None) => true,
            (Record::Picked(own), Some(picked)) => Arc::ptr_eq(own, picked),
            _ => false,
        }
    }

    fn record(&self) -> &EndpointRecord {
        match &self.record {
            Record::Own(record) => record,
            Record::Picked(picked) => picked.record(),
        }
    }

    /// Connections open to it, of those counted by [`EndpointState::connection`].
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether active checks let it be used.
    pub fn passes_checks(&self) -> bool {
        self.passes_checks.load(Ordering::Relaxed)
    }

    /// Until when it is ejected, if it is.
    pub fn ejected_until(&self) -> Option<Instant> {
        self.ejection.lock().until
    }

    /// Counts a connection to it, within `perEndpoint.maxConnections`. Held until the connection is closed.
    pub fn connection(self: &Arc<Self>, limit: Option<u32>) -> Result<EndpointConnection, Overflow> {
        let limit = limit.unwrap_or(u32::MAX);
        let taken = self.connections.try_update(Ordering::AcqRel, Ordering::Relaxed, |open| (open < limit).then(|| open + 1));
        match taken {
            Ok(_) => {
                if let Some(cluster) = self.cluster.upgrade() {
                    cluster.opened.fetch_add(1, Ordering::Relaxed);
                }
                Ok(EndpointConnection(Arc::clone(self)))
            }
            Err(_) => Err(Overflow(Resource::Connections)),
        }
    }

    /// Counts a request on it; a pick has counted its own.
    pub(crate) fn attempt(self: &Arc<Self>) -> Attempt {
        if let Record::Own(record) = &self.record {
            record.begin();
        }
        Attempt { endpoint: Arc::clone(self) }
    }
}

/// One attempt of a request at an endpoint; the endpoint counts it as under way until this is dropped, so it rides with the
/// response's body.
#[derive(Debug)]
#[must_use = "dropping it ends the attempt"]
pub struct Attempt {
    endpoint: Arc<EndpointState>,
}

impl Attempt {
    /// The endpoint chosen.
    pub fn endpoint(&self) -> &Arc<EndpointState> {
        &self.endpoint
    }

    /// Its name, for the list of those already tried.
    pub fn id(&self) -> EndpointId {
        self.endpoint.id
    }

    /// Says how the attempt fared, once, as soon as the response's head or a failure is there. Feeds passive health checks.
    pub fn report(&self, outcome: AttemptOutcome) {
        self.report_at(outcome, Instant::now);
    }

    /// As [`Attempt::report`], by the caller's clock, which is read only where an ejection is at hand.
    pub fn report_at(&self, outcome: AttemptOutcome, now: impl FnOnce() -> Instant) {
        if outcome == AttemptOutcome::Success {
            self.endpoint.failures().answered();
        } else if outcome != AttemptOutcome::Unknown
            && let Some(cluster) = self.endpoint.cluster.upgrade()
        {
            cluster.count_failure(&self.endpoint, outcome, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Record::Own(record) = &self.endpoint.record {
            record.end();
        }
    }
}

/// One connection to an endpoint, given back when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives it back"]
pub struct EndpointConnection(Arc<EndpointState>);

impl Drop for EndpointConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}
