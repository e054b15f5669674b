//! One pick: eligible endpoints, their load, their scores, a reservation.

use std::{net::SocketAddr, sync::Arc, time::Duration, time::Instant};

use pailou_snapshot::{Criticality, RoutingStrategy};

use crate::{
    candidates::{MOST_RANKED, are_others_there, eligible, is_new, may_serve, rank, saturation_of_pool},
    endpoint::Members,
    judgement::{PromptLookup, judge_all, measure_all},
    load::Tokens,
    new_prompts::NewPrompt,
    pick_request::{PickError, PickRequest, Stage},
    picked::{ExactPick, Picked, Reservation, Seen},
    prefix::Chain,
    queue::EvictablePlace,
    room::RoomTerms,
    score::{Candidate, share_of_prompt},
    state::Shared,
    timed::Timed,
};

/// Times that a pick judges anew because another took the place it had chosen; then it takes the place regardless, unless it may
/// go only where there is room.
const ATTEMPTS: usize = 4;
/// When a client that was refused may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Whether a request may be sent to a saturated pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Unless it is sheddable.
    Open,
    /// If the pool's requests wait: none may, none is sent to an endpoint without room while another has some, and none before those that
    /// wait.
    Queue,
    /// The same for the one whose turn it is.
    Turn,
}

pub(crate) fn pick(shared: &Arc<Shared>, request: &PickRequest<'_>, gate: Gate, now: Instant) -> Result<Picked, PickError> {
    shared.activity.touch(now);
    let members = shared.members.load_full();
    let is_gated = gate != Gate::Open && members.pool.queueing.is_some();
    let saturated = PickError::Saturated { retry_after: RETRY_AFTER };
    let terms = match is_gated {
        true => enter(shared, &members, request, gate, now)?,
        false => RoomTerms::of(&members.pool, false),
    };
    let PromptLookup { prefixes, chain, exact } = PromptLookup::new(shared, &members, request, now);
    let mut candidates = eligible(&members, &prefixes, now);
    let tokens = Tokens::estimate(request.input_bytes, request.max_tokens);
    let is_sheddable = request.criticality == Criticality::Sheddable;
    // A place is taken only as it was judged. The gate lets those that have lost one judge anew in turns.
    let mut held = None;
    let mut attempt = 1;
    let saturation = loop {
        let (limits, saturation) = measure_all(&members, &prefixes, &mut candidates, terms, now).ok_or(PickError::NoEndpoints)?;
        if saturation >= 1.0 && (is_sheddable || is_gated) {
            return Err(saturated);
        }
        // In a queue a request that is refused for its objective would hold up those behind it, though there is room.
        if !judge_all(&members, &prefixes, &mut candidates, (is_gated, limits)) && is_sheddable && !is_gated {
            return Err(saturated);
        }
        rank(&mut candidates);
        let best = &candidates[0];
        let in_flight = &members.endpoints[best.member as usize].record.in_flight;
        let is_last = attempt == ATTEMPTS && !is_gated;
        if is_last {
            in_flight.reserve(tokens);
        }
        if is_last || in_flight.reserve_at(best.load.level, tokens) {
            break saturation;
        }
        attempt += 1;
        if is_gated && held.is_none() {
            held = Some(members.queue.gate());
        }
    };
    drop(held);
    let new_prompt = new_prompt(&members, request, &candidates);
    let judged = candidates.len();
    if judged > MOST_RANKED {
        candidates.truncate(MOST_RANKED);
        candidates.shrink_to_fit();
    }
    let is_evictable = members.pool.queueing.is_some_and(|queueing| queueing.evicts) && request.priority < 0;
    let evictable =
        (is_evictable && request.stage == Stage::Decode).then(|| Box::new(EvictablePlace::new(&members.queue, request.priority)));
    let reservation = Reservation::held(members, candidates[0].member, tokens);
    let prompt_tokens = request.tokens.map(|tokens| tokens.total() as u64);
    let timed = Timed::begin(request, &candidates[0], reservation.record(), now);
    let seen = Seen {
        ranked: candidates,
        judged,
        saturation,
        prompt_bytes: request.prompt.len(),
        prompt_tokens,
        tokens_way: request.tokens_way,
        new_prompt,
        timed,
    };
    let mut picked = Picked::new(Arc::clone(shared), reservation, seen, chain);
    picked.evictable = evictable;
    if let Some((exact, prompt)) = exact {
        let expected = exact.picked(picked.endpoint().slot, prompt, now);
        picked.exact = Some(Box::new(ExactPick { asked_tokens: prompt.asked(), expected }));
    }
    Ok(picked)
}

/// Lets a request look for room where requests wait, and notes its priority: only that of one which an endpoint may serve, so that no room is
/// left to those that cannot use it. Returns the bounds of that room.
fn enter(shared: &Shared, members: &Members, request: &PickRequest<'_>, gate: Gate, now: Instant) -> Result<RoomTerms, PickError> {
    let (highest, since_start) = (&members.queue.highest, shared.activity.since_start(now));
    let has_reserve = members.pool.queueing.is_some_and(|queueing| queueing.reserve > 0);
    let terms = RoomTerms::of(&members.pool, has_reserve && highest.is_outranked(request.priority, since_start));
    let may_serve = may_serve(members, request);
    let refusal = match gate {
        Gate::Turn => {
            // A request that waits may look many times in vain, which is to cost no look at its prompt.
            let saturation = saturation_of_pool(members, request, terms, now).ok_or(PickError::NoEndpoints)?;
            (saturation >= 1.0).then_some(PickError::Saturated { retry_after: RETRY_AFTER })
        }
        _ if !members.endpoints.iter().any(|endpoint| may_serve(endpoint)) => return Err(PickError::NoEndpoints),
        _ => (members.queue.len() > 0).then_some(PickError::Saturated { retry_after: RETRY_AFTER }),
    };
    if has_reserve && !request.is_copy {
        highest.note(request.priority, since_start);
    }
    refusal.map_or(Ok(terms), Err)
}

/// Weight of the prompt, if it is new and nobody beside this gateway sends any.
fn new_prompt(members: &Members, request: &PickRequest<'_>, candidates: &[Candidate]) -> NewPrompt {
    let bytes = request.prompt.len();
    let is_counted = members.pool.strategy == RoutingStrategy::PrefixCache && !are_others_there(candidates);
    match is_counted && is_new(request, candidates) {
        true => NewPrompt::of_weight(share_of_prompt(bytes as u32, bytes)),
        false => NewPrompt::default(),
    }
}

/// Reserves a place at the first of these endpoints that the pool has, for a request that another picker sent there; the
/// others follow in their order. `None`: the pool has none of them.
pub(crate) fn hold(shared: &Arc<Shared>, addresses: &[SocketAddr], tokens: Tokens) -> Option<Picked> {
    let members = shared.members.load_full();
    let place = |address: &SocketAddr| members.endpoints.iter().position(|endpoint| endpoint.address == *address);
    let candidate = |member| Candidate { member, ..Candidate::default() };
    let ranked: Vec<_> = addresses.iter().filter_map(place).map(|member| candidate(member as u32)).collect();
    let first = ranked.first()?.member;
    members.endpoints[first as usize].record.in_flight.reserve(tokens);
    let reservation = Reservation::held(members, first, tokens);
    let new_prompt = NewPrompt::default();
    let seen = Seen {
        ranked,
        judged: 0,
        saturation: 0.0,
        prompt_bytes: 0,
        prompt_tokens: None,
        tokens_way: None,
        new_prompt,
        timed: Timed::default(),
    };
    Some(Picked::new(Arc::clone(shared), reservation, seen, Chain::default()))
}

#[cfg(test)]
mod tests;
