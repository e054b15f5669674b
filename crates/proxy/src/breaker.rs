//! Limits on what is under way towards a backend at once: its circuit breaker.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use pailou_snapshot::CircuitBreaker;
use tokio::sync::Notify;

use crate::admission::AdmissionWindows;

/// The counters of one circuit breaker. They outlive reloads; the limits come with each call, from the rule in force.
#[derive(Debug, Default)]
pub struct Breaker {
    counters: [Counter; Resource::ALL.len()],
    connection_closed: Notify,
    /// Outcomes of attempts, for rules with admission control.
    pub admission: AdmissionWindows,
}

/// Resources that a breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Requests under way, to the end of their responses.
    Requests,
    /// Retries under way.
    Retries,
    /// Connections open.
    Connections,
    /// Requests that wait for a connection.
    Pending,
}

/// A limit is reached: the request is answered 503 at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker: limit of {} reached", .0.name())]
pub struct Overflow(pub Resource);

/// One counted thing, given back when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives it back"]
pub struct Permit {
    breaker: Arc<Breaker>,
    resource: Resource,
    /// False until [`Permit::count`] for a request that may wait before it is sent.
    is_counted: bool,
}

impl Breaker {
    /// Counts a request. Held to the end of its response, whatever attempts it takes.
    pub fn request(self: &Arc<Self>, limits: Option<&CircuitBreaker>) -> Result<Permit, Overflow> {
        self.acquire(Resource::Requests, limits.map(|limits| limits.max_parallel_requests))
    }

    /// A request that may wait in a queue: it is counted when it has left that, by [`Permit::count`].
    pub fn request_later(self: &Arc<Self>) -> Permit {
        Permit { breaker: Arc::clone(self), resource: Resource::Requests, is_counted: false }
    }

    /// Counts a retry. Held to the end of the attempt.
    pub fn retry(self: &Arc<Self>, limits: Option<&CircuitBreaker>) -> Result<Permit, Overflow> {
        let limit = limits.map(|limits| match limits.retry_budget {
            Some(budget) => budget.limit(self.active(Resource::Requests)),
            None => limits.max_parallel_retries,
        });
        self.acquire(Resource::Retries, limit)
    }

    /// Counts a request that found no idle connection. Held until it has one, whether that is opened for it or waited for.
    pub fn pending(self: &Arc<Self>, limits: Option<&CircuitBreaker>) -> Result<Permit, Overflow> {
        self.acquire(Resource::Pending, limits.map(|limits| limits.max_pending_requests))
    }

    /// Counts a connection. Held until it is closed.
    pub fn connection(self: &Arc<Self>, limits: Option<&CircuitBreaker>) -> Result<Permit, Overflow> {
        self.acquire(Resource::Connections, limits.map(|limits| limits.max_connections))
    }

    /// Whether one more connection would fit. Counts nothing.
    pub fn has_room_for_connection(&self, limits: Option<&CircuitBreaker>) -> bool {
        limits.is_none_or(|limits| self.active(Resource::Connections) < limits.max_connections)
    }

    /// Counts a connection, once there are few enough. The caller holds a [`Breaker::pending`] permit meanwhile and sets the
    /// clock. Fails only where no connection is ever allowed.
    pub async fn connection_when_free(self: &Arc<Self>, limits: Option<&CircuitBreaker>) -> Result<Permit, Overflow> {
        let limit = limits.map(|limits| limits.max_connections);
        loop {
            // Made before the attempt, so that a connection closed in between is not missed.
            let closed = self.connection_closed.notified();
            if self.counters[Resource::Connections as usize].take(limit) {
                return Ok(Permit { breaker: Arc::clone(self), resource: Resource::Connections, is_counted: true });
            }
            if limit == Some(0) {
                return Err(self.overflow(Resource::Connections));
            }
            closed.await;
        }
    }

    /// How many are counted now.
    pub fn active(&self, resource: Resource) -> u32 {
        self.counters[resource as usize].active.load(Ordering::Relaxed)
    }

    /// How many were refused since the breaker was made.
    pub fn overflowed(&self, resource: Resource) -> u64 {
        self.counters[resource as usize].overflowed.load(Ordering::Relaxed)
    }

    fn acquire(self: &Arc<Self>, resource: Resource, limit: Option<u32>) -> Result<Permit, Overflow> {
        if self.counters[resource as usize].take(limit) {
            Ok(Permit { breaker: Arc::clone(self), resource, is_counted: true })
        } else {
            Err(self.overflow(resource))
        }
    }

    fn overflow(&self, resource: Resource) -> Overflow {
        self.counters[resource as usize].overflowed.fetch_add(1, Ordering::Relaxed);
        Overflow(resource)
    }
}

impl Resource {
    /// All of them, for metrics.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Retries, Self::Connections, Self::Pending];

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Retries => "retries",
            Self::Connections => "connections",
            Self::Pending => "pending",
        }
    }
}

impl Permit {
    /// Counts it, unless it is counted.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn count(&mut self, limits: Option<&CircuitBreaker>) -> Result<(), Overflow> {
        if !self.is_counted {
            let limit = limits.map(|limits| limits.max_parallel_requests);
            if !self.breaker.counters[self.resource as usize].take(limit) {
                return Err(self.breaker.overflow(self.resource));
            }
            self.is_counted = true;
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        self.breaker.counters[self.resource as usize].active.fetch_sub(1, Ordering::AcqRel);
        if self.resource == Resource::Connections {
            // All waiters: rules that share a breaker may have different limits, and the first may still not fit.
            self.breaker.connection_closed.notify_waiters();
        }
    }
}

#[derive(Debug, Default)]
struct Counter {
    active: AtomicU32,
    overflowed: AtomicU64,
}

impl Counter {
    /// Adds one unless the limit is reached; concurrent callers never exceed it together.
    fn take(&self, limit: Option<u32>) -> bool {
        let limit = limit.unwrap_or(u32::MAX);
        self.active.try_update(Ordering::AcqRel, Ordering::Relaxed, |active| (active < limit).then(|| active + 1)).is_ok()
    }
}

#[cfg(test)]
mod tests;
