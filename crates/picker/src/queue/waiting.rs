//! One request's wait.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
    time::Instant,
};

use pailou_snapshot::Queueing;

use super::{Queue, QueueClock, QueueOutcome, QueueTerms, Restriction, Size, Turn, bands::Key};
use crate::{Picked, pick_request::PickError};

/// Waits until `pick` finds room, fails with an error for which `may_wait` is false, or the request's time runs out. `is_empty` tells whether
/// the pool has no endpoint, `is_saturated` whether it has no room, that for the highest priority included.
///
/// # Errors
/// Why it was not sent.
pub(crate) async fn wait(
    queue: &Queue,
    clock: &impl QueueClock,
    settings: Queueing,
    (terms, size, restriction): (&QueueTerms<'_>, Size, Restriction<'_>),
    mut pick: impl FnMut() -> Result<Picked, PickError>,
    may_wait: impl Fn(PickError) -> bool,
    (is_empty, is_saturated): (impl Fn() -> bool, impl Fn() -> bool),
) -> Result<Picked, PickError> {
    let since = clock.now();
    if queue.is_closed() {
        queue.refused(terms.priority, QueueOutcome::ShuttingDown, since);
        return Err(PickError::ShuttingDown);
    }
    let key = queue.push(terms, &settings, (size, restriction), since).map_err(|retry_after| {
        let (outcome, error) = match is_empty() {
            true => (QueueOutcome::NoEndpoints, PickError::NoEndpoints),
            false => (QueueOutcome::Full, PickError::Saturated { retry_after }),
        };
        queue.refused(terms.priority, outcome, since);
        error
    })?;
    let mut request = WaitingRequest { queue, clock, key, priority: terms.priority, since, outcome: QueueOutcome::ClientGone };
    let timeout = terms.timeout.map_or(settings.timeout, |timeout| timeout.min(settings.timeout));
    let (end, deadline) = (since + timeout, terms.deadline.filter(|deadline| *deadline < since + timeout));
    let mut expiry = pin!(clock.sleep_until(deadline.unwrap_or(end)));
    poll_fn(|context| {
        loop {
            match queue.turn_of(key, context.waker()) {
                Turn::Later => break,
                Turn::Never => {
                    request.outcome = QueueOutcome::ShuttingDown;
                    return Poll::Ready(Err(PickError::ShuttingDown));
                }
                Turn::Now => match pick() {
                    Ok(picked) => {
                        request.outcome = QueueOutcome::Dispatched;
                        return Poll::Ready(Ok(picked.after_wait(clock.now().saturating_duration_since(since))));
                    }
                    Err(error) if !may_wait(error) => {
                        request.outcome = error.outcome();
                        return Poll::Ready(Err(error));
                    }
                    Err(error) => {
                        let is_full = || matches!(error, PickError::Saturated { .. }) && is_saturated();
                        // Work is broken off for want of room, not where that is left to a higher priority.
                        if settings.evicts && !restriction.is_restricted && is_full() {
                            queue.evict_for(terms.priority, clock.now());
                        }
                        queue.put_back(key, restriction.is_restricted);
                    }
                },
            }
        }
        if expiry.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let error = match (deadline, is_empty()) {
            (Some(_), _) => PickError::TimedOut,
            (None, true) => PickError::NoEndpoints,
            (None, false) => PickError::Expired { retry_after: queue.retry_after(terms.priority, clock.now()) },
        };
        request.outcome = error.outcome();
        Poll::Ready(Err(error))
    })
    .await
}

/// A request in the queue. Its drop takes it out, in whatever way it ends.
struct WaitingRequest<'a, C: QueueClock> {
    queue: &'a Queue,
    clock: &'a C,
    key: Key,
    priority: i32,
    since: Instant,
    outcome: QueueOutcome,
}

impl<C: QueueClock> Drop for WaitingRequest<'_, C> {
    fn drop(&mut self) {
        self.queue.remove(self.key, self.priority, self.outcome, (self.since, self.clock.now()));
    }
}
