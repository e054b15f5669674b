use super::*;

/// A keeper, and what it made its caller do.
struct Setup {
    keeper: SequenceKeeper<Vec<u8>>,
    now: Instant,
    actions: Vec<String>,
}

impl Setup {
    fn connected(has_replay: bool) -> Self {
        let mut setup = Self { keeper: SequenceKeeper::new(has_replay), now: Instant::now(), actions: Vec::new() };
        setup.connect();
        setup
    }

    /// With batches 0 to 9 applied.
    fn joined() -> Self {
        let mut setup = Self::connected(true);
        setup.replay(0..10);
        setup.end();
        setup.actions.clear();
        setup
    }

    fn connect(&mut self) {
        self.keeper.connected(self.now, note(&mut self.actions));
    }

    fn live(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.keeper.live(number, payload(number), self.now, note(&mut self.actions));
        }
    }

    fn replay(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.keeper.replayed(number, payload(number), self.now, note(&mut self.actions));
        }
    }

    fn end(&mut self) {
        self.keeper.replay_ended(self.now, note(&mut self.actions));
    }

    fn fail(&mut self) {
        self.keeper.replay_failed(self.now, note(&mut self.actions));
    }

    /// To the next deadline.
    fn wait(&mut self) {
        self.now = self.keeper.next_deadline().expect("a deadline");
        self.keeper.tick(self.now, note(&mut self.actions));
    }

    /// Actions since the last time.
    fn done(&mut self) -> String {
        std::mem::take(&mut self.actions).join(" ")
    }
}

fn payload(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn note(actions: &mut Vec<String>) -> impl FnMut(SequenceAction<Vec<u8>>) {
    |action| {
        actions.push(match action {
            SequenceAction::Clear => "clear".into(),
            SequenceAction::Apply { payload, .. } => String::from_utf8(payload).expect("a number"),
            SequenceAction::Replay { from } => format!("replay:{from}"),
            SequenceAction::AbandonReplay => "abandon".into(),
        });
    }
}

#[test]
fn a_join_replays_from_the_beginning_while_live_batches_wait() {
    let mut setup = Setup::connected(true);
    setup.live([3, 4]);
    setup.replay(0..4);
    setup.live([5]);
    assert!(!setup.keeper.is_complete());
    setup.end();
    setup.live([6]);
    assert_eq!(setup.done(), "clear replay:0 0 1 2 3 4 5 6");
    assert!(setup.keeper.is_complete());
}

#[test]
fn a_replay_may_be_ahead_of_live_batches() {
    let mut setup = Setup::connected(true);
    setup.replay(0..6);
    setup.live([4]);
    setup.end();
    setup.live([5, 6]);
    assert_eq!(setup.done(), "clear replay:0 0 1 2 3 4 5 6");
    assert_eq!(setup.keeper.counters().restarts, 0);
}

#[test]
fn a_gap_is_replayed_from_the_missing_batch() {
    let mut setup = Setup::joined();
    setup.live([10, 13, 14]);
    setup.replay(11..14);
    setup.end();
    assert_eq!(setup.done(), "10 replay:11 11 12 13 14");
    assert_eq!((setup.keeper.counters().gaps, setup.keeper.counters().restarts), (1, 0));
}

#[test]
fn a_gap_that_the_publisher_no_longer_has_forgets_all_and_goes_on() {
    let mut setup = Setup::joined();
    setup.live([50]);
    setup.replay(30..51);
    setup.end();
    let replayed: Vec<String> = (30..51).map(|number| number.to_string()).collect();
    assert_eq!(setup.done(), format!("replay:10 clear {}", replayed.join(" ")));
}

#[test]
fn an_engine_that_restarts_is_forgotten_at_once() {
    let mut setup = Setup::joined();
    setup.live([10, 11, 0, 1]);
    assert_eq!(setup.done(), "10 11 clear replay:0");
    setup.replay(0..2);
    setup.end();
    assert_eq!((setup.done().as_str(), setup.keeper.counters().restarts), ("0 1", 1));
}

/// Another picker cleared nothing without a replay socket, and stale blocks kept drawing requests.
#[test]
fn an_engine_without_replay_that_restarts_or_skips_is_forgotten_too() {
    let mut setup = Setup::connected(false);
    setup.live([7, 8, 8, 9, 11]);
    assert_eq!(setup.done(), "clear 7 8 clear 8 9 clear 11");
    assert!(!setup.keeper.is_complete() && setup.keeper.next_deadline().is_none());
    setup.live([0, 1]);
    assert_eq!(setup.done(), "clear 0 1");
    assert!(setup.keeper.is_complete());
}

#[test]
fn what_came_before_a_join_is_missing_until_the_engine_clears_its_cache() {
    let mut setup = Setup::connected(true);
    assert!(!setup.keeper.is_complete());
    setup.replay(5..8);
    setup.end();
    assert!(!setup.keeper.is_complete());
    setup.keeper.cache_cleared();
    setup.live([8]);
    assert!(setup.keeper.is_complete());
    setup.live([10]);
    assert!(!setup.keeper.is_complete());
}

#[test]
fn an_engine_that_has_published_nothing_has_nothing_cached() {
    let mut setup = Setup::connected(true);
    setup.end();
    assert!(setup.keeper.is_complete());
}

#[test]
fn an_engine_that_restarts_during_a_replay_is_replayed_anew() {
    let mut setup = Setup::joined();
    setup.live([12, 13]);
    setup.replay([10]);
    setup.live([0]);
    setup.replay([0]);
    setup.end();
    assert_eq!(setup.done(), "replay:10 10 clear replay:0 0");
}

#[test]
fn a_lost_connection_forgets_all_and_abandons_the_replay() {
    let mut setup = Setup::joined();
    setup.live([12]);
    setup.keeper.disconnected(note(&mut setup.actions));
    setup.replay([10]);
    setup.end();
    setup.connect();
    setup.replay([0]);
    assert_eq!(setup.done(), "replay:10 abandon clear clear replay:0 0");
}

#[test]
fn a_hole_in_a_replay_forgets_all_and_is_tried_again() {
    let mut setup = Setup::connected(true);
    setup.live([5]);
    setup.replay([0, 1, 4]);
    assert_eq!(setup.done(), "clear replay:0 0 1 abandon clear 5");
    assert!(!setup.keeper.is_complete());
    setup.live([6]);
    setup.wait();
    setup.replay(0..7);
    setup.end();
    assert_eq!(setup.done(), "6 clear replay:0 0 1 2 3 4 5 6");
    assert!(setup.keeper.is_complete());
}

#[test]
fn a_replay_that_does_not_end_in_time_has_failed() {
    let mut setup = Setup::joined();
    setup.live([12]);
    assert_eq!(setup.keeper.next_deadline(), None, "the replay waits for others");
    setup.keeper.replay_begun(setup.now);
    setup.replay([10]);
    setup.wait();
    assert_eq!(setup.done(), "replay:10 10 abandon clear 12");
    assert_eq!(setup.keeper.counters().failed_replays, 1);
}

/// Each answer drew the same question at once.
#[test]
fn a_replay_that_brings_nothing_of_what_is_missing_has_failed() {
    for replayed in [0..0, 0..10] {
        let mut setup = Setup::joined();
        setup.live([12]);
        setup.replay(replayed);
        setup.end();
        assert_eq!(setup.done(), "replay:10 abandon clear 12");
        assert_eq!(setup.keeper.counters().failed_replays, 1);
        assert!(!setup.keeper.is_complete());
        setup.wait();
        assert_eq!(setup.done(), "clear replay:0");
    }
}

#[test]
fn batches_of_a_replay_are_live_from_the_first_live_one_on() {
    let mut setup = Setup::connected(true);
    let mut live = Vec::new();
    setup.live([2, 6]);
    for number in 0..6 {
        let payload = payload(number);
        setup.keeper.replayed(number, payload, setup.now, |action| match action {
            SequenceAction::Apply { is_live, .. } => live.push(is_live),
            other => panic!("{other:?}"),
        });
    }
    setup.keeper.replay_ended(setup.now, |action| assert!(matches!(action, SequenceAction::Apply { is_live: true, .. })));
    assert_eq!(live, [false, false, true, true, true, true]);
}

#[test]
fn nothing_is_whole_after_a_replay_that_broke_off() {
    let mut setup = Setup::connected(true);
    for _ in 0..3 {
        setup.replay([0, 1]);
        setup.fail();
        assert!(!setup.keeper.is_complete());
        if setup.keeper.next_deadline().is_some() {
            setup.wait();
        }
    }
    assert!(setup.keeper.next_deadline().is_none() && !setup.keeper.is_complete());
}

#[test]
fn replays_that_fail_end_until_the_publisher_connects_anew() {
    let mut setup = Setup::connected(true);
    for _ in 0..2 {
        setup.fail();
        setup.wait();
    }
    setup.fail();
    setup.live([5, 7]);
    assert_eq!(setup.done(), "clear replay:0 abandon clear replay:0 abandon clear replay:0 abandon 5 clear 7");
    assert!(!setup.keeper.is_complete() && setup.keeper.next_deadline().is_none());
    setup.connect();
    assert_eq!(setup.done(), "clear replay:0");
}

#[test]
fn live_batches_beyond_the_queues_bound_are_asked_for_after_the_replay() {
    let mut setup = Setup::connected(true);
    setup.live(1..10_003);
    setup.replay([0]);
    setup.end();
    assert_eq!(setup.actions.len(), 2 + 10_001);
    setup.actions.clear();
    setup.live([10_003]);
    assert_eq!(setup.done(), "replay:10001");
}

#[test]
fn the_queue_is_bounded_by_bytes_too() {
    let mut queue = Queue::new();
    (0..20).for_each(|number| queue.push(number, vec![0; 1 << 20]));
    assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 16);
    queue.push(20, vec![0; 1 << 20]);
    assert_eq!(queue.pop().map(|batch| batch.0), Some(20));
}
