//! One endpoint's run-time state: what is under way on it, and how well it fares.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

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

/// An endpoint with its counters. It carries over as long as address and name stay.
#[derive(Debug)]
pub struct EndpointState {
    id: EndpointId,
    endpoint: Endpoint,
    cluster: Weak<ClusterState>,
    in_flight: AtomicU32,
    connections: AtomicU32,
    pub(super) consecutive_5xx: AtomicU32,
    pub(super) consecutive_gateway_errors: AtomicU32,
    /// Locked when an endpoint is ejected or returns, never by a request that fares well.
    pub(super) ejection: Mutex<Ejection>,
    /// Result of active checks; true while there are none.
    pub(super) passes_checks: AtomicBool,
}

impl EndpointState {
    pub(super) fn new(id: EndpointId, endpoint: Endpoint, cluster: Weak<ClusterState>) -> Self {
        Self {
            id,
            endpoint,
            cluster,
            in_flight: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            consecutive_5xx: AtomicU32::new(0),
            consecutive_gateway_errors: AtomicU32::new(0),
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
        self.in_flight.load(Ordering::Relaxed)
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
            Ok(_) => Ok(EndpointConnection(Arc::clone(self))),
            Err(_) => Err(Overflow(Resource::Connections)),
        }
    }

    /// Counts a request on it.
    pub(super) fn attempt(self: &Arc<Self>) -> Attempt {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
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
            self.endpoint.forget_failures();
        } else if let Some(cluster) = self.endpoint.cluster.upgrade() {
            cluster.count_failure(&self.endpoint, outcome, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
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
