//! Limits of bandwidth: bytes of bodies pass as tokens come in.
//!
//! A bucket holds at most the tokens of a second, as Envoy's does, and begins with those of one interval. Whatever waits looks again after
//! an interval.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use foldhash::HashMap;
use pailou_snapshot::RouteName;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::timer::Timer;

/// Envoy's default interval between two looks into the bucket.
const FILL_INTERVAL: Duration = Duration::from_millis(50);
/// Rules whose buckets are kept before those that nobody uses are given up.
const MIN_KEPT: usize = 64;

/// Buckets of rules with a limit.
#[derive(Debug, Default)]
pub struct RuleBuckets(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_rule: HashMap<RouteName, Arc<Buckets>>,
    /// How many are kept before the unused ones go.
    room: usize,
}

/// Buckets of one rule.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) request: Bucket,
    pub(crate) response: Bucket,
}

/// Tokens, each for a byte. The rate comes with each call, from the rule in force.
#[derive(Debug, Default)]
pub(crate) struct Bucket(Mutex<Option<Tokens>>);

#[derive(Debug)]
struct Tokens {
    left: u64,
    /// Until when tokens have been put in.
    filled: Instant,
}

impl RuleBuckets {
    /// The buckets of a rule.
    pub(crate) fn of(&self, rule: &RouteName) -> Arc<Buckets> {
        let mut known = self.0.lock();
        if let Some(buckets) = known.by_rule.get(rule) {
            return Arc::clone(buckets);
        }
        if known.by_rule.len() >= known.room.max(MIN_KEPT) {
            // A bucket without a request is as good as a new one, but for a second's tokens.
            known.by_rule.retain(|_, buckets| Arc::strong_count(buckets) > 1);
            known.room = known.by_rule.len() * 2;
        }
        Arc::clone(known.by_rule.entry(rule.clone()).or_default())
    }
}

impl Bucket {
    /// Takes up to so many tokens of those there are.
    fn take(&self, rate: u64, wanted: usize, now: Instant) -> usize {
        let mut tokens = self.0.lock();
        let first = || Tokens { left: filled(rate, FILL_INTERVAL), filled: now };
        let tokens = tokens.get_or_insert_with(first);
        let since = now.saturating_duration_since(tokens.filled);
        let more = filled(rate, since);
        if more > 0 {
            tokens.left = tokens.left.saturating_add(more).min(rate);
            // Parts of a token are not lost.
            let used = u128::from(more) * 1_000_000_000 / u128::from(rate);
            tokens.filled += Duration::from_nanos(u64::try_from(used).unwrap_or(u64::MAX)).min(since);
        }
        let taken = usize::try_from(tokens.left).unwrap_or(usize::MAX).min(wanted);
        tokens.left -= taken as u64;
        taken
    }
}

fn filled(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}

/// The way of one body past a bucket.
pub(crate) struct Gate {
    buckets: Arc<Buckets>,
    bucket: fn(&Buckets) -> &Bucket,
    /// Bytes in a second.
    rate: u64,
    /// Runs while the bucket is empty.
    timer: Option<(Timer, Instant)>,
    begun: Option<Instant>,
    /// Time spent waiting for tokens.
    held_up: Duration,
}

impl Gate {
    /// A way past a bucket of a rule.
    pub(crate) fn new(buckets: Arc<Buckets>, bucket: fn(&Buckets) -> &Bucket, rate: u64) -> Self {
        Self { buckets, bucket, rate, timer: None, begun: None, held_up: Duration::ZERO }
    }

    /// As much of the bytes as may pass now; not nothing, and not before there are tokens.
    pub(crate) fn poll_pass(&mut self, held: &mut Bytes, context: &mut Context<'_>) -> Poll<Bytes> {
        self.poll_count(held.len(), context).map(|count| held.split_to(count))
    }

    /// How many of so many bytes may pass now; not none, and not before there are tokens.
    pub(crate) fn poll_count(&mut self, wanted: usize, context: &mut Context<'_>) -> Poll<usize> {
        loop {
            if let Some((timer, since)) = &mut self.timer {
                ready!(timer.poll(context));
                self.held_up += since.elapsed();
                self.timer = None;
            }
            let now = Instant::now();
            self.begun.get_or_insert(now);
            let count = (self.bucket)(&self.buckets).take(self.rate, wanted, now);
            if count < wanted {
                // The few tokens that come before an interval is over are not worth a look.
                self.timer = Some((Timer::new(now + FILL_INTERVAL), now));
            }
            if count > 0 {
                return Poll::Ready(count);
            }
        }
    }

    /// How long it took since the first byte, and for how much of that time the bucket was empty.
    pub(crate) fn delays(&self) -> Delays {
        Delays { passage: self.begun.map(|begun| begun.elapsed()).unwrap_or_default(), held_up: self.held_up }
    }
}

/// Times that a body took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delays {
    /// From its first byte to its last.
    pub(crate) passage: Duration,
    /// Part of that in which it waited for tokens.
    pub(crate) held_up: Duration,
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const RATE: u64 = 2000;

    #[test]
    fn tokens_come_in_at_the_rate_and_no_more_are_kept_than_those_of_a_second() {
        let (bucket, begin) = (Bucket::default(), Instant::now());
        let take = |wanted, millis| bucket.take(RATE, wanted, begin + Duration::from_millis(millis));
        assert_eq!(take(1000, 0), 100, "the tokens of an interval");
        assert_eq!([take(1000, 50), take(1000, 100), take(30, 150), take(1000, 150)], [100, 100, 30, 70]);
        assert_eq!(take(100_000, 60_000), 2000);
        assert_eq!(take(100_000, 60_000), 0);
    }

    #[test]
    fn parts_of_tokens_are_not_lost() {
        let (bucket, begin) = (Bucket::default(), Instant::now());
        let taken: usize = (0..=1000).map(|step| bucket.take(RATE, 1000, begin + Duration::from_micros(step * 700))).sum();
        assert_eq!(taken, 1500);
    }

    #[tokio::test]
    async fn bytes_wait_for_tokens_and_tell_how_long() {
        let buckets = RuleBuckets::default().of(&rule(0));
        let mut gate = Gate::new(buckets, |buckets| &buckets.response, RATE);
        let mut held = Bytes::from(vec![0; 300]);
        let (begin, mut passed) = (Instant::now(), 0);
        while !held.is_empty() {
            passed += poll_fn(|context| gate.poll_pass(&mut held, context)).await.len();
        }
        // The tokens of an interval were there.
        assert!(passed == 300 && begin.elapsed() >= Duration::from_millis(100));
        let Delays { passage, held_up } = gate.delays();
        assert!(passage >= held_up && held_up >= FILL_INTERVAL, "{passage:?} {held_up:?}");
    }

    #[test]
    fn buckets_of_rules_without_requests_are_given_up() {
        let buckets = RuleBuckets::default();
        let used = buckets.of(&rule(0));
        for number in 1..10_000 {
            buckets.of(&rule(number));
        }
        assert!(buckets.0.lock().by_rule.len() <= MIN_KEPT);
        assert!(Arc::ptr_eq(&used, &buckets.of(&rule(0))));
    }

    fn rule(rule: u16) -> RouteName {
        RouteName {
            kind: pailou_snapshot::RouteKind::Http,
            name: pailou_snapshot::Name::new("default", "route"),
            rule,
            rule_name: None,
        }
    }
}
