//! Counters: one client alone, several at the same time, windows, and what comes back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::sync::Arc;

use pailou_limits::{
    Admission, Charge, CounterQuery, CounterView, Counters, Descriptor, ExpectedCost, Rate, Reservation, Window, WindowKind,
};
use proptest::prelude::*;

const HOUR: Window = Window { seconds: 3600, kind: WindowKind::Epoch };

fn charge(limit: u64, cost: u64, expected: Option<u64>) -> Charge {
    Charge {
        name: "ns/policy/rule/0".into(),
        rule: (1, 2),
        descriptor: Descriptor::default(),
        window: HOUR,
        limit,
        cost,
        expected: expected.map(ExpectedCost::Known),
        is_shadow: false,
    }
}

fn views(counters: &Counters, now: u64) -> Vec<CounterView> {
    counters.views(now, &CounterQuery::default())
}

fn admit(counters: &Arc<Counters>, now: u64, charge: &Charge) -> Result<(Rate, Option<Reservation>), Rate> {
    match counters.admit(now, charge) {
        Admission::Admitted { rate, reservation, is_over, .. } => {
            assert!(!is_over || charge.is_shadow);
            Ok((rate, reservation))
        }
        Admission::Refused(rate) => Err(rate),
    }
}

#[test]
fn requests_pass_until_the_window_is_full_and_again_in_the_next() {
    let counters = Arc::new(Counters::default());
    let three = charge(3, 1, None);
    let left: Vec<_> =
        (0..5).map(|_| admit(&counters, 7000, &three).map(|(rate, _)| rate.remaining).map_err(|rate| rate.reset)).collect();
    assert_eq!(left, [Ok(2), Ok(1), Ok(0), Err(200), Err(200)]);
    assert_eq!(admit(&counters, 7200, &three).unwrap().0, Rate { limit: 3, seconds: 3600, remaining: 2, reset: 3600 });
    assert!(admit(&counters, 7200, &charge(0, 1, None)).is_err(), "a limit of 0 refuses everything");
}

#[test]
fn one_client_alone_may_cross_its_budget_once() {
    let counters = Arc::new(Counters::default());
    let budget = charge(100, 0, Some(40));
    for (cost, spent) in [(60, 60), (39, 99), (500, 599)] {
        let (_, reservation) = admit(&counters, 0, &budget).unwrap();
        reservation.unwrap().settle(1, cost);
        assert_eq!(views(&counters, 1)[0].spent, spent);
    }
    assert!(admit(&counters, 2, &budget).is_err());
}

#[test]
fn a_hundred_at_once_on_a_budget_for_five_let_five_through() {
    let counters = Arc::new(Counters::default());
    let budget = charge(500, 0, Some(100));
    let through: Vec<_> = (0..100).filter_map(|_| admit(&counters, 0, &budget).ok()).collect();
    assert_eq!(through.len(), 5);
    assert_eq!(views(&counters, 0)[0].reserved, 500);
    // All of them fail: everything is back.
    drop(through);
    let view = &views(&counters, 0)[0];
    assert_eq!((view.spent, view.reserved), (0, 0));
}

#[test]
fn costs_that_only_experience_tells_are_learned() {
    let counters = Arc::new(Counters::default());
    let budget = Charge { expected: Some(ExpectedCost::Learned(256)), ..charge(10_000_000, 0, None) };
    for _ in 0..200 {
        admit(&counters, 0, &budget).unwrap().1.unwrap().settle(0, 5_000);
    }
    let (_, reservation) = admit(&counters, 0, &budget).unwrap();
    assert!((4_000..=5_000).contains(&reservation.unwrap().held()));
    // Small answers teach nobody to hold less than a short answer takes, and what nobody counted teaches nothing.
    for _ in 0..2_000 {
        admit(&counters, 0, &budget).unwrap().1.unwrap().settle(0, 1);
    }
    admit(&counters, 0, &budget).unwrap().1.unwrap().settle_estimate(0, 1_000_000);
    let (_, reservation) = admit(&counters, 0, &budget).unwrap();
    assert_eq!(reservation.unwrap().held(), 256);
    assert_eq!(counters.experience(&budget).plausible, 4096);
}

#[test]
fn room_that_is_held_grows_with_a_response_beyond_the_limit_but_not_beyond_its_window() {
    let counters = Arc::new(Counters::default());
    let budget = charge(100, 0, Some(40));
    let (_, reservation) = admit(&counters, 0, &budget).unwrap();
    let mut reservation = reservation.unwrap();
    reservation.grow_to(30);
    assert_eq!(views(&counters, 0)[0].reserved, 40);
    reservation.grow_to(120);
    assert_eq!(views(&counters, 0)[0].reserved, 120);
    assert!(admit(&counters, 1, &budget).is_err());
    reservation.settle(2, 50);
    assert_eq!((views(&counters, 2)[0].spent, views(&counters, 2)[0].reserved), (50, 0));
    let (_, reservation) = admit(&counters, 3, &budget).unwrap();
    let mut reservation = reservation.unwrap();
    admit(&counters, 3600, &budget).unwrap();
    reservation.grow_to(1_000);
    assert_eq!((reservation.held(), views(&counters, 3600)[0].reserved), (40, 0));
}

#[test]
fn a_cost_of_a_later_window_is_charged_there() {
    let counters = Arc::new(Counters::default());
    let budget = charge(100, 0, Some(50));
    let (_, old) = admit(&counters, 3599, &budget).unwrap();
    let (_, new) = admit(&counters, 3600, &budget).unwrap();
    old.unwrap().settle(3601, 30);
    let view = views(&counters, 3601).remove(0);
    assert_eq!((view.spent, view.reserved, view.reset), (30, 50, 3599));
    drop(new);
    assert_eq!(views(&counters, 3601)[0].reserved, 0);
}

#[test]
fn a_shadow_counts_and_refuses_nothing_and_a_refund_takes_back() {
    let counters = Arc::new(Counters::default());
    let shadow = Charge { is_shadow: true, ..charge(1, 1, None) };
    assert!((0..3).all(|_| admit(&counters, 0, &shadow).is_ok()));
    assert_eq!(views(&counters, 0)[0].spent, 3);
    counters.refund(0, &shadow);
    assert_eq!(views(&counters, 0)[0].spent, 2);
    // A charge to a window that is over is nothing to the next one.
    assert!(admit(&counters, 3600, &shadow).is_ok());
    counters.refund(0, &shadow);
    assert_eq!(views(&counters, 3600)[0].spent, 1);
}

#[test]
fn counters_are_bounded_and_who_has_spent_stays_known() {
    let counters = Arc::new(Counters::default());
    // Descriptors come of selectors alone.
    let of = |client: u32| {
        use pailou_limits::{ClientSelector, Cost, LimitRule, RateLimits, Reach, RequestFacts, ValueSelector};
        let selector = ClientSelector {
            headers: vec![(http::header::HOST, ValueSelector::Distinct { is_secret: false })],
            ..Default::default()
        };
        let rule = LimitRule {
            name: "r".into(),
            id: 1,
            place: 0,
            selectors: vec![selector],
            limit: 10,
            window: HOUR,
            limit_from: None,
            request_cost: Cost::Number(1),
            response_cost: None,
            reach: Reach::Policy,
            is_shadow: false,
            has_headers: None,
        };
        let limits = RateLimits { rules: vec![rule], has_default: false };
        let header = move |_: &http::HeaderName| Some(std::borrow::Cow::Owned(client.to_string().into_bytes()));
        let facts =
            RequestFacts { client: [127, 0, 0, 1].into(), method: &http::Method::GET, path: "/", query: None, header: &header };
        limits.select(&facts).remove(0).1
    };
    let heavy = Charge { descriptor: of(0), ..charge(10, 10, None) };
    admit(&counters, 0, &heavy).unwrap();
    for client in 1..20_000 {
        admit(&counters, 0, &Charge { descriptor: of(client), ..charge(10, 1, None) }).unwrap();
    }
    assert!(views(&counters, 0).len() <= 10_000);
    let query = CounterQuery { client: Some("199".to_owned()), first: 3, ..CounterQuery::default() };
    let found = counters.views(0, &query);
    let mut all: Vec<_> = views(&counters, 0).into_iter().filter(|view| view.client.contains("199")).collect();
    all.truncate(3);
    assert_eq!(found, all);
    assert!(admit(&counters, 0, &heavy).is_err());
}

#[test]
fn a_late_worker_and_a_clock_set_back_open_no_window_anew() {
    let counters = Arc::new(Counters::default());
    let one = charge(1, 1, None);
    admit(&counters, 3600, &one).unwrap();
    assert!(admit(&counters, 3599, &one).is_err());
    assert!(admit(&counters, 3600, &one).is_err());
    let first = Charge { window: Window { seconds: 60, kind: WindowKind::First }, ..one };
    admit(&counters, 100, &first).unwrap();
    assert!(admit(&counters, 50, &first).is_err());
}

#[test]
fn a_client_with_two_windows_fills_both() {
    let counters = Arc::new(Counters::default());
    let (hour, day) =
        (charge(1, 1, None), Charge { window: Window { seconds: 86_400, kind: WindowKind::Epoch }, ..charge(1, 1, None) });
    assert!(admit(&counters, 0, &hour).is_ok() && admit(&counters, 0, &day).is_ok());
    assert!(admit(&counters, 0, &hour).is_err() && admit(&counters, 0, &day).is_err());
}

/// A step of the comparison with a plain reading.
#[derive(Clone, Debug)]
enum Step {
    Admit { cost: u64, expected: Option<u64> },
    Settle { which: usize, cost: u64 },
    Drop { which: usize },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u64..4, proptest::option::of(1_u64..30)).prop_map(|(cost, expected)| Step::Admit { cost, expected }),
        2 => (0_usize..8, 0_u64..40).prop_map(|(which, cost)| Step::Settle { which, cost }),
        1 => (0_usize..8).prop_map(|which| Step::Drop { which }),
        1 => (0_u64..2000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// In any order of events the sum is what a reader of the rules computes, and nothing stays held.
    #[test]
    fn the_sum_ends_true(steps in proptest::collection::vec(step(), 0..200)) {
        let counters = Arc::new(Counters::default());
        let limit = 100;
        let (mut now, mut begin, mut spent, mut held) = (0_u64, 0_u64, 0_u64, Vec::<(u64, Reservation)>::new());
        for step in steps {
            if now / 3600 * 3600 != begin {
                (begin, spent) = (now / 3600 * 3600, 0);
            }
            match step {
                Step::Admit { cost, expected } => {
                    let reserved: u64 = held.iter().filter(|(of, _)| *of == begin).map(|(_, it)| it.held()).sum();
                    let left = (limit - spent.min(limit)).saturating_sub(reserved);
                    match admit(&counters, now, &charge(limit, cost, expected)) {
                        Ok((rate, reservation)) => {
                            prop_assert!(left > 0 && cost <= left);
                            spent += cost;
                            if let Some(reservation) = reservation {
                                prop_assert_eq!(reservation.held(), expected.unwrap_or(0).min(left - cost));
                                held.push((begin, reservation));
                            }
                            prop_assert!(rate.remaining <= left);
                        }
                        Err(_) => prop_assert!(left == 0 || cost > left),
                    }
                }
                Step::Settle { which, cost } if which < held.len() => {
                    held.swap_remove(which).1.settle(now, cost);
                    spent += cost;
                }
                Step::Drop { which } if which < held.len() => drop(held.swap_remove(which)),
                Step::Wait(seconds) => now += seconds,
                Step::Settle { .. } | Step::Drop { .. } => {}
            }
        }
        held.clear();
        let now_begin = now / 3600 * 3600;
        let view = views(&counters, now).into_iter().next();
        let expected = if begin == now_begin { spent } else { 0 };
        prop_assert_eq!(view.as_ref().map_or(0, |view| view.spent), expected);
        prop_assert_eq!(view.map_or(0, |view| view.reserved), 0);
    }
}
