//! Room that requests leave to a higher priority.

use super::*;

/// An endpoint with room for 4 requests, of which lower priorities use 2.
const HALF: Queueing = Queueing { max_concurrency: Some(4), reserve: 50, ..SETTINGS };

fn of(priority: i32) -> PickRequest<'static> {
    PickRequest { priority, ..standard() }
}

/// Whether there is room for a request of this priority.
fn has_room(fixture: &Fixture, priority: i32) -> bool {
    fixture.state.pick_if_room(&PickRequest { is_copy: true, ..of(priority) }).is_ok()
}

#[test]
fn the_highest_priority_finds_the_room_that_others_leave_to_it() {
    let (fixture, runtime) = fixture(1, Queueing { max_concurrency: Some(4), reserve: 50, ..SETTINGS });
    let _entered = runtime.0.enter();
    let pick = |priority| fixture.state.pick_if_room(&PickRequest { priority, ..standard() });
    let begin = |level| {
        let mut waiting = Waiting::new(&fixture.state, PickRequest { priority: level, ..standard() }, priority(level));
        assert!(waiting.poll().is_pending());
        waiting
    };
    // Alone, a priority uses all of it.
    let mut held: Vec<_> = (0..3).map(|_| pick(0).unwrap()).collect();
    held.push(pick(1).unwrap());
    held.drain(..2);
    let mut lower = [begin(0), begin(-1)];
    assert!(lower.iter().all(|it| !it.is_woken()), "half of it is left to the highest");
    let mut highest = [Waiting::new(&fixture.state, PickRequest { priority: 1, ..standard() }, priority(1))];
    let Poll::Ready(Ok(urgent)) = highest[0].poll() else { panic!("there is room for it, though others wait") };
    held.push(urgent);
    held.drain(..2);
    held.push(goes(&mut lower, 0));
    assert_eq!(fixture.in_flight(), [2]);
}

#[test]
fn beside_other_gateways_no_room_is_left() {
    let (fixture, _runtime) = fixture(1, HALF);
    drop(fixture.state.pick_if_room(&of(1)).unwrap());
    let held = [fixture.pick(&of(0)), fixture.pick(&of(0))];
    fixture.scraped(0, load(0.0, 2.0, 0.0));
    assert!(!has_room(&fixture, 0), "both are from here");
    drop(held);
    fixture.scraped(0, load(0.0, 3.0, 0.0));
    assert!(has_room(&fixture, 0), "others would fill what this gateway leaves");
    fixture.scraped(0, load(0.0, 4.0, 0.0));
    assert!(!has_room(&fixture, 0) && !has_room(&fixture, 1));
}

#[test]
fn nothing_is_broken_off_for_those_that_leave_room() {
    let (fixture, runtime) = fixture(1, Queueing { evicts: true, ..HALF });
    let _entered = runtime.0.enter();
    let batch = [fixture.pick(&of(-1)), fixture.pick(&of(-1))];
    let evicted = || {
        let context = Context::from_waker(std::task::Waker::noop());
        batch.iter().filter(|it| it.eviction().unwrap().poll_given(&context)).count()
    };
    let _urgent = fixture.state.pick_if_room(&of(1)).unwrap();
    let mut lower = Waiting::new(&fixture.state, of(0), priority(0));
    assert!(lower.poll().is_pending());
    assert_eq!(evicted(), 0, "the endpoint has room, for the highest");
    let _full = [fixture.pick(&of(1))];
    let mut highest = Waiting::new(&fixture.state, of(1), priority(1));
    assert!(highest.poll().is_pending());
    assert_eq!(evicted(), 1, "there is none");
}

#[test]
fn no_room_is_left_to_requests_that_no_endpoint_serves_nor_to_copies() {
    let (fixture, _runtime) = fixture(1, HALF);
    let elsewhere = [address(7)];
    let absent = fixture.state.pick_if_room(&PickRequest { subset: Some(&elsewhere), ..of(5) });
    assert_eq!(absent.err(), Some(PickError::NoEndpoints));
    drop(fixture.state.pick_if_room(&PickRequest { is_copy: true, ..of(5) }).unwrap());
    let _held = [fixture.pick(&of(0)), fixture.pick(&of(0))];
    assert!(has_room(&fixture, 0));
    drop(fixture.state.pick_if_room(&of(5)).unwrap());
    assert!(!has_room(&fixture, 0));
}

#[test]
fn a_priority_counts_from_when_it_begins_to_wait() {
    let (fixture, runtime) = fixture(1, HALF);
    let _entered = runtime.0.enter();
    let mut held: Vec<_> = (0..4).map(|_| fixture.pick(&of(0))).collect();
    let _waiting =
        [begin(&fixture, priority(0)), Waiting::new(&fixture.state, of(1), priority(1))].map(|mut it| it.poll().is_pending());
    held.truncate(2);
    assert!(!has_room(&fixture, 0) && has_room(&fixture, 1));
}

#[test]
fn a_preview_leaves_room_and_counts_for_nothing() {
    let (fixture, _runtime) = fixture(1, HALF);
    let saturation = |priority| fixture.state.preview(&of(priority)).unwrap().saturation;
    let _held = [fixture.pick(&of(0)), fixture.pick(&of(0))];
    assert_eq!((saturation(1), saturation(0)), (0.5, 0.5));
    drop(fixture.state.pick_if_room(&of(1)).unwrap());
    assert_eq!((saturation(1), saturation(0)), (0.5, 1.0));
}
