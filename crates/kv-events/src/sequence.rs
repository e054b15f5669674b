//! Keeping a publisher's batches in sequence, without sockets or a clock.
//!
//! Batches are numbered from 0 in each process of an engine. A publisher has no snapshot to offer; it may have a second socket that
//! sends its last batches (10,000 by default) again. What was missed may have been a removal, so that blocks are forgotten wherever
//! the sequence is broken and cannot be mended:
//!
//! | batch | meaning | consequence |
//! |---|---|---|
//! | first of a connection | joined an engine that runs | forget all, replay from 0 |
//! | number not above the last live one | engine restarted | forget all, replay from 0 |
//! | number skipped | batches lost | replay from the missing one |
//! | replay without the missing one | it is lost for good | forget all, go on from what there is |
//!
//! Without a replay socket the consequence is to forget all and to go on. Live batches wait during a replay, in a queue with a bound. A
//! replay that fails, or brings nothing of what is missing, is tried again after a pause, thrice at most until one succeeds.

mod queue;

use std::time::{Duration, Instant};

use self::queue::Queue;

/// Time for a whole replay, once it is asked for.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause after a replay that failed.
const REPLAY_BACKOFF: Duration = Duration::from_secs(30);
/// Replays in a row that may fail until the publisher connects anew.
const MAX_FAILED_REPLAYS: u32 = 3;

/// Something that the caller has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceAction<P> {
    /// Forget the publisher's blocks.
    Clear,
    /// Apply a batch.
    Apply {
        /// The batch.
        payload: P,
        /// Whether it was published while connected; otherwise it may be of any age.
        is_live: bool,
    },
    /// Ask for all batches from this number on. A replay under way is abandoned: nothing of it is to be reported any more.
    Replay {
        /// Number of the first batch.
        from: u64,
    },
    /// Abandon the replay under way.
    AbandonReplay,
}

/// Counts since the keeper was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceCounters {
    /// Restarts of the engine, by the numbers of its batches.
    pub restarts: u64,
    /// Places where numbers were skipped.
    pub gaps: u64,
    /// Replays asked for.
    pub replays: u64,
    /// Replays that failed or had a hole.
    pub failed_replays: u64,
}

/// Sequence of one publisher's batches. `P` is a batch's payload.
#[derive(Debug)]
pub struct SequenceKeeper<P> {
    has_replay: bool,
    /// Number of the last batch applied; `None` after all was forgotten.
    last: Option<u64>,
    /// Number of the last live batch, applied or queued. A replay may be ahead of it.
    last_live: Option<u64>,
    /// Number of the first live batch of the engine that runs.
    first_live: Option<u64>,
    /// Whether nothing that still counts came before what has been applied.
    is_whole: bool,
    replay: Option<Replay>,
    queue: Queue<P>,
    /// Replays in a row that failed.
    failed: u32,
    /// When to replay from 0, because something is missing.
    retry_at: Option<Instant>,
    counters: SequenceCounters,
}

/// A replay under way.
#[derive(Clone, Copy, Debug)]
struct Replay {
    /// `None`: it waits for others to end.
    deadline: Option<Instant>,
    /// Whether a batch of it has come.
    has_begun: bool,
    /// Whether it has brought a batch that was missing.
    has_advanced: bool,
}

impl<P: AsRef<[u8]>> SequenceKeeper<P> {
    /// A keeper for a publisher, with or without a replay socket.
    pub fn new(has_replay: bool) -> Self {
        Self {
            has_replay,
            last: None,
            last_live: None,
            first_live: None,
            is_whole: false,
            replay: None,
            queue: Queue::new(),
            failed: 0,
            retry_at: None,
            counters: SequenceCounters::default(),
        }
    }

    /// Counts.
    pub fn counters(&self) -> SequenceCounters {
        self.counters
    }

    /// Whether all is known that the engine has cached: its batches from the first on, or since it cleared its cache.
    pub fn is_complete(&self) -> bool {
        self.is_whole && self.replay.is_none() && self.retry_at.is_none()
    }

    /// A batch said that the engine has cleared its cache: what came before no longer matters.
    pub fn cache_cleared(&mut self) {
        self.is_whole = true;
    }

    /// When [`SequenceKeeper::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.replay.map_or(self.retry_at, |replay| replay.deadline)
    }

    /// The subscription is connected.
    pub fn connected(&mut self, now: Instant, mut act: impl FnMut(SequenceAction<P>)) {
        self.failed = 0;
        self.begin(now, &mut act);
    }

    /// The subscription has lost its connection. Nothing is known of the engine from here on.
    pub fn disconnected(&mut self, mut act: impl FnMut(SequenceAction<P>)) {
        if self.replay.take().is_some() {
            act(SequenceAction::AbandonReplay);
        }
        (self.first_live, self.last_live, self.retry_at) = (None, None, None);
        self.queue.clear();
        self.clear(&mut act);
    }

    /// A live batch came.
    pub fn live(&mut self, number: u64, payload: P, now: Instant, mut act: impl FnMut(SequenceAction<P>)) {
        if self.last_live.is_some_and(|last| number <= last) {
            self.counters.restarts += 1;
            self.failed = 0;
            self.begin(now, &mut act);
        }
        self.last_live = Some(number);
        self.first_live.get_or_insert(number);
        if self.replay.is_some() {
            self.queue.push(number, payload);
            return;
        }
        self.take(number, payload, now, &mut act);
    }

    /// The replay no longer waits for others: its time begins.
    pub fn replay_begun(&mut self, now: Instant) {
        if let Some(replay) = &mut self.replay {
            replay.deadline = Some(now + REPLAY_TIMEOUT);
        }
    }

    /// A batch of the replay came.
    pub fn replayed(&mut self, number: u64, payload: P, now: Instant, mut act: impl FnMut(SequenceAction<P>)) {
        let Some(replay) = &mut self.replay else { return };
        let has_begun = std::mem::replace(&mut replay.has_begun, true);
        match self.last {
            Some(last) if number <= last => return,
            Some(last) if number > last + 1 && has_begun => return self.fail(now, &mut act),
            // The publisher no longer has what is missing, and a further replay would not have it either.
            Some(last) if number > last + 1 => self.clear(&mut act),
            _ => {}
        }
        if let Some(replay) = &mut self.replay {
            replay.has_advanced = true;
        }
        let is_live = self.first_live.is_some_and(|first| first <= number);
        self.apply(number, payload, is_live, &mut act);
    }

    /// The replay has come to its end.
    pub fn replay_ended(&mut self, now: Instant, mut act: impl FnMut(SequenceAction<P>)) {
        let Some(replay) = self.replay else { return };
        let is_gap = self.last.zip(self.queue.first()).is_some_and(|(last, first)| first > last + 1);
        if is_gap && !replay.has_advanced {
            // Asked again at once, the publisher would answer the same.
            return self.fail(now, &mut act);
        }
        self.replay = None;
        if replay.has_begun {
            self.failed = 0;
        } else if self.last.is_none() {
            // The engine has not published anything yet.
            self.is_whole = true;
        }
        while let Some((number, payload)) = self.queue.pop() {
            self.take(number, payload, now, &mut act);
            if self.replay.is_some() {
                return;
            }
        }
    }

    /// The replay could not be had, or broke off.
    pub fn replay_failed(&mut self, now: Instant, mut act: impl FnMut(SequenceAction<P>)) {
        if self.replay.is_some() {
            self.fail(now, &mut act);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, mut act: impl FnMut(SequenceAction<P>)) {
        match (self.replay, self.retry_at) {
            (Some(replay), _) if replay.deadline.is_some_and(|deadline| deadline <= now) => self.fail(now, &mut act),
            (None, Some(retry_at)) if retry_at <= now => self.begin(now, &mut act),
            _ => {}
        }
    }

    /// Forgets all and begins anew.
    fn begin(&mut self, now: Instant, act: &mut impl FnMut(SequenceAction<P>)) {
        (self.first_live, self.last_live) = (None, None);
        self.queue.clear();
        self.clear(act);
        self.request(0, now, act);
    }

    /// Takes a live batch while there is no replay.
    fn take(&mut self, number: u64, payload: P, now: Instant, act: &mut impl FnMut(SequenceAction<P>)) {
        match self.last {
            Some(last) if number <= last => return,
            Some(last) if number > last + 1 => {
                self.counters.gaps += 1;
                if self.request(last + 1, now, act) {
                    return self.queue.push_front(number, payload);
                }
                self.clear(act);
            }
            _ => {}
        }
        self.apply(number, payload, true, act);
    }

    fn apply(&mut self, number: u64, payload: P, is_live: bool, act: &mut impl FnMut(SequenceAction<P>)) {
        if self.last.is_none() {
            self.is_whole = number == 0;
        }
        self.last = Some(number);
        act(SequenceAction::Apply { payload, is_live });
    }

    fn clear(&mut self, act: &mut impl FnMut(SequenceAction<P>)) {
        (self.last, self.is_whole) = (None, false);
        act(SequenceAction::Clear);
    }

    /// Asks for a replay. Returns whether there is one to be had.
    fn request(&mut self, from: u64, now: Instant, act: &mut impl FnMut(SequenceAction<P>)) -> bool {
        let must_wait = self.retry_at.is_some_and(|retry_at| now < retry_at);
        if !self.has_replay || must_wait || self.failed == MAX_FAILED_REPLAYS {
            return false;
        }
        self.retry_at = None;
        self.counters.replays += 1;
        self.replay = Some(Replay { deadline: None, has_begun: false, has_advanced: false });
        act(SequenceAction::Replay { from });
        true
    }

    /// Goes on with the live batches there are, and tries again later.
    fn fail(&mut self, now: Instant, act: &mut impl FnMut(SequenceAction<P>)) {
        (self.replay, self.is_whole) = (None, false);
        self.counters.failed_replays += 1;
        self.failed += 1;
        self.retry_at = (self.failed < MAX_FAILED_REPLAYS).then_some(now + REPLAY_BACKOFF);
        act(SequenceAction::AbandonReplay);
        while let Some((number, payload)) = self.queue.pop() {
            self.take(number, payload, now, act);
        }
    }
}

#[cfg(test)]
mod tests;
