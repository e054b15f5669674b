//! Admission control: how the attempts at a backend fared of late, and whether the next may be made.
//!
//! A window belongs to a circuit breaker, which has the same scope and outlives reloads.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use pailou_snapshot::AdmissionControl;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Attempts of the last seconds at one backend. The settings come with each call, from the rule in force.
#[derive(Debug, Default)]
pub struct AdmissionWindow {
    seconds: Mutex<Seconds>,
    rejected: AtomicU64,
}

#[derive(Debug, Default)]
struct Seconds {
    /// The first attempt's time, from which seconds are counted.
    begun: Option<Instant>,
    /// The longest window of a rule that has asked; at most [`AdmissionControl::MAX_WINDOW`].
    kept: u64,
    /// Seconds in which there was an attempt, oldest first; none is older than `kept`.
    counts: VecDeque<Second>,
}

#[derive(Debug)]
struct Second {
    number: u64,
    requests: u32,
    successes: u32,
}

impl AdmissionWindow {
    /// Whether an attempt may be made. `chance` is drawn at random, from 0 up to 1.
    pub fn admits(&self, control: &AdmissionControl, now: Instant, chance: f64) -> bool {
        let window = seconds(control.sampling_window);
        let (requests, successes) = self.seconds.lock().sums(window, now);
        if requests / window < u64::from(control.min_request_rate) {
            return true;
        }
        let admits = chance >= control.rejection_probability(requests, successes);
        if !admits {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }

    /// Counts an attempt.
    pub fn record(&self, control: &AdmissionControl, now: Instant, is_success: bool) {
        self.seconds.lock().record(seconds(control.sampling_window), now, is_success);
    }

    /// Attempts that were not admitted.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
}

fn seconds(window: Duration) -> u64 {
    window.min(AdmissionControl::MAX_WINDOW).as_secs().max(1)
}

impl Seconds {
    fn number(&mut self, now: Instant) -> u64 {
        now.saturating_duration_since(*self.begun.get_or_insert(now)).as_secs()
    }

    fn sums(&mut self, window: u64, now: Instant) -> (u64, u64) {
        let now = self.number(now);
        let counted = self.counts.iter().rev().take_while(|second| now.saturating_sub(second.number) < window);
        counted.fold((0, 0), |(requests, successes), second| {
            (requests + u64::from(second.requests), successes + u64::from(second.successes))
        })
    }

    fn record(&mut self, window: u64, now: Instant, is_success: bool) {
        let now = self.number(now);
        self.kept = self.kept.max(window);
        while self.counts.front().is_some_and(|second| now.saturating_sub(second.number) >= self.kept) {
            self.counts.pop_front();
        }
        if self.counts.back().is_none_or(|second| second.number < now) {
            self.counts.push_back(Second { number: now, requests: 0, successes: 0 });
        }
        if let Some(second) = self.counts.back_mut() {
            second.requests = second.requests.saturating_add(1);
            second.successes = second.successes.saturating_add(u32::from(is_success));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(control: &AdmissionControl, outcomes: &[(u64, bool)]) -> (AdmissionWindow, Instant) {
        let (window, begin) = (AdmissionWindow::default(), Instant::now());
        for (second, is_success) in outcomes {
            window.record(control, begin + Duration::from_secs(*second), *is_success);
        }
        (window, begin)
    }

    #[test]
    fn failures_are_forgotten_after_the_window() {
        let control = AdmissionControl { sampling_window: Duration::from_secs(3), ..AdmissionControl::default() };
        let (window, begin) = window(&control, &[(0, false), (0, false), (0, false), (1, false)]);
        let at = |second, chance| window.admits(&control, begin + Duration::from_secs(second), chance);
        assert!(!at(1, 0.0) && !at(1, 0.79) && at(1, 0.81), "four failures: 4/5 are refused");
        assert!(!at(3, 0.49) && at(3, 0.51), "one failure is left: 1/2");
        assert!(at(4, 0.0));
        assert_eq!(window.rejected(), 3);
    }

    #[test]
    fn few_requests_are_all_admitted() {
        let control =
            AdmissionControl { sampling_window: Duration::from_secs(2), min_request_rate: 2, ..AdmissionControl::default() };
        let (window, begin) = window(&control, &[(0, false), (0, false), (0, false)]);
        assert!(window.admits(&control, begin, 0.0));
        window.record(&control, begin, false);
        assert!(!window.admits(&control, begin, 0.0), "four in two seconds are two a second");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let control = AdmissionControl { sampling_window: Duration::from_secs(5), ..AdmissionControl::default() };
        let outcomes: Vec<_> = (0..1000).map(|second| (second, true)).collect();
        let (window, _) = window(&control, &outcomes);
        assert_eq!(window.seconds.lock().counts.len(), 5);
    }
}
