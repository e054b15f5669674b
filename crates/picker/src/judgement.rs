//! Judgement of a pool's endpoints for one request, which a pick and its preview share.

use std::{sync::Arc, time::Instant};

use pailou_snapshot::RoutingStrategy;

use crate::{
    candidates::{
        Prefixes, apply, are_others_there, assume_home, count_new_prompts, fit_context, measure, saturation, scorers, strain,
    },
    endpoint::Members,
    exact_prefixes::ExactPrefixes,
    pick_request::PickRequest,
    prefix::Chain,
    rendezvous::Beginning,
    room::{RoomLimits, RoomTerms},
    score::{Candidate, Rivals},
    state::Shared,
    tokens::PromptTokens,
    weighted_score,
};

/// Places where a request's prompt is cached, looked up once for a pick.
pub(crate) struct PromptLookup<'a> {
    pub(crate) prefixes: Prefixes<'a>,
    /// The prompt's blocks; none where prompts do not count.
    pub(crate) chain: Chain,
    /// The index of engines' events, where the prompt's tokens are known.
    pub(crate) exact: Option<(Arc<ExactPrefixes>, &'a PromptTokens)>,
}

impl<'a> PromptLookup<'a> {
    pub(crate) fn new(shared: &Shared, members: &Members, request: &'a PickRequest<'a>, now: Instant) -> Self {
        let has_prefixes = members.pool.strategy == RoutingStrategy::PrefixCache;
        let chain =
            if has_prefixes { members.index.chain(request.model, request.cache_salt, request.prompt) } else { Chain::default() };
        let beginning =
            (has_prefixes && !request.prompt.is_empty()).then(|| Beginning::new(request.model, request.cache_salt, request.prompt));
        let exact = request.tokens.and_then(|prompt| Some((shared.exact.load_full()?, prompt)));
        let cached = exact.as_ref().map(|(exact, prompt)| exact.cached_tokens(prompt, now)).unwrap_or_default();
        let prefixes = Prefixes { request, matches: members.index.matches(&chain), cached, beginning };
        Self { prefixes, chain, exact }
    }
}

/// Reads every candidate's load. Returns the bounds that count, and how full the candidates are by them, 0 to 1; `None` if there are none.
pub(crate) fn measure_all(
    members: &Members,
    prefixes: &Prefixes<'_>,
    candidates: &mut [Candidate],
    terms: RoomTerms,
    now: Instant,
) -> Option<(RoomLimits, f32)> {
    measure(members, candidates, prefixes.request.model, now);
    if prefixes.beginning.is_some() {
        match are_others_there(candidates) {
            true => assume_home(members, prefixes, candidates),
            false => count_new_prompts(members, candidates),
        }
    }
    let limits = terms.limits(|| are_others_there(candidates));
    Some((limits, saturation(candidates, limits)?))
}

/// Judges every candidate by what was measured: the cached prefix, the nearness to the prompt's home, the request's objective and its affinity;
/// and by its room, where that counts. Returns whether one keeps the objective, as far as is known.
pub(crate) fn judge_all(
    members: &Members,
    prefixes: &Prefixes<'_>,
    candidates: &mut [Candidate],
    (room_counts, limits): (bool, RoomLimits),
) -> bool {
    let request = prefixes.request;
    let rivals = Rivals::of(candidates);
    let prompt_bytes = if members.pool.strategy == RoutingStrategy::PrefixCache { request.prompt.len() } else { 0 };
    match scorers(members, request.stage) {
        Some(weights) => {
            fit_context(members, weights, request.prompt_tokens(), candidates);
            weighted_score::judge(candidates, prompt_bytes, weights);
        }
        None => candidates.iter_mut().for_each(|candidate| candidate.judge(prompt_bytes, &rivals)),
    }
    let is_kept = !request.objective.is_some() || strain(members, request, candidates);
    if let Some(affinity) = request.affinity {
        apply(affinity, limits, members, candidates);
    }
    if room_counts {
        candidates.iter_mut().for_each(|candidate| candidate.is_full = limits.saturation(&candidate.load) >= 1.0);
    }
    is_kept
}
