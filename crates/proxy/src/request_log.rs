//! Settlement of a request: one line, counted once, on every way out.

use std::{
    net::SocketAddr,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Instant,
};

use http::{Method, StatusCode, Version};
use pailou_picker::Picked;
use pailou_snapshot::{RouteMatch, RouteName};
use parking_lot::Mutex;

use crate::{
    bandwidth::{Buckets, Delays},
    context::Context,
    error::Flag,
    gateway_log,
    gateway_logs::LogTarget,
    limit_charge::BackendCharge,
    metrics::AttemptResult,
    request_record::RequestRecord,
    response_cost, spans,
    token_charges::TokenCharges,
};

/// A request's record until it is settled: by `settle`, or by being dropped when the client goes away before that.
///
/// Its size is a power of two: the allocator finds blocks of other sizes only by a detour.
#[repr(align(1024))]
pub struct RequestLog {
    context: Arc<Context>,
    settled: bool,
    record: RequestRecord,
    /// Room that limits hold for the response.
    charges: TokenCharges,
    /// Charge to the limits of the backend that the request goes to.
    backend_charge: Option<Box<BackendCharge>>,
    /// Delays of the request's body by a limit of bandwidth, as far as it has passed.
    pub(crate) body_delays: Option<Arc<Mutex<Delays>>>,
}

// One field too many would make it the next multiple.
const _: () = assert!(size_of::<RequestLog>().is_power_of_two());

impl RequestLog {
    /// A record of a request that has just come.
    pub(crate) fn new(context: Arc<Context>, peer: SocketAddr, method: Method, version: Version) -> Self {
        context.metrics.active.inc();
        let record = RequestRecord::new(peer, method, version);
        Self { context, settled: false, record, charges: TokenCharges::default(), backend_charge: None, body_delays: None }
    }

    /// Notes how it came.
    pub(crate) fn arrived(&mut self, port: u16, is_tls: bool) {
        (self.record.port, self.record.is_tls) = (port, is_tls);
        self.context.metrics.begin(&self.record);
    }

    /// Notes the rule that takes it, and the match.
    pub(crate) fn matched(&mut self, entry: &RouteMatch) {
        self.record.matched(entry);
        if self.context.metrics.names.http {
            self.record.http_route = Some(entry.path.clone());
        }
    }

    /// Whether the drain is over, and requests are to give up.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.context.cut_off.is_given()
    }

    /// Why a request ends that nobody goes on with.
    pub(crate) fn dropped(&self) -> Flag {
        if self.is_cut_off() { Flag::Stopped } else { Flag::ClientGone }
    }

    /// Waits for the end of the drain.
    pub(crate) async fn cut_off(&self) {
        self.context.cut_off.given().await;
    }

    /// Buckets of a rule's limits of bandwidth.
    pub(crate) fn bandwidth(&self, rule: &RouteName) -> Arc<Buckets> {
        self.context.bandwidth.of(rule)
    }

    /// Takes over the room that limits hold, to charge the response's cost when it has ended.
    pub(crate) fn hold(&mut self, charges: TokenCharges) {
        self.charges = charges;
    }

    /// Takes over the charge to the limits of the backend that comes next. The one before has no response to give.
    pub(crate) fn hold_for_backend(&mut self, charge: Option<BackendCharge>) {
        if let Some(before) = std::mem::replace(&mut self.backend_charge, charge.map(Box::new)) {
            before.keep();
        }
    }

    /// Counts an attempt at the backend.
    pub(crate) fn begin_attempt(&mut self) {
        self.record.attempts += 1;
        if self.context.receipts.is_on() {
            self.record.trail.begin(self.record.started.elapsed());
        }
        if self.context.metrics.names.has_attempts() {
            self.record.attempt_since = Some(Instant::now());
        }
        if let Some(charge) = &mut self.backend_charge {
            charge.ask();
        }
    }

    /// Notes an attempt that another one follows.
    pub(crate) fn end_attempt(&mut self, status: Option<StatusCode>, flag: Option<Flag>) {
        if let Some(endpoint) = self.record.endpoint.as_ref().filter(|_| self.context.receipts.is_on()) {
            let (end, status) = (self.record.started.elapsed(), status.map(|status| status.as_u16()));
            self.record.trail.failed(endpoint, end, status, flag.map(Flag::code));
        }
        self.settle_attempt(status, flag);
    }

    /// Notes why its endpoint was picked, if its receipt is kept. `failed`: the request fails, for a reason that is not noted yet.
    pub(crate) fn note_pick(&mut self, picked: Option<&Picked>, failed: bool) {
        if let Some(picked) = picked
            // The flag of a failure decides about the receipt, and is not there yet.
            && if failed { self.context.receipts.is_on() } else { self.context.receipts.is_kept(&mut self.record) }
        {
            self.record.trail.picked(picked.receipt());
        }
    }

    /// Whether the receipt is kept, as far as that is known at the response's head, where the operator has clients told of it.
    pub(crate) fn tells_client(&mut self) -> Option<bool> {
        let receipts = &self.context.receipts;
        receipts.headers.then(|| receipts.is_kept(&mut self.record))
    }

    /// Holds more room where a stream has more events than was held for.
    pub(crate) fn stream_progress(&mut self, events: u64) {
        self.charges.stream_progress(events, &self.record);
        if let Some(charge) = &mut self.backend_charge {
            charge.stream_progress(events, &self.record);
        }
    }

    /// Whether a limit counts the tokens of the response.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.charges.counts_tokens() || self.backend_charge.as_ref().is_some_and(|charge| charge.counts_tokens())
    }

    /// Whether a limit of bandwidth took most of the time since the request came.
    pub(crate) fn was_throttled(&self) -> bool {
        self.body_delays.as_ref().is_some_and(|delays| delays.lock().held_up > self.started.elapsed() / 2)
    }

    /// Counts and logs the request. Only the first call does.
    pub(crate) fn settle(&mut self) {
        self.settle_at(Instant::now());
    }

    /// The same of a request that ended at this time.
    pub(crate) fn settle_at(&mut self, end: Instant) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let unknown = if self.charges.is_empty() { None } else { self.charges.settle(&self.record) };
        let unknown_there = self.backend_charge.take().and_then(|charge| charge.settle(&self.record));
        for unknown in unknown.iter().chain(&unknown_there) {
            self.context.metrics.unknown_cost(unknown);
        }
        if self.record.costs.is_some() {
            self.settle_price();
        }
        // One that was dropped in the middle of it.
        self.record.end_wait();
        let duration = end.saturating_duration_since(self.started);
        // The line first: once nothing is active any more, a drain closes the log.
        self.settle_attempt(self.record.status, self.record.flag);
        match &self.record.log_target {
            LogTarget::Process => self.context.log.write(&self.record, duration),
            LogTarget::Off => {}
            LogTarget::Own(notes) => gateway_log::write_request(&self.record, notes, duration),
        }
        self.context.receipts.settle(&mut self.record, duration, &self.context.runtime);
        spans::append(&self.record, duration);
        self.context.metrics.settle(&self.record, duration);
        self.record.running = None;
    }
}

impl RequestLog {
    /// Counts it among the calls of its model under way, where metrics tell that.
    pub(crate) fn begin_call(&mut self) {
        self.record.running = self.context.metrics.begin_call(&self.record);
    }

    /// Counts the attempt under way as ended, where metrics tell of attempts.
    fn settle_attempt(&mut self, status: Option<StatusCode>, flag: Option<Flag>) {
        if let Some(since) = self.record.attempt_since.take() {
            self.context.metrics.settle_attempt(&self.record, AttemptResult { status, flag, took: since.elapsed() });
        }
    }

    /// Notes the price of the response, or counts the request as one without, however many limits it met.
    fn settle_price(&mut self) {
        match response_cost::price(&self.record) {
            // A cast from a float saturates.
            Some(Some(usd)) => self.record.nano_usd = Some((usd * 1e9).round() as u64),
            Some(None) => self.record.is_unpriced = true,
            None => {}
        }
        if self.record.is_unpriced {
            self.context.metrics.unpriced_requests.inc();
        }
    }
}

impl Drop for RequestLog {
    /// The net for requests whose client went away while a backend was waited for.
    fn drop(&mut self) {
        if !self.settled {
            let flag = self.dropped();
            self.flag.get_or_insert(flag);
            self.settle();
        }
    }
}

impl Deref for RequestLog {
    type Target = RequestRecord;

    fn deref(&self) -> &RequestRecord {
        &self.record
    }
}

impl DerefMut for RequestLog {
    fn deref_mut(&mut self) -> &mut RequestRecord {
        &mut self.record
    }
}
