//! Picks among endpoints that prefill and endpoints that decode.

use pailou_snapshot::{EndpointRole, RoutingStrategy};

use crate::{
    Affinity, PickError, PickRequest, Stage,
    testing::{Fixture, address, load, prompt, prompted, standard, with_roles},
};

fn fixture(roles: &[EndpointRole]) -> Fixture {
    let fixture = Fixture::new(RoutingStrategy::PrefixCache, 0);
    let members = fixture.state.members();
    fixture.state.update(members.pool.clone(), &with_roles(roles));
    fixture
}

fn stage(stage: Stage) -> PickRequest<'static> {
    PickRequest { stage, ..standard() }
}

const ROLES: [EndpointRole; 4] = [EndpointRole::Prefill, EndpointRole::Decode, EndpointRole::Encode, EndpointRole::PrefillDecode];

#[test]
fn requests_go_where_they_can_be_decoded_however_busy_that_is() {
    let fixture = fixture(&ROLES);
    fixture.scraped(1, load(50.0, 300.0, 0.9));
    fixture.scraped(3, load(60.0, 300.0, 0.9));
    let picked = fixture.pick(&stage(Stage::Decode));
    assert_eq!(picked.endpoint().endpoint.address.socket(), Some(address(1)));
    // Nor does it fail over to one that cannot.
    assert_eq!(picked.ranked().count(), 2);
}

#[test]
fn prompts_are_prefilled_where_that_is_done() {
    let fixture = fixture(&ROLES);
    fixture.scraped(3, load(3.0, 30.0, 0.5));
    let picked = fixture.pick(&stage(Stage::Prefill));
    assert_eq!(picked.endpoint().endpoint.address.socket(), Some(address(0)));
    assert_eq!(picked.ranked().count(), 2);
    assert!(fixture.state.has_prefill());
}

#[test]
fn a_pool_without_prefill_has_none_for_it() {
    let fixture = fixture(&[EndpointRole::Decode, EndpointRole::Encode]);
    assert_eq!(fixture.state.pick(&stage(Stage::Prefill)).err(), Some(PickError::NoEndpoints));
    assert_eq!(fixture.pick(&stage(Stage::Decode)).ranked().count(), 1);
    assert!(!fixture.state.has_prefill());
}

#[test]
fn affinity_leads_to_no_endpoint_of_another_role() {
    let fixture = fixture(&ROLES);
    let slot = fixture.state.members().endpoints[0].slot();
    let affinity = Some(Affinity { slot, while_saturated: true });
    let picked = fixture.pick(&PickRequest { affinity, ..stage(Stage::Decode) });
    assert_ne!(picked.endpoint().slot(), slot);
}

#[test]
fn tokens_are_uncached_until_the_prompt_was_there() {
    let fixture = fixture(&[EndpointRole::Prefill, EndpointRole::Decode]);
    let text = prompt(1, 8192);
    let first = fixture.pick(&prompted(&text));
    assert_eq!(first.uncached_tokens(), 2048);
    drop(first);
    let again = fixture.pick(&prompted(&text));
    assert!(again.uncached_tokens() < 64, "{}", again.uncached_tokens());
}
