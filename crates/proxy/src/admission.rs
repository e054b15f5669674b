//! Admission control: how the attempts at a backend fared of late, and whether the next may be made.
//!
//! A window belongs to a circuit breaker, which has the same scope and outlives reloads.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use http::StatusCode;
use pailou_snapshot::AdmissionControl;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Most windows of one backend: of so many settings that differ.
const MAX_WINDOWS: usize = 64;

/// Attempts of the last seconds at one backend. The settings come with each call, from the rule in force. Rules share a window where
/// they count alike: another's criteria must not make failures of this one's successes.
#[derive(Debug, Default)]
pub struct AdmissionWindows {
    windows: Mutex<Vec<Window>>,
    rejected: AtomicU64,
}

/// Attempts of some rules.
#[derive(Debug)]
struct Window {
    /// Seconds that count.
    length: u64,
    http_success: Vec<StatusCode>,
    grpc_success: u32,
    /// Time from which seconds are counted.
    begun: Instant,
    used: Instant,
    /// Seconds in which there was an attempt, oldest first; none is older than `length` when last used.
    seconds: VecDeque<Second>,
    /// Sums of `seconds`.
    requests: u64,
    successes: u64,
}

#[derive(Debug)]
struct Second {
    number: u64,
    requests: u64,
    successes: u64,
}

impl AdmissionWindows {
    /// Whether an attempt may be made. `chance` is drawn at random, from 0 up to 1.
    pub fn admits(&self, control: &AdmissionControl, now: Instant, chance: f64) -> bool {
        let mut windows = self.windows.lock();
        let window = window(&mut windows, control, now);
        let (length, requests, successes) = (window.length, window.requests, window.successes);
        drop(windows);
        if requests / length < u64::from(control.min_request_rate) {
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
        window(&mut self.windows.lock(), control, now).record(now, is_success);
    }

    /// Attempts that were not admitted.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
}

/// The window of these settings, without what is too old. Those that nobody has used for their length make room for others, and if they
/// are too few the one that was used least lately.
fn window<'w>(windows: &'w mut Vec<Window>, control: &AdmissionControl, now: Instant) -> &'w mut Window {
    let index = windows.iter().position(|window| window.is_of(control)).unwrap_or_else(|| {
        windows.retain(|window| now.saturating_duration_since(window.used).as_secs() < window.length);
        let oldest = windows.iter().enumerate().min_by_key(|(_, window)| window.used).map(|(index, _)| index);
        if let Some(oldest) = oldest.filter(|_| windows.len() >= MAX_WINDOWS) {
            windows.swap_remove(oldest);
        }
        windows.push(Window::new(control, now));
        windows.len() - 1
    });
    let window = &mut windows[index];
    window.forget(now);
    window
}

fn length(control: &AdmissionControl) -> u64 {
    control.sampling_window.min(AdmissionControl::MAX_WINDOW).as_secs().max(1)
}

impl Window {
    fn new(control: &AdmissionControl, now: Instant) -> Self {
        Self {
            length: length(control),
            http_success: control.http_success.clone(),
            grpc_success: control.grpc_success,
            begun: now,
            used: now,
            seconds: VecDeque::new(),
            requests: 0,
            successes: 0,
        }
    }

    fn is_of(&self, control: &AdmissionControl) -> bool {
        self.length == length(control) && self.grpc_success == control.grpc_success && self.http_success == control.http_success
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_secs()
    }

    /// Takes seconds that are over out of the sums.
    fn forget(&mut self, now: Instant) {
        self.used = self.used.max(now);
        let (now, length) = (self.number(now), self.length);
        while let Some(second) = self.seconds.pop_front_if(|second| now.saturating_sub(second.number) >= length) {
            self.requests -= second.requests;
            self.successes -= second.successes;
        }
    }

    fn record(&mut self, now: Instant, is_success: bool) {
        let number = self.number(now);
        if self.seconds.back().is_none_or(|second| second.number < number) {
            self.seconds.push_back(Second { number, requests: 0, successes: 0 });
        }
        if let Some(second) = self.seconds.back_mut() {
            second.requests += 1;
            second.successes += u64::from(is_success);
            self.requests += 1;
            self.successes += u64::from(is_success);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn window(control: &AdmissionControl, outcomes: &[(u64, bool)]) -> (AdmissionWindows, Instant) {
        let (window, begin) = (AdmissionWindows::default(), Instant::now());
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
        assert_eq!(window.windows.lock()[0].seconds.len(), 5);
        for length in 1..1000 {
            let control = AdmissionControl { sampling_window: Duration::from_secs(length), ..AdmissionControl::default() };
            window.record(&control, Instant::now(), true);
        }
        assert_eq!(window.windows.lock().len(), MAX_WINDOWS);
    }

    #[test]
    fn sums_are_those_of_the_seconds_that_count() {
        let control = AdmissionControl { sampling_window: Duration::from_secs(7), ..AdmissionControl::default() };
        let (windows, begin) = window(&control, &[]);
        let mut outcomes = Vec::new();
        for step in 0..500_u64 {
            let (second, is_success) = (step * step % 11 / 4 + step / 3, step % 3 != 0);
            let second = outcomes.last().map_or(second, |(last, _)| second.max(*last));
            outcomes.push((second, is_success));
            windows.record(&control, begin + Duration::from_secs(second), is_success);
            let counted = outcomes.iter().filter(|(at, _)| second - at < 7);
            let successes = counted.clone().filter(|(_, is_success)| *is_success).count() as u64;
            let windows = windows.windows.lock();
            assert_eq!((windows[0].requests, windows[0].successes), (counted.count() as u64, successes), "second {second}");
        }
    }

    #[test]
    fn criteria_of_another_rule_make_no_failures() {
        let mine = AdmissionControl::default();
        let strict = AdmissionControl { http_success: vec![StatusCode::NO_CONTENT], ..AdmissionControl::default() };
        let (windows, begin) = window(&strict, &[(0, false), (0, false), (0, false), (0, false)]);
        assert!(!windows.admits(&strict, begin, 0.0));
        assert!(windows.admits(&mine, begin, 0.0), "200 is no failure here");
        let alike = AdmissionControl { max_rejection_percent: 100, ..strict };
        assert!(!windows.admits(&alike, begin, 0.0), "rules that count alike count together");
    }
}
