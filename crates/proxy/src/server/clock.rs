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

    /// Whether there has been no request for this long.
    pub(super) fn is_quiet(&self, time: Duration) -> bool {
        let quiet = now().saturating_sub(self.idle.load(Ordering::Relaxed));
        self.requests.load(Ordering::Relaxed) == 0 && Duration::from_millis(quiet) >= time
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
