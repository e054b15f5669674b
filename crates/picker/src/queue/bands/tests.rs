use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::queue::band::{DEFAULT_FLOW, MAX_FLOWS, QUANTUM, SHARED_FLOWS, shared_flow};

const ROOMY: Bounds = Bounds { requests: 10_000, bytes: u64::MAX };

fn arrival<'a>(priority: i32, flow: &'a str, tokens: u64) -> Arrival<'a> {
    Arrival { priority, flow, tokens, bytes: 10, at: Instant::now(), is_restricted: false }
}

/// Dispatches so many, and gives what each owned.
fn dispatch<T>(bands: &mut Bands<T>, count: usize) -> Vec<T> {
    let next = || bands.next().and_then(|key| bands.dispatch(key));
    std::iter::from_fn(next).take(count).collect()
}

#[test]
fn the_higher_priority_goes_first_and_within_a_flow_who_came_first() {
    let mut bands = Bands::default();
    for (number, priority) in [0, -1, 5, 0, 5].into_iter().enumerate() {
        bands.push(arrival(priority, "a", 100), ROOMY, (priority, number)).unwrap();
    }
    assert_eq!(bands.ahead_of(0), 4);
    assert_eq!(dispatch(&mut bands, 9), [(5, 2), (5, 4), (0, 0), (0, 3), (-1, 1)]);
    assert!(bands.is_empty() && bands.levels().next().is_none());
}

#[test]
fn flows_of_unlike_requests_send_as_many_tokens_as_each_other() {
    let mut bands = Bands::default();
    for _ in 0..400 {
        bands.push(arrival(0, "small", 100), ROOMY, 100).unwrap();
        bands.push(arrival(0, "large", 4000), ROOMY, 4000).unwrap();
    }
    let sent = dispatch(&mut bands, 205);
    let large = sent.iter().filter(|tokens| **tokens == 4000).count();
    assert_eq!(large, 5, "as many tokens as 200 small ones");
}

#[test]
fn a_flow_gets_nothing_for_a_request_that_left() {
    let mut bands = Bands::default();
    let huge = bands.push(arrival(0, "a", 1 << 20), ROOMY, "huge").unwrap();
    for _ in 0..100 {
        bands.push(arrival(0, "a", 500), ROOMY, "a").unwrap();
        bands.push(arrival(0, "b", 500), ROOMY, "b").unwrap();
    }
    assert_eq!(dispatch(&mut bands, 20), ["b"; 20]);
    assert_eq!(bands.leave(huge), Some("huge"));
    let sent = dispatch(&mut bands, 20);
    assert!((9..=12).contains(&sent.iter().filter(|name| **name == "a").count()), "{sent:?}");
}

#[test]
fn flows_beyond_the_bound_share_some() {
    let mut bands = Bands::default();
    let flows = || bands_of(&bands);
    fn bands_of<T>(bands: &Bands<T>) -> usize {
        bands.levels().map(|level| level.flows).sum()
    }
    assert_eq!(flows(), 0);
    for number in 0..5_000 {
        bands.push(arrival(0, &format!("invented-{number}"), 500), ROOMY, false).unwrap();
    }
    assert_eq!(bands_of(&bands), MAX_FLOWS + SHARED_FLOWS as usize);
    bands.push(arrival(0, DEFAULT_FLOW, 500), ROOMY, true).unwrap();
    assert_eq!(bands_of(&bands), MAX_FLOWS + SHARED_FLOWS as usize);
}

#[test]
fn a_client_beyond_the_bound_does_not_wait_behind_all_others_beyond_it() {
    let mut bands = Bands::default();
    for number in 0..MAX_FLOWS {
        bands.push(arrival(0, &format!("known-{number}"), 500), ROOMY, "known").unwrap();
    }
    // One client beyond the bound sends a great deal, another one request.
    for _ in 0..1000 {
        bands.push(arrival(0, "greedy", 500), ROOMY, "greedy").unwrap();
    }
    let modest = (0..).map(|number| format!("modest-{number}")).find(|name| shared_flow(name) != shared_flow("greedy")).unwrap();
    bands.push(arrival(0, &modest, 500), ROOMY, "modest").unwrap();
    let sent = dispatch(&mut bands, MAX_FLOWS + 2);
    assert_eq!(sent.iter().filter(|name| **name == "modest").count(), 1, "it has its turn as each of the others");
}

#[test]
fn a_flow_that_was_passed_over_holds_up_no_other_for_a_round() {
    let mut bands = Bands::default();
    let [a, b, c] =
        [(5, "a"), (5, "b"), (0, "c")].map(|(priority, flow)| bands.push(arrival(priority, flow, 100), ROOMY, ()).unwrap());
    for expected in [a, b, c] {
        assert_eq!(bands.next(), Some(expected));
        bands.pass_over(expected);
    }
    assert_eq!(bands.next(), None);
    bands.begin_round();
    assert_eq!(bands.next(), Some(a));
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        priority: i32,
        flow: u8,
        tokens: u64,
        bytes: u64,
    },
    Dispatch,
    /// The waiting request at this place, counted from the oldest, leaves.
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (-1..2, 0u8..4, prop_oneof![1u64..2000, Just(1 << 24)], 0u64..50);
    let push = push.prop_map(|(priority, flow, tokens, bytes)| Step::Push { priority, flow, tokens, bytes });
    proptest::collection::vec(prop_oneof![3 => push, 2 => Just(Step::Dispatch), 1 => (0usize..20).prop_map(Step::Leave)], 0..200)
}

/// A waiting request of the model.
#[derive(Clone, Debug)]
struct Modelled {
    key: Key,
    priority: i32,
    flow: String,
    bytes: u64,
}

proptest! {
    /// Against a plain list: none is lost or sent twice, bounds hold, a higher priority and the older of a flow go first.
    #[test]
    fn it_behaves_as_a_list_does(steps in steps(), requests in 1u32..12, bytes in 20u64..200) {
        let bounds = Bounds { requests, bytes };
        let (mut bands, mut model) = (Bands::default(), Vec::<Modelled>::new());
        for step in steps {
            match step {
                Step::Push { priority, flow, tokens, bytes } => {
                    let flow = format!("flow-{flow}");
                    let same = model.iter().filter(|it| it.priority == priority);
                    let fits = same.clone().count() < bounds.requests as usize
                        && same.map(|it| it.bytes).sum::<u64>() + bytes <= bounds.bytes;
                    let arrival = Arrival { bytes, ..arrival(priority, &flow, tokens) };
                    let key = bands.push(arrival, bounds, priority);
                    prop_assert_eq!(key.is_some(), fits);
                    model.extend(key.map(|key| Modelled { key, priority, flow, bytes }));
                }
                Step::Dispatch => {
                    let key = bands.next();
                    prop_assert_eq!(key.is_some(), !model.is_empty());
                    prop_assert_eq!(bands.next(), key, "the answer stays");
                    let Some(key) = key else { continue };
                    let place = model.iter().position(|it| it.key == key).expect("it waits");
                    let sent = model.remove(place);
                    prop_assert!(model.iter().all(|it| it.priority <= sent.priority));
                    let older = |it: &Modelled| it.flow == sent.flow && it.priority == sent.priority && it.key < key;
                    prop_assert!(!model.iter().any(older));
                    prop_assert_eq!(bands.dispatch(key), Some(sent.priority));
                }
                Step::Leave(place) if !model.is_empty() => {
                    let left = model.remove(place % model.len());
                    prop_assert_eq!(bands.leave(left.key), Some(left.priority));
                    prop_assert_eq!(bands.leave(left.key), None);
                }
                Step::Leave(_) => {}
            }
            let levels: Vec<_> = bands.levels().map(|it| (it.priority, it.requests as usize, it.bytes)).collect();
            let of = |priority| model.iter().filter(move |it| it.priority == priority);
            let expected = (-1..2).rev().map(|it| (it, of(it).count(), of(it).map(|it| it.bytes).sum()));
            prop_assert_eq!(levels, expected.filter(|it| it.1 > 0).collect::<Vec<_>>());
        }
    }

    /// As long as two flows wait, neither sends more tokens than the other by more than a quantum and a request of each.
    #[test]
    fn flows_that_wait_send_alike(sizes in proptest::collection::vec(proptest::collection::vec(1u64..5000, 200), 2..5)) {
        let mut bands = Bands::default();
        let largest = sizes.iter().flatten().copied().max().unwrap_or(0);
        for (flow, sizes) in sizes.iter().enumerate() {
            for tokens in sizes {
                bands.push(arrival(0, &format!("flow-{flow}"), *tokens), ROOMY, (flow, *tokens)).unwrap();
            }
        }
        let (mut tokens, mut left) = (vec![0u64; sizes.len()], vec![200; sizes.len()]);
        while left.iter().all(|left| *left > 0) {
            let key = bands.next().unwrap();
            let (flow, sent) = bands.dispatch(key).unwrap();
            tokens[flow] += sent;
            left[flow] -= 1;
            let (least, most) = (tokens.iter().min().unwrap(), tokens.iter().max().unwrap());
            prop_assert!(most - least <= 2 * largest + 2 * QUANTUM, "{:?}", tokens);
        }
    }
}

#[test]
fn the_oldest_of_a_priority_is_known() {
    let (mut bands, start) = (Bands::default(), Instant::now());
    for (number, flow) in ["a", "b", "a"].into_iter().enumerate() {
        let at = start + Duration::from_secs(number as u64);
        bands.push(Arrival { at, ..arrival(3, flow, 100) }, ROOMY, ()).unwrap();
    }
    let oldest = |bands: &Bands<()>| bands.levels().next().map(|level| level.oldest);
    assert_eq!(oldest(&bands), Some(start));
    let first = bands.next().unwrap();
    bands.leave(first);
    assert_eq!(oldest(&bands), Some(start + Duration::from_secs(1)));
}
