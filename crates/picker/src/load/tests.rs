use std::time::Duration;

use super::*;
use crate::testing;

fn level(requests: u32) -> Level {
    let in_flight = InFlight::default();
    (0..requests).for_each(|_| in_flight.reserve(Tokens(100)));
    in_flight.level()
}

fn reading(waiting: f32, running: f32, sent: u32, now: Instant) -> Reading {
    Reading::default().successor(Some(testing::load(waiting, running, 0.0)), level(sent), Duration::from_millis(100), now)
}

#[test]
fn a_reservation_and_its_release_leave_nothing() {
    let in_flight = InFlight::default();
    let tokens = Tokens::estimate(usize::MAX, Some(u64::MAX));
    in_flight.reserve(tokens);
    assert_eq!((in_flight.level().requests(), in_flight.level().tokens()), (1, MOST_TOKENS));
    in_flight.release(tokens);
    assert_eq!(in_flight.level(), Level::default());
}

#[test]
fn a_million_of_the_largest_requests_do_not_spill() {
    let level = Level((1_u64 << 20).wrapping_sub(1) * Tokens(MOST_TOKENS).with_request());
    assert_eq!(level.requests(), (1 << 20) - 1);
}

#[test]
fn of_two_who_judged_the_same_level_one_reserves() {
    let in_flight = InFlight::default();
    let judged = in_flight.level();
    assert!(in_flight.reserve_at(judged, Tokens(1)));
    assert!(!in_flight.reserve_at(judged, Tokens(1)));
}

#[test]
fn output_is_estimated_no_longer_than_allowed() {
    assert_eq!(Tokens::estimate(400, None), Tokens(100 + ASSUMED_OUTPUT));
    assert_eq!(Tokens::estimate(400, Some(10)), Tokens(110));
    assert_eq!(Tokens::estimate(400, Some(100_000)), Tokens(100 + ASSUMED_OUTPUT));
}

#[test]
fn own_requests_that_a_scrape_counted_are_not_counted_twice() {
    let now = Instant::now();
    // The engine runs 10: 4 are ours, 6 come from elsewhere.
    let scraped = reading(0.0, 10.0, 4, now);
    for (sent, expected) in [(4, 10.0), (9, 15.0), (0, 6.0)] {
        let load = Load::new(level(sent), &scraped, now);
        assert_eq!((load.foreign, load.running, load.waiting), (6.0, expected, 0.0), "{sent} in flight");
    }
}

#[test]
fn requests_still_on_their_way_when_scraped_are_not_foreign_credit() {
    let now = Instant::now();
    let load = Load::new(level(8), &reading(0.0, 3.0, 8, now), now);
    assert_eq!((load.foreign, load.running), (0.0, 8.0));
}

#[test]
fn what_is_sent_to_a_queue_waits() {
    let now = Instant::now();
    let scraped = reading(3.0, 10.0, 13, now);
    assert_eq!(Load::new(level(20), &scraped, now).waiting, 10.0);
    assert_eq!(Load::new(level(11), &scraped, now).waiting, 1.0);
    assert_eq!(Load::new(level(2), &scraped, now).waiting, 0.0);
}

#[test]
fn without_a_queue_requests_wait_only_beyond_the_slots_shown() {
    let now = Instant::now();
    let empty = reading(0.0, 0.0, 0, now);
    assert_eq!(Load::new(level(300), &empty, now).waiting, 300.0 - ASSUMED_SLOTS);
    let narrow = Reading { slots: Some(32), ..empty };
    assert_eq!(Load::new(level(40), &narrow, now).waiting, 8.0);
    let without_figures = |seconds| Load::new(level(40), &narrow, now + Duration::from_secs(seconds)).waiting;
    assert_eq!((without_figures(59), without_figures(61)), (8.0, 0.0), "what was seen long ago counts no more");
}

#[test]
fn stale_and_failed_scrapes_leave_what_is_known_here() {
    let now = Instant::now();
    let scraped = reading(50.0, 100.0, 0, now);
    assert!(Load::new(level(2), &scraped, now + Duration::from_millis(900)).fresh);
    let later = Load::new(level(2), &scraped, now + Duration::from_millis(1100));
    assert_eq!((later.fresh, later.waiting, later.running), (false, 0.0, 2.0));
    let failed = Reading { failed: true, ..reading(50.0, 100.0, 0, now) };
    assert!(!Load::new(level(2), &failed, now).fresh);
}

#[test]
fn the_cache_fills_with_what_is_sent_if_its_size_is_known() {
    let now = Instant::now();
    let mut scraped = reading(0.0, 0.0, 0, now);
    let assumed = Load::new(level(50), &scraped, now);
    assert_eq!(assumed.certain_kv, 0.0);
    scraped.figures.as_mut().unwrap().kv_tokens = Some(10_000);
    assert_eq!(Load::new(level(50), &scraped, now).certain_kv, 0.5);
    assert_eq!(Load::new(level(500), &scraped, now).certain_kv, 1.0);
}
