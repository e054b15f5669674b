mod new_prompts;
mod roles;

use std::{collections::HashSet, thread};

use pailou_snapshot::RoutingStrategy;

use super::*;
use crate::{
    candidates::MOST_JUDGED,
    metrics::{Adapters, Figures},
    pick_request::Affinity,
    rendezvous::{Beginning, identity},
    score::TIE,
    testing::{Fixture, address, load, prompt, prompted, sheddable, standard},
};

const LOAD: RoutingStrategy = RoutingStrategy::Load;
const PREFIX: RoutingStrategy = RoutingStrategy::PrefixCache;

fn name(picked: &Picked) -> String {
    picked.endpoint().endpoint.name.to_string()
}

#[test]
fn a_pool_without_eligible_endpoints_says_so() {
    let empty = Fixture::new(LOAD, 0);
    assert_eq!(empty.state.pick(&standard()).err(), Some(PickError::NoEndpoints));
    assert_eq!(empty.state.pick(&sheddable()).err(), Some(PickError::NoEndpoints));
    let pool = Fixture::new(LOAD, 2);
    let elsewhere = [address(7)];
    let request = PickRequest { subset: Some(&elsewhere), ..standard() };
    assert_eq!(pool.state.pick(&request).err(), Some(PickError::NoEndpoints));
}

#[test]
fn a_subset_is_kept_to() {
    let pool = Fixture::new(LOAD, 5);
    let subset = [address(3), address(9)];
    for _ in 0..20 {
        let mut picked = pool.pick(&PickRequest { subset: Some(&subset), ..standard() });
        assert_eq!(name(&picked), "pod-3");
        assert!(!picked.fail_over());
    }
}

#[test]
fn a_thousand_picks_between_two_scrapes_are_spread_evenly() {
    let pool = Fixture::new(LOAD, 8);
    (0..8).for_each(|member| pool.scraped(member, load(0.0, 0.0, 0.0)));
    let held: Vec<_> = (0..1000).map(|_| pool.pick(&standard())).collect();
    assert_eq!(pool.in_flight(), [125; 8]);
    drop(held);
    assert_eq!(pool.in_flight(), [0; 8]);
}

#[test]
fn threads_that_pick_at_once_are_spread_evenly() {
    let pool = Fixture::new(LOAD, 10);
    let held: Vec<Picked> = thread::scope(|scope| {
        let picking = || (0..125).map(|_| pool.pick(&standard())).collect::<Vec<_>>();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(picking)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let counts = pool.in_flight();
    assert!(counts.iter().all(|count| (95..=105).contains(count)), "{counts:?}");
    drop(held);
    assert_eq!(pool.in_flight(), [0; 10]);
}

#[test]
fn equals_are_chosen_by_chance_whether_or_not_the_prompt_is_new() {
    for strategy in [LOAD, PREFIX] {
        let pool = Fixture::new(strategy, 4);
        let chosen: HashSet<_> = (0..100).map(|seed| name(&pool.pick(&prompted(&prompt(seed, 2000))))).collect();
        assert_eq!(chosen.len(), 4);
    }
}

#[test]
fn queues_and_full_caches_are_avoided() {
    let pool = Fixture::new(LOAD, 3);
    pool.scraped(0, load(4.0, 10.0, 0.1));
    pool.scraped(1, load(0.0, 10.0, 0.9));
    pool.scraped(2, load(0.0, 10.0, 0.1));
    let picked = pool.pick(&standard());
    assert_eq!(name(&picked), "pod-2");
}

#[test]
fn an_endpoint_that_is_silent_does_not_look_idle() {
    let pool = Fixture::new(LOAD, 2);
    pool.scraped(0, load(0.0, 40.0, 0.5));
    let counts = (0..100).map(|_| name(&pool.pick(&standard()))).filter(|name| name == "pod-1").count();
    assert!((20..80).contains(&counts), "{counts}");
}

#[test]
fn a_prompt_returns_to_its_replica_until_that_is_overloaded() {
    let pool = Fixture::new(PREFIX, 4);
    let prompt = prompt(1, 20_000);
    let home = name(&pool.pick(&prompted(&prompt)));
    for _ in 0..20 {
        assert_eq!(name(&pool.pick(&prompted(&prompt))), home);
    }
    let member = home.strip_prefix("pod-").unwrap().parse().unwrap();
    (0..4).for_each(|other| pool.scraped(other, load(0.0, 8.0, 0.2)));
    pool.scraped(member, load(4.0, 12.0, 0.3));
    assert_eq!(name(&pool.pick(&prompted(&prompt))), home, "busy");
    pool.scraped(member, load(12.0, 12.0, 0.9));
    assert_ne!(name(&pool.pick(&prompted(&prompt))), home, "overloaded");
}

#[test]
fn a_burst_of_one_prompt_spills_over_to_other_replicas() {
    let pool = Fixture::new(PREFIX, 4);
    let prompt = prompt(1, 20_000);
    let held: Vec<_> = (0..400).map(|_| pool.pick(&prompted(&prompt))).collect();
    assert!(pool.in_flight().iter().all(|count| *count >= 40), "{:?}", pool.in_flight());
    drop(held);
}

#[test]
fn short_prompts_are_not_worth_a_detour() {
    let pool = Fixture::new(PREFIX, 2);
    let home = pool.pick(&prompted(&[b'x'; 70]));
    let held: Vec<_> = (0..9).map(|_| pool.pick(&prompted(&[b'x'; 70]))).collect();
    let counts = pool.in_flight();
    assert!(counts.iter().all(|count| *count >= 2), "{counts:?}");
    drop((home, held));
}

#[test]
fn an_adapter_goes_where_it_runs() {
    let pool = Fixture::new(LOAD, 3);
    let adapters = |running: &str| Some(Adapters { max: 2, running: vec![running.into()], waiting: Vec::new() });
    for (member, running) in ["a", "b", "c"].into_iter().enumerate() {
        pool.scraped(member, Figures { adapters: adapters(running), ..load(0.0, 0.0, 0.0) });
    }
    assert_eq!(name(&pool.pick(&PickRequest { model: "b", ..standard() })), "pod-1");
}

#[test]
fn a_failed_endpoint_is_last_but_not_lost() {
    let pool = Fixture::new(LOAD, 2);
    let mut first = pool.pick(&standard());
    let failed = name(&first);
    assert!(first.has_next() && first.fail_over());
    let other = name(&first);
    assert_ne!(failed, other);
    let held: Vec<_> = (0..50).map(|_| pool.pick(&standard())).collect();
    assert!(held.iter().all(|picked| name(picked) == other));
    assert!(!first.fail_over(), "both were tried");
    assert_eq!(name(&first), other);
    // Both fail now, so load decides again.
    assert_eq!(name(&pool.pick(&standard())), failed);
    let later = Instant::now() + Duration::from_secs(3);
    assert_eq!(name(&pool.state.pick_at(&standard(), later).unwrap()), failed);
}

#[test]
fn failing_over_moves_the_reservation_and_what_was_learned() {
    let pool = Fixture::new(PREFIX, 2);
    let prompt = prompt(1, 20_000);
    let mut picked = pool.pick(&prompted(&prompt));
    picked.fail_over();
    let served = name(&picked);
    let report = pool.state.snapshot();
    for endpoint in &report {
        let here = *endpoint.endpoint.name == *served;
        assert_eq!((endpoint.in_flight == 1, endpoint.prefix_blocks > 0, endpoint.failing), (here, here, !here));
    }
    drop(picked);
    assert_eq!(pool.in_flight(), [0, 0]);
}

#[test]
fn endpoints_that_health_checks_rule_out_come_last() {
    let pool = Fixture::new(LOAD, 3);
    let slots: Vec<_> = pool.state.endpoints().iter().map(|endpoint| endpoint.slot()).collect();
    let mut avoided = [false; 3];
    (avoided[slots[0]], avoided[slots[2]]) = (true, true);
    let request = PickRequest { avoided: &avoided, ..standard() };
    let held: Vec<_> = (0..20).map(|_| pool.pick(&request)).collect();
    assert!(held.iter().all(|picked| name(picked) == "pod-1" && picked.ranked().count() == 3));
    assert_eq!(pool.in_flight(), [0, 20, 0]);
    let all = PickRequest { avoided: &[true; 3], ..standard() };
    assert_ne!(name(&pool.pick(&all)), "pod-1", "where all are ruled out, load decides");
}

#[test]
fn an_affinity_holds_and_a_hash_yields_where_its_endpoint_is_saturated() {
    let pool = Fixture::new(LOAD, 3);
    let slot = pool.state.endpoints()[1].slot();
    let picked =
        |while_saturated| name(&pool.pick(&PickRequest { affinity: Some(Affinity { slot, while_saturated }), ..standard() }));
    (0..3).for_each(|member| pool.scraped(member, load(0.0, if member == 1 { 60.0 } else { 0.0 }, 0.1)));
    assert_eq!((picked(false), picked(true)), ("pod-1".to_owned(), "pod-1".to_owned()), "busy, but with room");
    pool.scraped(1, load(9.0, 60.0, 0.9));
    assert_ne!(picked(false), "pod-1");
    assert_eq!(picked(true), "pod-1");
    pool.pick(&PickRequest { affinity: Some(Affinity { slot, while_saturated: true }), ..standard() }).failed();
    assert_ne!(picked(true), "pod-1", "it failed");
}

#[test]
fn requests_that_another_picker_sent_are_counted_too() {
    let pool = Fixture::new(LOAD, 3);
    let mut held = pool.state.hold(&[address(9), address(2), address(0)], 400).unwrap();
    assert_eq!(held.ranked().map(|endpoint| endpoint.name.to_string()).collect::<Vec<_>>(), ["pod-2", "pod-0"]);
    assert_eq!(pool.in_flight(), [0, 0, 1]);
    assert_eq!(name(&pool.pick(&PickRequest { subset: Some(&[address(1), address(2)]), ..standard() })), "pod-1");
    assert!(held.pass_over() && !held.pass_over());
    assert_eq!(pool.in_flight(), [1, 0, 0]);
    assert!(pool.state.snapshot().iter().all(|report| !report.failing), "passing over is no failure");
    assert!(held.fail_over() || pool.state.snapshot()[0].failing);
    drop(held);
    assert_eq!(pool.in_flight(), [0; 3]);
    assert!(pool.state.hold(&[address(9)], 0).is_none());
}

#[test]
fn an_answer_ends_the_suspicion() {
    let pool = Fixture::new(LOAD, 1);
    let mut picked = pool.pick(&standard());
    picked.failed();
    assert!(pool.state.snapshot()[0].failing);
    picked.first_token(true);
    assert!(!pool.state.snapshot()[0].failing);
}

#[test]
fn only_what_can_wait_is_refused_by_a_saturated_pool() {
    let pool = Fixture::new(LOAD, 2);
    pool.scraped(0, load(9.0, 20.0, 0.5));
    pool.scraped(1, load(0.0, 20.0, 0.85));
    let refused = pool.state.pick(&sheddable()).err();
    assert_eq!(refused, Some(PickError::Saturated { retry_after: RETRY_AFTER }));
    for criticality in [Criticality::Standard, Criticality::Critical] {
        pool.pick(&PickRequest { criticality, ..standard() });
    }
}

#[test]
fn one_long_queue_does_not_saturate_idle_siblings() {
    let pool = Fixture::new(LOAD, 2);
    pool.scraped(0, load(100.0, 20.0, 1.0));
    pool.scraped(1, load(0.0, 1.0, 0.0));
    assert_eq!(name(&pool.pick(&sheddable())), "pod-1");
}

#[test]
fn the_gate_does_not_overshoot_between_scrapes() {
    let pool = Fixture::new(LOAD, 2);
    for member in 0..2 {
        // A queue that has stood shows how many the engine runs.
        pool.scraped(member, load(1.0, 30.0, 0.0));
        pool.scraped(member, load(2.0, 30.0, 0.0));
    }
    let served: Vec<_> = (0..1000).filter_map(|_| pool.state.pick(&sheddable()).ok()).collect();
    assert_eq!(served.len(), 6, "three more make a queue of five, at each");
}

#[test]
fn without_metrics_nothing_halts() {
    let pool = Fixture::new(LOAD, 2);
    let old = Instant::now() - Duration::from_secs(60);
    (0..2).for_each(|member| pool.scraped_at(member, load(500.0, 500.0, 1.0), old));
    let held: Vec<_> = (0..100).map(|_| pool.pick(&sheddable())).collect();
    assert_eq!(held.len(), 100);
}

#[test]
fn large_pools_are_sampled_but_a_cached_prompt_is_found() {
    let pool = Fixture::new(PREFIX, 400);
    let prompt = prompt(1, 20_000);
    let first = pool.pick(&prompted(&prompt));
    // Its home is judged, too, wherever that is.
    assert!((MOST_JUDGED..=MOST_JUDGED + 1).contains(&first.receipt().judged));
    for _ in 0..20 {
        assert_eq!(name(&pool.pick(&prompted(&prompt))), name(&first));
    }
}

#[test]
fn large_pools_without_prompts_are_sampled() {
    for strategy in [LOAD, PREFIX] {
        assert_eq!(Fixture::new(strategy, 400).pick(&standard()).receipt().judged, MOST_JUDGED);
    }
}

/// A prompt that is as much nearer to each of the first endpoints than to the next as chance does not make up for: it decides ties.
fn clear_prompt(seed: u64, endpoints: usize, first: usize) -> Vec<u8> {
    let is_clear = |prompt: &Vec<u8>| {
        let beginning = Beginning::new("qwen", None, prompt);
        let distance = |number| beginning.distance(identity(&address(number).to_string()));
        let mut distances: Vec<_> = (0..endpoints).map(distance).collect();
        distances.sort_by(f32::total_cmp);
        distances.windows(2).take(first).all(|two| two[1] - two[0] > 1.3 * TIE)
    };
    (0..).map(|number| prompt(seed * 10_000 + number, 20_000)).find(is_clear).unwrap()
}

/// A gateway with others beside it, which keep every endpoint as busy as the next.
fn beside_others(count: usize) -> Fixture {
    let gateway = Fixture::new(PREFIX, count);
    (0..count).for_each(|member| gateway.scraped(member, load(0.0, 4.0, 0.0)));
    gateway
}

#[test]
fn the_home_of_a_prompt_is_no_failing_endpoint_and_no_fallback() {
    let prompt = clear_prompt(7, 200, 2);
    let pool = beside_others(200);
    let home = name(&pool.pick(&prompted(&prompt)));
    let mut endpoints = crate::testing::endpoints(0..200);
    let place = endpoints.iter().position(|endpoint| *endpoint.name == *home).unwrap();
    endpoints[place].priority = 1;
    let picks = (0..20).map(|_| {
        let fresh = beside_others(200);
        fresh.state.update(crate::testing::pool(PREFIX), &endpoints);
        name(&fresh.pick(&prompted(&prompt)))
    });
    let next: HashSet<_> = picks.collect();
    assert!(next.len() == 1 && !next.contains(&home), "{next:?}");
}

#[test]
fn gateways_agree_on_where_a_new_prompt_goes() {
    let (one, other) = (beside_others(8), beside_others(8));
    for number in 0..20 {
        let prompt = clear_prompt(number, 8, 1);
        assert_eq!(name(&one.pick(&prompted(&prompt))), name(&other.pick(&prompted(&prompt))), "{number}");
    }
}

#[test]
fn fallbacks_serve_when_the_first_fail() {
    let pool = Fixture::new(LOAD, 2);
    let mut endpoints = crate::testing::endpoints(0..2);
    endpoints[0].priority = 1;
    pool.state.update(crate::testing::pool(LOAD), &endpoints);
    let mut held: Vec<_> = (0..20).map(|_| pool.pick(&standard())).collect();
    assert!(held.iter().all(|picked| name(picked) == "pod-1"));
    held[0].failed();
    assert_eq!(name(&pool.pick(&standard())), "pod-0");
}

#[test]
fn a_receipt_says_what_was_chosen_and_what_the_others_scored() {
    let pool = Fixture::new(PREFIX, 20);
    pool.scraped(3, load(0.0, 5.0, 0.5));
    pool.state.keep_receipts(2);
    let prompt = prompt(1, 20_000);
    drop(pool.pick(&prompted(&prompt)));
    let mut picked = pool.pick(&prompted(&prompt));
    picked.finished(Some(4_000), 0);
    let receipt = picked.receipt();
    assert_eq!((receipt.scored.len(), receipt.judged, receipt.chosen), (MOST_RANKED, 20, 0));
    assert!(receipt.scored[0].prefix > 0.9 && receipt.scored[0].score > receipt.scored[1].score);
    assert!(receipt.to_string().contains("4000 tokens cached"), "{receipt}");
    picked.fail_over();
    drop(picked);
    let kept = pool.state.receipts();
    assert_eq!((kept.len(), kept[1].chosen), (2, 1));
    drop(pool.pick(&standard()));
    assert_eq!(pool.state.receipts().len(), 2);
    let accuracy: u64 = pool.state.snapshot().iter().map(|endpoint| endpoint.cached_tokens).sum();
    assert_eq!(accuracy, 4_000);
}

#[test]
fn a_preview_names_the_endpoint_of_the_next_pick_and_leaves_nothing_behind() {
    let pool = Fixture::new(PREFIX, 20);
    let prompt = prompt(1, 20_000);
    let home = name(&pool.pick(&prompted(&prompt)));
    let blocks = pool.state.prefix_blocks();
    let other = crate::testing::prompt(2, 20_000);
    for _ in 0..50 {
        let preview = pool.state.preview(&prompted(&prompt)).unwrap();
        assert_eq!(
            (&*preview.scored[0].endpoint.name, preview.judged, preview.why()),
            (&*home, 20, "more of the prompt is cached there")
        );
        pool.state.preview(&prompted(&other)).unwrap();
    }
    assert_eq!((pool.in_flight(), pool.state.prefix_blocks()), (vec![0; 20], blocks));
    assert!(Fixture::new(PREFIX, 0).state.preview(&standard()).is_none());
}
