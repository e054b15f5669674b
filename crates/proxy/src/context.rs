//! Context that all workers of a process share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use pailou_extproc::Room;
use pailou_limits::Counters;
use pailou_store::SharedLimits;

use crate::{
    access_log::AccessLog,
    bandwidth::RuleBuckets,
    cut_off::CutOff,
    error::{Error, Flag},
    gateway_logs::GatewayLogs,
    geo_databases::GeoDatabases,
    key_sets::KeySets,
    limit_service::LimitServiceSlot,
    local_addresses::LocalAddresses,
    metric_exporters::MetricExporters,
    metrics::Metrics,
    model_spans::ModelSpans,
    oidc_providers::OidcProviders,
    receipts::Receipts,
    runtime::Runtime,
    tracers::Tracers,
};

/// Context that all workers share.
pub struct Context {
    /// The served configuration; nothing before the first snapshot.
    pub runtime: ArcSwapOption<Runtime>,
    /// Counters.
    pub metrics: Metrics,
    /// The access log.
    pub log: AccessLog,
    /// Tracers of requests.
    pub tracers: Tracers,
    /// Access logs of Gateways' own.
    pub gateway_logs: GatewayLogs,
    /// Metrics for collectors.
    pub metric_exporters: MetricExporters,
    /// Counters of limits.
    pub limits: Arc<Counters>,
    /// Their sharing with other proxies, where a store is configured.
    pub shared_limits: SharedLimits,
    /// The rate limit service that decides on global limits in their place, where one is configured.
    pub limit_service: LimitServiceSlot,
    /// Providers of OpenID Connect.
    pub oidc: OidcProviders,
    /// Whether URLs of policies may lead to the machine itself.
    pub local_addresses: LocalAddresses,
    /// Key sets of tokens.
    pub key_sets: KeySets,
    /// Databases of the places of addresses.
    pub geo: Arc<GeoDatabases>,
    /// Limits of bandwidth.
    pub bandwidth: RuleBuckets,
    /// Room for request bodies.
    pub bodies: Budget,
    /// Whether responses bear the flag that says why the gateway answered (`x-pailou-response-flag`).
    pub response_flags: bool,
    /// Form of spans of model calls.
    pub model_spans: ModelSpans,
    /// Routing receipts.
    pub receipts: Receipts,
    /// End of the drain.
    pub cut_off: CutOff,
}

impl Context {
    /// Ends the drain: requests give up, those that wait for an endpoint with room with the reason first.
    pub(crate) fn cut_off(&self) {
        if let Some(runtime) = self.runtime.load_full() {
            runtime.pools().for_each(|(_, pool)| pool.close_queue());
        }
        self.cut_off.give();
    }
}

/// Memory that a frame of a body takes beside its bytes, where it is held as it came.
pub(crate) const FRAME_OVERHEAD: u64 = 96;

/// Room for the bodies that the process holds, in bytes, all together: of requests, and of responses that an endpoint picker holds back.
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    /// Part of it that bodies use which only wait for a limit of bandwidth.
    waiting: AtomicU64,
}

/// Room of a body that only waits, given back when dropped.
pub(crate) struct Waiting {
    context: Arc<Context>,
    bytes: u64,
}

/// A share of a [`Budget`], given back when dropped.
pub struct Share {
    context: Arc<Context>,
    bytes: u64,
}

impl Budget {
    /// A budget of this many bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0), waiting: AtomicU64::new(0) }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether mirrors may hold this many bytes more. They get no more than what leaves half of the room to requests that somebody
    /// waits for.
    pub(crate) fn has_room_for_copies(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.limit / 2
    }

    /// Counts bytes that only wait. They get no more than half of the room, lest a slow rule keeps the others' requests out.
    fn begin_wait(&self, bytes: u64) -> bool {
        let has_room = self.waiting.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.limit / 2;
        if !has_room {
            self.end_wait(bytes);
        }
        has_room
    }

    fn end_wait(&self, bytes: u64) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Share {
    /// An empty share.
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, bytes: 0 }
    }

    /// Context that the share is of.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Counts the share among those that only wait.
    ///
    /// # Errors
    /// [`Flag::Budget`] when too much waits already.
    pub(crate) fn begin_wait(&self) -> Result<Waiting, Error> {
        let has_room = self.context.bodies.begin_wait(self.bytes);
        if has_room { Ok(Waiting { context: Arc::clone(&self.context), bytes: self.bytes }) } else { Err(full()) }
    }

    /// Whether the share could be made this large now.
    ///
    /// # Errors
    /// [`Flag::Budget`] when it could not.
    pub(crate) fn has_room_for(&self, bytes: u64) -> Result<(), Error> {
        let more = bytes.saturating_sub(self.bytes);
        let budget = &self.context.bodies;
        if budget.used().saturating_add(more) > budget.limit { Err(full()) } else { Ok(()) }
    }

    /// Makes the share at least this large.
    ///
    /// # Errors
    /// [`Flag::Budget`] when the process holds no more.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Result<(), Error> {
        let more = bytes.saturating_sub(self.bytes);
        let budget = &self.context.bodies;
        if budget.used.fetch_add(more, Ordering::Relaxed) + more > budget.limit {
            budget.used.fetch_sub(more, Ordering::Relaxed);
            return Err(full());
        }
        self.bytes += more;
        Ok(())
    }

    /// Makes the share smaller by as much as is not needed any more.
    pub(crate) fn shrink_by(&mut self, bytes: u64) {
        let less = bytes.min(self.bytes);
        self.bytes -= less;
        self.context.bodies.used.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Room for Share {
    fn hold(&mut self, bytes: u64) -> bool {
        if bytes < self.bytes {
            self.shrink_by(self.bytes - bytes);
        }
        bytes == self.bytes || self.grow_to(bytes).is_ok()
    }
}

/// There is no room for a request's body.
pub(crate) fn full() -> Error {
    Error::new(Flag::Budget, "the gateway holds no more request bodies at this moment; try again")
}

impl Drop for Share {
    fn drop(&mut self) {
        self.context.bodies.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.context.bodies.end_wait(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_waits_gets_half_of_the_room() {
        let budget = Budget::new(100);
        assert!(budget.begin_wait(30) && budget.begin_wait(20) && !budget.begin_wait(1));
        budget.end_wait(20);
        assert!(!budget.begin_wait(21) && budget.begin_wait(20));
    }
}
