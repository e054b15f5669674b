//! When a client's connection was last of use.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use pailou_snapshot::ClientTimeouts;
use tokio::{sync::Notify, time::Instant};

/// Stands for "no head under way".
const NONE: u64 = u64::MAX;

/// Longest time for which a client that takes the rest of a response, be it slowly, keeps a connection that is to end. Pings and refusals
/// look like such a rest.
const MAX_REST: Duration = Duration::from_secs(60);

/// Phase of a connection. One timer looks at it now and then, so that a request costs no timer of its own.
#[derive(Debug)]
pub(super) struct Clock {
    /// Whether heads have a clock. HTTP/2 bounds its own, and other frames come in between.
    has_heads: bool,
    /// Requests from head to the response's last byte.
    requests: AtomicU32,
    /// When the head under way began, in milliseconds of the process.
    head: AtomicU64,
    /// When the last request ended.
    idle: AtomicU64,
    /// Since when the client takes nothing of what is written.
    stalled: AtomicU64,
    /// When the client last took something while there was no request: the rest of a response (HTTP/2).
    taken: AtomicU64,
    /// Requests that it carries in its life, those that it has carried, and who is told of the last.
    limit: Option<u32>,
    carried: AtomicU32,
    last: Notify,
    /// When it takes no further request.
    retires: Option<Instant>,
    /// Whether requests that come now are refused.
    is_drained: AtomicBool,
}

/// Action due on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing before then.
    WaitUntil(Instant),
    /// The head did not come in time.
    HeadLate,
    /// It was idle for too long.
    Idle,
    /// The client has taken nothing of a response for too long.
    Stalled,
}

/// A request under way.
pub(super) struct Busy(Arc<Clock>);

impl Clock {
    /// An HTTP/1.1 connection: its first head is due.
    pub(super) fn http1() -> Self {
        let now = now();
        Self {
            has_heads: true,
            requests: AtomicU32::new(0),
            head: AtomicU64::new(now),
            idle: AtomicU64::new(now),
            stalled: AtomicU64::new(NONE),
            taken: AtomicU64::new(0),
            limit: None,
            carried: AtomicU32::new(0),
            last: Notify::new(),
            retires: None,
            is_drained: AtomicBool::new(false),
        }
    }

    /// An HTTP/2 connection.
    pub(super) fn http2() -> Self {
        Self { has_heads: false, head: AtomicU64::new(NONE), ..Self::http1() }
    }

    /// The same for a connection that carries so many requests, and grows so old.
    pub(super) fn with_limits(self, requests: Option<u32>, age: Option<Duration>) -> Self {
        Self { limit: requests, retires: age.and_then(|age| Instant::now().checked_add(age)), ..self }
    }

    /// When it takes no further request.
    pub(super) fn retires(&self) -> Option<Instant> {
        self.retires
    }

    /// Whether there is a limit of requests.
    pub(super) fn counts_requests(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether it carries no request beyond those that have begun.
    pub(super) fn is_spent(&self) -> bool {
        self.limit.is_some_and(|limit| self.carried.load(Ordering::Relaxed) >= limit)
    }

    /// Waits for the last request to begin.
    pub(super) async fn spent(&self) {
        self.last.notified().await;
    }

    /// Whether the client opens streams, which it may do after it was asked not to (HTTP/2).
    pub(super) fn has_streams(&self) -> bool {
        !self.has_heads
    }

    /// Refuses requests from now on.
    pub(super) fn end_drain(&self) {
        self.is_drained.store(true, Ordering::Relaxed);
    }

    /// Whether requests are refused.
    pub(super) fn is_drained(&self) -> bool {
        self.is_drained.load(Ordering::Relaxed)
    }

    /// Whether there has been no request for this long, and the client has taken nothing of the last response either, or has had
    /// [`MAX_REST`] for it. (What is held of a body no longer counts as a request.)
    pub(super) fn is_quiet(&self, time: Duration) -> bool {
        self.is_quiet_at(now(), time)
    }

    fn is_quiet_at(&self, now: u64, time: Duration) -> bool {
        let since = |moment: &AtomicU64| Duration::from_millis(now.saturating_sub(moment.load(Ordering::Relaxed)));
        let quiet = since(&self.idle);
        self.requests.load(Ordering::Relaxed) == 0 && quiet >= time && (since(&self.taken) >= time || quiet >= MAX_REST)
    }

    /// Bytes have come. A client that sends is alive, even while it takes nothing. (HTTP/2's are perhaps no request's.)
    pub(super) fn read(&self) {
        if self.has_heads && self.stalled.load(Ordering::Relaxed) != NONE {
            self.stalled.store(now(), Ordering::Relaxed);
        }
        if self.has_heads && self.requests.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == NONE {
            self.head.store(now(), Ordering::Relaxed);
        }
    }

    /// The client has, or has not, taken what was written. Back-pressure keeps a body from being polled while a client takes
    /// nothing, and so the body's own clocks from being seen: this is the one that ends it.
    pub(super) fn wrote(&self, taken: bool) {
        let stalled = self.stalled.load(Ordering::Relaxed);
        if taken != (stalled == NONE) {
            self.stalled.store(if taken { NONE } else { now() }, Ordering::Relaxed);
        }
        if taken && !self.has_heads && self.requests.load(Ordering::Relaxed) == 0 {
            self.taken.store(now(), Ordering::Relaxed);
        }
    }

    /// A head has come.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.limit.is_some_and(|limit| self.carried.fetch_add(1, Ordering::Relaxed) + 1 == limit) {
            self.last.notify_one();
        }
        self.head.store(NONE, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Looks at the connection; `None` where no clock is set.
    pub(super) fn check(&self, timeouts: &ClientTimeouts) -> Option<Verdict> {
        let (head, now) = (self.head.load(Ordering::Relaxed), now());
        // The shortest clock: whatever begins right now is due no earlier.
        let first = [timeouts.request_head, timeouts.idle, timeouts.stream_idle].into_iter().flatten().min()?;
        let stalled = self.stalled.load(Ordering::Relaxed);
        // A response's last bytes may still wait when its request no longer counts.
        let (since, limit, verdict) = if stalled != NONE {
            (stalled, timeouts.stream_idle, Verdict::Stalled)
        } else if self.requests.load(Ordering::Relaxed) > 0 {
            return Some(Verdict::WaitUntil(Instant::now() + first));
        } else if head != NONE {
            (head, timeouts.request_head, Verdict::HeadLate)
        } else {
            (self.idle.load(Ordering::Relaxed), timeouts.idle, Verdict::Idle)
        };
        let spent = Duration::from_millis(now.saturating_sub(since));
        match limit {
            Some(limit) if spent >= limit => Some(verdict),
            Some(limit) => Some(Verdict::WaitUntil(Instant::now() + (limit - spent).min(first))),
            None => Some(Verdict::WaitUntil(Instant::now() + first)),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle.store(now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Milliseconds of the process.
fn now() -> u64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(std::time::Instant::now).elapsed().as_millis()).unwrap_or(NONE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_the_rest_of_a_response_is_not_quiet_but_not_for_ever() {
        let (clock, time) = (Arc::new(Clock::http2()), Duration::from_secs(5));
        let busy = clock.begin();
        assert!(!clock.is_quiet_at(NONE - 1, time), "a request is under way");
        drop(busy);
        clock.idle.store(0, Ordering::Relaxed);
        assert!(!clock.is_quiet_at(4_999, time) && clock.is_quiet_at(5_000, time));
        clock.taken.store(4_000, Ordering::Relaxed);
        assert!(!clock.is_quiet_at(8_999, time) && clock.is_quiet_at(9_000, time));
        clock.taken.store(59_999, Ordering::Relaxed);
        assert!(!clock.is_quiet_at(59_999, time) && clock.is_quiet_at(60_000, time));
    }

    #[test]
    fn bytes_that_are_taken_without_a_request_count() {
        let clock = Arc::new(Clock::http2());
        clock.taken.store(NONE, Ordering::Relaxed);
        let busy = clock.begin();
        clock.wrote(true);
        assert_eq!(clock.taken.load(Ordering::Relaxed), NONE);
        drop(busy);
        clock.wrote(false);
        assert_eq!(clock.taken.load(Ordering::Relaxed), NONE);
        clock.wrote(true);
        assert!(clock.taken.load(Ordering::Relaxed) <= now());
    }
}
