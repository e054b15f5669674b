//! Count of new prompts at the endpoints that compute them.

use pailou_snapshot::{EndpointRole, RoutingStrategy};

use crate::{
    PickRequest, Stage,
    testing::{Fixture, load, prompt, prompted, with_roles},
};

/// New prompts of each endpoint, in hundredths.
fn counts(fixture: &Fixture) -> Vec<u32> {
    let members = fixture.state.members();
    let count = |endpoint: &std::sync::Arc<crate::PoolEndpoint>| endpoint.new_prompts.faded(&members.index.new_prompts);
    members.endpoints.iter().map(|endpoint| (count(endpoint) * 100.0).round() as u32).collect()
}

/// Of one prompt, as its weight is.
fn one_at(fixture: &Fixture, place: Option<usize>) -> bool {
    let is_so = |(at, count): (usize, u32)| if Some(at) == place { (80..=100).contains(&count) } else { count == 0 };
    counts(fixture).into_iter().enumerate().all(is_so)
}

#[test]
fn a_prompt_that_moves_counts_where_it_is() {
    let fixture = Fixture::new(RoutingStrategy::PrefixCache, 3);
    let prompt = prompt(1, 20_000);
    let mut picked = fixture.pick(&prompted(&prompt));
    assert!(one_at(&fixture, Some(picked.endpoint().slot())), "{:?}", counts(&fixture));
    assert!(picked.fail_over());
    assert!(one_at(&fixture, Some(picked.endpoint().slot())), "{:?}", counts(&fixture));
    assert!(picked.pass_over());
    assert!(one_at(&fixture, Some(picked.endpoint().slot())), "{:?}", counts(&fixture));
}

#[test]
fn a_retry_that_comes_as_a_new_pick_counts_once() {
    let fixture = Fixture::new(RoutingStrategy::PrefixCache, 3);
    let prompt = prompt(1, 20_000);
    let mut failed = fixture.pick(&prompted(&prompt));
    failed.failed();
    assert!(one_at(&fixture, None), "{:?}", counts(&fixture));
    let again = fixture.pick(&prompted(&prompt));
    assert_ne!(again.endpoint().slot(), failed.endpoint().slot());
    assert!(one_at(&fixture, Some(again.endpoint().slot())), "{:?}", counts(&fixture));
}

#[test]
fn a_prompt_counts_where_it_is_prefilled() {
    let fixture = Fixture::new(RoutingStrategy::PrefixCache, 0);
    let pool = fixture.state.members().pool.clone();
    fixture.state.update(pool, &with_roles(&[EndpointRole::Prefill, EndpointRole::Decode]));
    let prompt = prompt(1, 20_000);
    let mut decode = fixture.pick(&prompted(&prompt));
    decode.prefill_elsewhere(true);
    let mut prefill = fixture.pick(&PickRequest { stage: Stage::Prefill, ..prompted(&prompt) });
    assert!(one_at(&fixture, Some(0)), "{:?}", counts(&fixture));
    prefill.failed();
    decode.prefill_elsewhere(false);
    assert!(one_at(&fixture, Some(1)), "{:?}", counts(&fixture));
}

#[test]
fn nothing_counts_beside_other_gateways() {
    let fixture = Fixture::new(RoutingStrategy::PrefixCache, 2);
    (0..2).for_each(|number| fixture.scraped(number, load(0.0, 20.0, 0.1)));
    let _picked = fixture.pick(&prompted(&prompt(1, 20_000)));
    assert!(one_at(&fixture, None), "{:?}", counts(&fixture));
}
