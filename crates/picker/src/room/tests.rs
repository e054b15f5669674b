use super::*;

const LIMITS: RoomLimits = RoomLimits { queue: QUEUE_LIMIT, kv: KV_LIMIT, requests: Some(4) };

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_cache_in_use_fills_an_endpoint_unless_it_has_no_request() {
    let saturation = |running| LIMITS.saturation(&Load { running, certain_kv: 0.95, ..Load::default() });
    assert_eq!((saturation(0.0), saturation(1.0)), (0.0, 1.0));
}

#[test]
fn requests_that_leave_room_fill_less_of_an_endpoint() {
    let is_full = |load: Load, reserve| LIMITS.reserving(reserve).saturation(&load) >= 1.0;
    let loads = [
        Load { running: 3.0, ..Load::default() },
        Load { running: 1.0, certain_kv: 0.6, ..Load::default() },
        Load { running: 1.0, waiting: 1.0, ..Load::default() },
    ];
    for load in loads {
        assert_eq!((is_full(load, 0), is_full(load, 25)), (false, true), "{load:?}");
    }
    assert!(!is_full(Load { running: 2.0, certain_kv: 0.59, ..Load::default() }, 25));
}

#[test]
fn a_bound_that_leaves_room_is_rounded_up_and_never_0() {
    let bound = |most, reserve| RoomLimits { requests: Some(most), ..LIMITS }.reserving(reserve).requests;
    let cases = [
        (10, 90, 1),
        (10, 91, 1),
        (1, 90, 1),
        (2, 90, 1),
        (3, 50, 2),
        (4, 25, 3),
        (256, 25, 192),
        (100, 1, 99),
        (100_000, 90, 10_000),
    ];
    for (most, reserve, expected) in cases {
        assert_eq!(bound(most, reserve), Some(expected), "{most} at {reserve} %");
    }
    assert_eq!(RoomLimits { requests: None, ..LIMITS }.reserving(25).requests, None);
}

#[test]
fn a_priority_counts_for_a_minute_after_its_last_request() {
    let highest = HighestPriorities::default();
    highest.note(-1, at(0));
    assert!(!highest.is_outranked(-1, at(0)) && highest.is_outranked(-2, at(0)));
    highest.note(1, at(1));
    assert!(!highest.is_outranked(1, at(1)) && highest.is_outranked(0, at(1)) && highest.is_outranked(0, at(61)));
    highest.note(1, at(30));
    assert!(highest.is_outranked(0, at(90)), "it lasts from its last request");
    assert!(!highest.is_outranked(0, at(91)));
}

#[test]
fn the_next_priority_takes_over_where_the_highest_expires() {
    let highest = HighestPriorities::default();
    highest.note(2, at(0));
    highest.note(1, at(50));
    highest.note(0, at(55));
    highest.note(1, at(58));
    assert!(highest.is_outranked(1, at(60)) && !highest.is_outranked(1, at(61)), "2 has expired");
    assert!(highest.is_outranked(0, at(61)), "1 came 3 s before");
    assert!(!highest.is_outranked(0, at(119)) && !highest.is_outranked(-1, at(119)));
    highest.note(-1, at(119));
    assert!(highest.is_outranked(-2, at(119)));
}

#[test]
fn of_more_priorities_than_are_remembered_the_highest_count() {
    let highest = HighestPriorities::default();
    (0..10).for_each(|priority| highest.note(priority, at(0)));
    (0..10).for_each(|priority| highest.note(priority, at(1)));
    assert!(highest.is_outranked(8, at(61)) && !highest.is_outranked(9, at(61)));
    highest.note(6, at(30));
    assert!(highest.is_outranked(5, at(62)) && !highest.is_outranked(6, at(62)));
}

#[test]
fn priorities_noted_at_once_are_all_remembered() {
    let rounds: Vec<_> = std::iter::repeat_with(HighestPriorities::default).take(2_000).collect();
    let barrier = std::sync::Barrier::new(MAX_PRIORITIES);
    std::thread::scope(|scope| {
        for priority in 0..MAX_PRIORITIES as i32 {
            let (rounds, barrier) = (&rounds, &barrier);
            scope.spawn(move || {
                for highest in rounds {
                    barrier.wait();
                    highest.note(priority, at(1));
                }
            });
        }
    });
    for highest in rounds {
        let mut noted = highest.0.map(|word| Noted::of(word.into_inner()).priority);
        noted.sort_unstable();
        assert_eq!(noted, [0, 1, 2, 3]);
    }
}
