use std::thread;

use proptest::prelude::*;

use super::*;
use crate::{
    prefix::MOST_BLOCKS,
    testing::{Fixture, endpoints, pool, prompt, prompted, standard},
};

const PREFIX: RoutingStrategy = RoutingStrategy::PrefixCache;

#[test]
fn endpoints_that_stay_keep_their_state_and_others_leave_none() {
    let fixture = Fixture::new(PREFIX, 2);
    let held: Vec<_> = (0..4).map(|seed| fixture.pick(&prompted(&prompt(seed, 4096)))).collect();
    assert_eq!(fixture.in_flight(), [2, 2]);
    fixture.state.update(pool(PREFIX), &endpoints([1, 2]));
    assert_eq!(fixture.in_flight(), [2, 0]);
    let report = fixture.state.snapshot();
    assert_eq!(report[0].prefix_blocks, 128);
    assert_eq!(fixture.state.prefix_blocks(), 128);
    drop(held);
    assert_eq!(fixture.in_flight(), [0, 0]);
}

#[test]
fn another_pod_at_the_same_address_starts_afresh() {
    let fixture = Fixture::new(PREFIX, 1);
    let held = fixture.pick(&prompted(&prompt(1, 4096)));
    let mut replaced = endpoints([0]);
    replaced[0].name = "successor".into();
    fixture.state.update(pool(PREFIX), &replaced);
    assert_eq!((fixture.in_flight(), fixture.state.prefix_blocks()), (vec![0], 0));
    drop(held);
    assert_eq!(fixture.in_flight(), [0]);
}

#[test]
fn an_address_named_twice_is_one_endpoint() {
    let fixture = Fixture::new(PREFIX, 0);
    fixture.state.update(pool(PREFIX), &endpoints([1, 1, 2]));
    assert_eq!(fixture.state.snapshot().len(), 2);
}

#[test]
fn a_change_of_strategy_counts_at_once() {
    let fixture = Fixture::new(PREFIX, 2);
    let prompt = prompt(1, 4096);
    drop(fixture.pick(&prompted(&prompt)));
    assert!(fixture.state.prefix_blocks() > 0);
    fixture.state.update(pool(RoutingStrategy::Load), &endpoints(0..2));
    drop(fixture.pick(&prompted(&prompt)));
    assert_eq!(fixture.state.prefix_blocks(), 0);
}

#[test]
fn threads_that_pick_fail_and_leave_while_endpoints_change_leave_nothing_in_flight() {
    let fixture = Fixture::new(PREFIX, 6);
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let fixture = &fixture;
            scope.spawn(move || {
                for round in 0..300 {
                    let prompt = prompt(round % 7, 1000 + 100 * thread as usize);
                    let mut picked = fixture.pick(&prompted(&prompt));
                    for _ in 0..round % 3 {
                        picked.fail_over();
                    }
                    picked.finished(Some(round), 0);
                }
            });
        }
        for round in 0..50 {
            fixture.state.update(pool(PREFIX), &endpoints((0..6).filter(|number| number % 3 != round % 3)));
        }
        fixture.state.update(pool(PREFIX), &endpoints(0..6));
    });
    assert_eq!(fixture.in_flight(), [0; 6]);
    assert!(fixture.state.snapshot().iter().all(|endpoint| endpoint.in_flight_tokens == 0));
}

#[derive(Clone, Debug)]
enum Step {
    Pick(u64, usize),
    FailOver(usize),
    Fail(usize),
    Answer(usize),
    Drop(usize),
    Update(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u64, 0..20_000_usize).prop_map(|(seed, length)| Step::Pick(seed, length)),
        2 => any::<usize>().prop_map(Step::FailOver),
        1 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::Answer),
        2 => any::<usize>().prop_map(Step::Drop),
        1 => any::<u8>().prop_map(Step::Update),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_in_flight_is_the_guards_and_the_index_is_the_lists(steps in prop::collection::vec(step(), 1..60)) {
        let fixture = Fixture::new(PREFIX, 5);
        let mut held: Vec<Picked> = Vec::new();
        for step in steps {
            let at = |which: usize, held: &[Picked]| (!held.is_empty()).then(|| which % held.len());
            match step {
                Step::Pick(seed, length) => held.extend(fixture.state.pick(&prompted(&prompt(seed, length)))),
                Step::FailOver(which) => at(which, &held).into_iter().for_each(|at| {
                    held[at].fail_over();
                }),
                Step::Fail(which) => at(which, &held).into_iter().for_each(|at| held[at].failed()),
                Step::Answer(which) => at(which, &held).into_iter().for_each(|at| held[at].first_token(true)),
                Step::Drop(which) => drop(at(which, &held).map(|at| held.swap_remove(at))),
                Step::Update(members) => {
                    fixture.state.update(pool(PREFIX), &endpoints((0..8).filter(|number| members >> number & 1 == 1)));
                }
            }
            for endpoint in fixture.state.members().endpoints.iter() {
                let guards = held.iter().filter(|picked| picked.is_at(endpoint)).count();
                prop_assert_eq!(endpoint.record.in_flight.level().requests() as usize, guards);
                prop_assert!(endpoint.blocks.len() <= MOST_BLOCKS);
            }
            let listed: usize = fixture.state.snapshot().iter().map(|endpoint| endpoint.prefix_blocks).sum();
            prop_assert!(fixture.state.prefix_blocks() <= listed);
            prop_assert_eq!(fixture.state.prefix_blocks() == 0, listed == 0);
        }
        held.clear();
        prop_assert!(fixture.in_flight().iter().all(|count| *count == 0));
        if let Ok(picked) = fixture.state.pick(&standard()) {
            prop_assert_eq!(picked.receipt().chosen, 0);
        }
    }
}
