//! The endpoints that a pick compares.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use pailou_snapshot::ScorerWeights;

use crate::{
    context_length,
    endpoint::{Members, PoolEndpoint},
    kv_events::CachedTokens,
    load::Load,
    new_prompts,
    pick_request::{Affinity, PickRequest, Stage},
    prefix::{Chain, Matches},
    rendezvous::Beginning,
    room::{RoomLimits, RoomTerms},
    score::{Candidate, HOME, HOME_ALONE, adapter_affinity},
};

/// Endpoints that are judged; of a larger pool, this many from a random place on, those that have the prompt cached, and its home.
pub(crate) const MOST_JUDGED: usize = 128;
/// Endpoints that a request can fail over to, the first included; receipts name as many.
pub(crate) const MOST_RANKED: usize = 16;
/// Share of the requests at all endpoints that others must have sent for them to count as further gateways.
const FOREIGN_SHARE: f32 = 0.25;

/// Parts of a request's prompt that endpoints have, estimated and for certain.
pub(crate) struct Prefixes<'a> {
    pub(crate) request: &'a PickRequest<'a>,
    pub(crate) matches: Matches,
    pub(crate) cached: CachedTokens,
    /// `None` where prompts do not count.
    pub(crate) beginning: Option<Beginning>,
}

impl Prefixes<'_> {
    /// Bytes of the prompt that an endpoint probably has: what it has told where that is all there is to tell, or else the greater of
    /// that and the estimate.
    fn bytes(&self, slot: u16) -> u32 {
        let estimate = self.matches.bytes(slot);
        let Some((cached, tokens)) = self.cached.of(slot).zip(self.request.tokens) else { return estimate };
        let share = cached.tokens as f32 / tokens.total().max(1) as f32;
        let bytes = (share * self.request.prompt.len() as f32) as u32;
        if cached.is_complete { bytes } else { bytes.max(estimate) }
    }

    /// Bytes that an endpoint is taken to have where it is the prompt's home; none where it tells what it has.
    fn assumed(&self, slot: u16) -> u32 {
        let tells = self.request.tokens.is_some() && self.cached.of(slot).is_some_and(|cached| cached.is_complete);
        self.beginning.filter(|_| !tells).map_or(0, |beginning| beginning.assumed)
    }

    fn distance(&self, endpoint: &PoolEndpoint) -> f32 {
        self.beginning.map_or(0.0, |beginning| beginning.distance(endpoint.identity))
    }
}

/// The endpoints that may serve a request, with all that does not change while it is being picked for.
pub(crate) fn eligible(members: &Members, prefixes: &Prefixes<'_>, now: Instant) -> Vec<Candidate> {
    let request = prefixes.request;
    let count = members.endpoints.len();
    let start = if count > MOST_JUDGED { fastrand::usize(..count) } else { 0 };
    let is_avoided = |endpoint: &PoolEndpoint| request.avoided.get(endpoint.slot()).is_some_and(|avoided| *avoided);
    let candidate = |member: usize, failing: bool, prefix: u32, distance: f32| {
        let (member, priority) = (member as u32, members.endpoints[member].endpoint.priority);
        Candidate { member, priority, failing, prefix, likely: prefix, distance, ..Candidate::default() }
    };
    let may_serve = may_serve(members, request);
    let mut others = 0;
    let mut candidates = Vec::with_capacity(count.min(MOST_JUDGED));
    // The prompt's home: its nearness, its place, and its place among the candidates where it is judged anyway.
    let mut home: Option<(Nearness, usize, Option<usize>)> = None;
    for place in 0..count {
        let member = (start + place) % count;
        let endpoint = &members.endpoints[member];
        if !may_serve(endpoint) {
            continue;
        }
        let failing = endpoint.record.failures.is_last(now) || is_avoided(endpoint);
        let distance = prefixes.distance(endpoint);
        let prefix = prefixes.bytes(endpoint.slot);
        let is_preferred = request.affinity.is_some_and(|affinity| affinity.slot == endpoint.slot());
        others += usize::from(prefix == 0 && !is_preferred);
        let is_judged = prefix > 0 || is_preferred || others <= MOST_JUDGED;
        let nearness = (failing, endpoint.endpoint.priority, distance);
        if prefixes.beginning.is_some() && home.is_none_or(|(nearest, ..)| nearness < nearest) {
            home = Some((nearness, member, is_judged.then_some(candidates.len())));
        }
        if is_judged {
            candidates.push(candidate(member, failing, prefix, distance));
        }
    }
    if let Some(((failing, _, distance), member, place)) = home {
        let place = place.unwrap_or_else(|| {
            candidates.push(candidate(member, failing, 0, distance));
            candidates.len() - 1
        });
        candidates[place].is_home = true;
    }
    candidates
}

/// Whether an endpoint may serve a request: it is in its subset, of a role for its stage, and for prompts of its length.
pub(crate) fn may_serve(members: &Members, request: &PickRequest<'_>) -> impl Fn(&PoolEndpoint) -> bool {
    let (subset, stage) = (request.subset, request.stage);
    let has_roles = members.has_roles || stage == Stage::Prefill;
    let (filters_context, tokens) = (filters_context(members, stage), request.prompt_tokens());
    move |endpoint| {
        subset.is_none_or(|subset| subset.contains(&endpoint.address))
            && (!has_roles || stage.suits(endpoint.endpoint.role))
            && (!filters_context || context_length::is_in(endpoint.endpoint.context, tokens))
    }
}

/// Whether endpoints get only prompts of the lengths that they are for.
pub(crate) fn filters_context(members: &Members, stage: Stage) -> bool {
    scorers(members, stage).is_some_and(|weights| weights.filters_context)
}

/// Scorers in place of the picker's own score, at this stage of a request.
pub(crate) fn scorers(members: &Members, stage: Stage) -> Option<&ScorerWeights> {
    let (pool, decode) = (&members.pool, members.pool.scorers.as_deref());
    match stage {
        Stage::Decode => decode,
        Stage::Prefill => pool.prefill_scorers.as_deref().or(decode),
    }
}

/// Reads how fit each endpoint is for the prompt's length, where that counts.
pub(crate) fn fit_context(members: &Members, weights: &ScorerWeights, tokens: f32, candidates: &mut [Candidate]) {
    if weights.context_length > 0.0 {
        for candidate in candidates {
            candidate.context = context_length::score(members.endpoints[candidate.member as usize].endpoint.context, tokens);
        }
    }
}

/// Nearness of an endpoint to being a prompt's home: the least is. Failing endpoints and fallbacks are homes only where all are such.
type Nearness = (bool, u8, f32);

/// Whether a good part of what the endpoints have was sent by others: there are further gateways.
pub(crate) fn are_others_there(candidates: &[Candidate]) -> bool {
    let foreign: f32 = candidates.iter().map(|candidate| candidate.load.foreign).sum();
    let requests: f32 = candidates.iter().map(|candidate| candidate.load.waiting + candidate.load.running).sum();
    foreign >= 1.0 && foreign >= FOREIGN_SHARE * requests
}

/// Takes part of the prompt to be cached at its home: another gateway may have sent it there.
pub(crate) fn assume_home(members: &Members, prefixes: &Prefixes<'_>, candidates: &mut [Candidate]) {
    candidates.iter_mut().for_each(|candidate| candidate.remoteness = HOME * candidate.distance);
    let Some(home) = candidates.iter_mut().find(|candidate| candidate.is_home) else { return };
    let slot = members.endpoints[home.member as usize].slot;
    home.likely = home.prefix.max(prefixes.assumed(slot));
}

/// Whether a request's prompt is new, as far as these have it.
pub(crate) fn is_new(request: &PickRequest<'_>, candidates: &[Candidate]) -> bool {
    let most_cached = candidates.iter().map(|candidate| candidate.likely).max().unwrap_or(0);
    new_prompts::is_new(request.prompt.len(), most_cached)
}

/// Reads how many new prompts each was given lately, for which homes count less. Only for a pool's one gateway: where there are others, each sees some of them, and all
/// agree by homes alone.
pub(crate) fn count_new_prompts(members: &Members, candidates: &mut [Candidate]) {
    let count = &members.index.new_prompts;
    let mut sum = 0.0;
    for candidate in candidates.iter_mut() {
        candidate.new_prompts = members.endpoints[candidate.member as usize].new_prompts.faded(count);
        sum += candidate.new_prompts;
    }
    let mean = sum / candidates.len().max(1) as f32;
    for candidate in candidates {
        candidate.new_prompts -= mean;
        candidate.remoteness = HOME_ALONE * candidate.distance;
    }
}

/// Prefers the endpoint of an affinity; that of a hash only while it has room.
pub(crate) fn apply(affinity: Affinity, limits: RoomLimits, members: &Members, candidates: &mut [Candidate]) {
    for candidate in candidates {
        let is_it = members.endpoints[candidate.member as usize].slot() == affinity.slot;
        candidate.is_preferred = is_it && (affinity.while_saturated || limits.saturation(&candidate.load) < 1.0);
    }
}

/// Reads every candidate's load, and how fit it is to run the model's adapter; those that are silent get the load that their siblings have
/// from others.
pub(crate) fn measure(members: &Members, candidates: &mut [Candidate], model: &str, now: Instant) {
    let (mut fresh, mut foreign, mut kv) = (0.0_f32, 0.0, 0.0);
    for candidate in candidates.iter_mut() {
        let endpoint = &members.endpoints[candidate.member as usize];
        let reading = endpoint.reading.load();
        candidate.load = Load::new(endpoint.record.in_flight.level(), &reading, now);
        candidate.adapter = adapter_affinity(reading.adapters(now), model);
        candidate.pending = endpoint.record.prefill.load(Relaxed) as f32;
        candidate.told_pending = endpoint.record.told_prefill.load(Relaxed) as f32;
        if candidate.load.fresh {
            fresh += 1.0;
            foreign += candidate.load.foreign;
            kv += candidate.load.kv;
        }
    }
    if fresh == 0.0 {
        return;
    }
    for candidate in candidates.iter_mut().filter(|candidate| !candidate.load.fresh) {
        candidate.load = candidate.load.with_siblings(foreign / fresh, kv / fresh);
    }
}

/// Judges by the request's objective: how far each endpoint is from keeping it. Whether one keeps it, as far as is known.
pub(crate) fn strain(members: &Members, request: &PickRequest<'_>, candidates: &mut [Candidate]) -> bool {
    let prompt_tokens = request.prompt_tokens();
    let mut is_kept = false;
    for candidate in candidates {
        let expected = members.endpoints[candidate.member as usize].latency.expect(candidate.figures(prompt_tokens));
        let strain = request.objective.strain(expected);
        candidate.miss(strain);
        is_kept |= strain <= 1.0;
    }
    is_kept
}

/// The mean over all candidates that are not failing, or over all if every one is; `None` if there are none.
pub(crate) fn saturation(candidates: &[Candidate], limits: RoomLimits) -> Option<f32> {
    let all_failing = candidates.iter().all(|candidate| candidate.failing);
    let (mut sum, mut count) = (0.0, 0.0);
    for candidate in candidates.iter().filter(|candidate| all_failing || !candidate.failing) {
        sum += limits.saturation(&candidate.load);
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

/// How full those are that may serve a request, before anything is known of its prompt; `None` if there are none.
pub(crate) fn saturation_of_pool(members: &Members, request: &PickRequest<'_>, terms: RoomTerms, now: Instant) -> Option<f32> {
    let (matches, cached) = (members.index.matches(&Chain::default()), CachedTokens::default());
    let mut candidates = eligible(members, &Prefixes { request, matches, cached, beginning: None }, now);
    measure(members, &mut candidates, request.model, now);
    saturation(&candidates, terms.limits(|| are_others_there(&candidates)))
}

/// Moves the best to the front, in order; the others follow in any.
pub(crate) fn rank(candidates: &mut [Candidate]) {
    if candidates.len() > MOST_RANKED {
        candidates.select_nth_unstable_by(MOST_RANKED - 1, Candidate::order);
    }
    let ranked = candidates.len().min(MOST_RANKED);
    candidates[..ranked].sort_unstable_by(Candidate::order);
}
