use std::time::Duration;

use pailou_snapshot::{EndpointRole, RoutingStrategy};

use super::*;
use crate::{
    ObjectiveTotals, PickError, Picked, Stage,
    testing::{Fixture, load, prompt, prompted, sheddable, standard, with_roles},
};

const TTFT: Objective = Objective { first_token: Some(0.5), further_token: None };

fn name(picked: &Picked) -> String {
    picked.endpoint().endpoint.name.to_string()
}

/// A pool whose first endpoint takes 2 s to the first token and the second 100 ms, as the picker has learnt.
fn slow_and_fast() -> Fixture {
    let pool = Fixture::new(RoutingStrategy::PrefixCache, 2);
    let now = Instant::now();
    for seed in 0..60 {
        let text = prompt(1_000 + seed, 400);
        let mut picked = pool.state.pick_at(&prompted(&text), now).unwrap();
        let took = if name(&picked) == "pod-0" { 2_000 } else { 100 };
        picked.first_token_at(true, now + Duration::from_millis(took));
        picked.finished_at(None, 11, now + Duration::from_millis(took + 200));
    }
    pool
}

#[test]
fn an_objective_leads_to_an_endpoint_that_keeps_it() {
    let pool = slow_and_fast();
    // The slow one is idle, the fast one has more to do: without an objective the slow one is better.
    pool.scraped(0, load(0.0, 0.0, 0.0));
    pool.scraped(1, load(0.0, 30.0, 0.2));
    assert_eq!(name(&pool.pick(&standard())), "pod-0");
    for _ in 0..20 {
        assert_eq!(name(&pool.pick(&PickRequest { objective: TTFT, ..standard() })), "pod-1");
    }
}

#[test]
fn where_no_endpoint_keeps_it_the_nearest_serves_and_sheddable_requests_are_refused() {
    let pool = slow_and_fast();
    let objective = Objective { first_token: Some(0.001), further_token: None };
    for _ in 0..20 {
        assert_eq!(name(&pool.pick(&PickRequest { objective, ..standard() })), "pod-1");
    }
    let refused = pool.state.pick(&PickRequest { objective, ..sheddable() });
    assert!(matches!(refused, Err(PickError::Saturated { .. })), "{refused:?}");
    assert!(pool.state.pick(&PickRequest { objective: TTFT, ..sheddable() }).is_ok());
}

#[test]
fn an_endpoint_of_which_nothing_is_known_is_tried() {
    let pool = Fixture::new(RoutingStrategy::Load, 2);
    assert!(pool.state.pick(&PickRequest { objective: TTFT, ..sheddable() }).is_ok());
}

#[test]
fn objectives_are_counted_as_kept_or_missed() {
    let pool = slow_and_fast();
    pool.scraped(0, load(0.0, 30.0, 0.0));
    let objective = Objective { first_token: Some(0.5), further_token: Some(0.05) };
    let now = Instant::now();
    for took in [100, 900] {
        let mut picked = pool.pick(&PickRequest { objective, ..standard() });
        picked.first_token_at(true, now + Duration::from_millis(took));
        picked.finished_at(None, 11, now + Duration::from_millis(took + 200));
    }
    let totals = ObjectiveTotals { ttft_kept: 1, ttft_missed: 1, tpot_kept: 2, tpot_missed: 0 };
    assert_eq!(pool.state.objectives(), totals);
}

#[test]
fn tokens_await_prefill_until_the_first_one_comes_or_the_request_leaves() {
    let pool = Fixture::new(RoutingStrategy::PrefixCache, 2);
    let pending = || -> Vec<u64> {
        let members = pool.state.members();
        let records = members.endpoints.iter().map(|endpoint| &endpoint.record);
        // Of streams both are the same.
        records
            .map(|record| (record.prefill.load(Relaxed), record.told_prefill.load(Relaxed)))
            .map(|(all, told)| {
                assert_eq!(all, told);
                told
            })
            .collect()
    };
    let text = prompt(5, 40_000);
    let mut first = pool.pick(&PickRequest { tells_prefill: true, ..prompted(&text) });
    assert_eq!(pending().iter().sum::<u64>(), 10_000);
    let at = pending().iter().position(|tokens| *tokens > 0).unwrap();
    assert!(first.fail_over());
    assert_eq!((pending()[at], pending()[1 - at]), (0, 10_000));
    first.first_token(true);
    assert_eq!(pending(), [0, 0]);
    drop(first);
    let text = prompt(6, 40_000);
    let left = pool.pick(&PickRequest { tells_prefill: true, ..prompted(&text) });
    assert_eq!(pending().iter().sum::<u64>(), 10_000);
    drop(left);
    assert_eq!(pending(), [0, 0]);
}

#[test]
fn an_answer_in_one_piece_does_not_tell_when_its_prompt_is_computed() {
    let pool = Fixture::new(RoutingStrategy::PrefixCache, 1);
    let text = prompt(5, 40_000);
    for (is_stream, expected) in [(false, 0), (true, 10_000)] {
        let mut picked =
            pool.pick(&PickRequest { tells_prefill: is_stream, model: if is_stream { "one" } else { "other" }, ..prompted(&text) });
        let told = |picked: &Picked| picked.endpoint().record.told_prefill.load(Relaxed);
        assert_eq!(told(&picked), expected);
        picked.first_token(is_stream);
        assert_eq!(told(&picked), 0);
    }
}

#[test]
fn a_prefill_tells_its_end_only_where_the_gateway_says_so() {
    let pool = Fixture::new(RoutingStrategy::PrefixCache, 0);
    pool.state.update(crate::testing::pool(RoutingStrategy::PrefixCache), &with_roles(&[EndpointRole::Prefill]));
    for (tells_prefill, seed, expected) in [(false, 1, 0), (true, 2, 10_000)] {
        let text = prompt(seed, 40_000);
        let picked = pool.pick(&PickRequest { stage: Stage::Prefill, tells_prefill, ..prompted(&text) });
        let record = &picked.endpoint().record;
        assert_eq!((record.prefill.load(Relaxed), record.told_prefill.load(Relaxed)), (10_000, expected));
    }
}

#[test]
fn what_is_cached_awaits_no_prefill() {
    let pool = Fixture::new(RoutingStrategy::PrefixCache, 1);
    let text = prompt(5, 40_960);
    drop(pool.pick(&prompted(&text)));
    let _again = pool.pick(&prompted(&text));
    let pending = pool.state.members().endpoints[0].record.prefill.load(Relaxed);
    assert!(pending < 1_000, "{pending}");
}

/// A request whose prompt another endpoint computes keeps its objectives or not, and teaches how long further tokens take.
#[test]
fn a_prefill_elsewhere_is_not_this_endpoints() {
    let pool = Fixture::new(RoutingStrategy::PrefixCache, 1);
    let now = Instant::now();
    let objective = Objective { first_token: Some(0.5), further_token: Some(0.5) };
    let pending = |picked: &Picked| {
        let record = &picked.endpoint().record;
        assert_eq!(record.prefill.load(Relaxed), record.told_prefill.load(Relaxed));
        record.told_prefill.load(Relaxed)
    };
    for seed in 0..20 {
        let text = prompt(seed, 400);
        let mut picked = pool.state.pick_at(&PickRequest { objective, tells_prefill: true, ..prompted(&text) }, now).unwrap();
        let whole = pending(&picked);
        assert!(whole > 0);
        for (is_so, expected) in [(true, 0), (true, 0), (false, whole), (true, 0)] {
            picked.prefill_elsewhere(is_so);
            assert_eq!(pending(&picked), expected);
        }
        picked.first_token_at(true, now + Duration::from_secs(1));
        picked.finished_at(None, 11, now + Duration::from_secs(2));
        let expected = picked.endpoint().latency.expect(LoadFigures::default());
        assert_eq!((expected.first_token, expected.further_token.is_some()), (None, seed >= 7), "{seed}");
    }
    assert_eq!(pool.state.objectives(), ObjectiveTotals { ttft_missed: 20, tpot_kept: 20, ..ObjectiveTotals::default() });
}
