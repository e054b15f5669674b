//! Whether a service answers: after failures in a row it is asked by a single call now and then, so that nothing waits for it, and it meets no
//! storm when it is back.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Failures in a row after which a service counts as down.
const MAX_FAILURES: u32 = 5;
/// Pauses between the calls that find out whether it answers again.
const PROBE_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Health of a service, without a lock.
pub(super) struct ServiceHealth {
    created: Instant,
    failures: AtomicU32,
    /// Probes that failed since it went down.
    probes: AtomicU32,
    /// When the next probe is due, milliseconds after `created`.
    probe_at: AtomicU64,
}

/// Purpose of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// One of many.
    Usual,
    /// The single one to a service that is down.
    Probe,
}

impl Default for ServiceHealth {
    fn default() -> Self {
        Self { created: Instant::now(), failures: AtomicU32::new(0), probes: AtomicU32::new(0), probe_at: AtomicU64::new(0) }
    }
}

impl ServiceHealth {
    pub(super) fn is_down(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= MAX_FAILURES
    }

    /// Begins a call, unless the service is down and no probe is due.
    pub(super) fn begin(&self) -> Option<CallKind> {
        if !self.is_down() {
            return Some(CallKind::Usual);
        }
        let (now, due) = (self.now(), self.probe_at.load(Ordering::Relaxed));
        // A probe that never ends is followed by another.
        let next = now + PROBE_BACKOFF.1.as_millis() as u64;
        let is_ours = now >= due && self.probe_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_ours.then_some(CallKind::Probe)
    }

    /// Notes an answer. Gives back whether the service was down.
    pub(super) fn succeeded(&self) -> bool {
        self.probes.store(0, Ordering::Relaxed);
        self.failures.swap(0, Ordering::Relaxed) >= MAX_FAILURES
    }

    /// Notes a failure. Gives back whether the service is down from now on. Calls that began before say nothing new.
    pub(super) fn failed(&self, kind: CallKind) -> bool {
        let goes_down = match kind {
            CallKind::Usual => self.failures.fetch_add(1, Ordering::Relaxed) + 1 == MAX_FAILURES,
            CallKind::Probe => false,
        };
        if goes_down || kind == CallKind::Probe {
            let probes = self.probes.fetch_add(1, Ordering::Relaxed).min(16);
            let pause = PROBE_BACKOFF.0.saturating_mul(1 << probes).min(PROBE_BACKOFF.1);
            let pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            self.probe_at.store(self.now() + pause.as_millis() as u64, Ordering::Relaxed);
        }
        goes_down
    }

    fn now(&self) -> u64 {
        self.created.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes that are let through while time passes.
    async fn probes(health: &ServiceHealth, time: Duration) -> usize {
        let end = Instant::now() + time;
        let mut probes = 0;
        while Instant::now() < end {
            if health.begin() == Some(CallKind::Probe) {
                probes += 1;
                assert!(!health.failed(CallKind::Probe));
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        probes
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_down_meets_single_calls_ever_more_seldom() {
        let health = ServiceHealth::default();
        assert_eq!((0..5).map(|_| health.failed(CallKind::Usual)).collect::<Vec<_>>(), [false, false, false, false, true]);
        assert!(health.is_down() && health.begin().is_none());
        // Calls that were under way.
        assert!(!health.failed(CallKind::Usual));
        let first = probes(&health, Duration::from_secs(10)).await;
        assert!((4..=12).contains(&first), "{first}");
        let later = probes(&health, Duration::from_secs(60)).await;
        assert!((11..=25).contains(&later), "{later}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_opens_it_again() {
        let health = ServiceHealth::default();
        assert!((0..5).any(|_| health.failed(CallKind::Usual)));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!((health.begin(), health.begin()), (Some(CallKind::Probe), None));
        assert!(health.succeeded() && !health.succeeded());
        assert_eq!(health.begin(), Some(CallKind::Usual));
        // Four failures and an answer are no outage.
        (0..4).for_each(|_| assert!(!health.failed(CallKind::Usual)));
        health.succeeded();
        assert!(!health.failed(CallKind::Usual) && !health.is_down());
    }
}
