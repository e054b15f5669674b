//! A pick that nothing comes of: no place is reserved, and no prompt is expected in a cache.

use std::{sync::Arc, time::Instant};

use pailou_snapshot::RoutingStrategy;

use crate::{
    candidates::{MOST_RANKED, Prefixes, apply, are_others_there, assume_home, eligible, measure, rank, saturation, strain},
    kv_events::CachedTokens,
    pick_request::PickRequest,
    picked::Seen,
    prefix::Chain,
    receipt::Receipt,
    rendezvous::Beginning,
    score::Rivals,
    state::Shared,
    timed::Timed,
};

/// The choice as it would be made now, with its reasons; `None` where no endpoint may serve the request.
pub(crate) fn preview(shared: &Arc<Shared>, request: &PickRequest<'_>, now: Instant) -> Option<Receipt> {
    let members = shared.members.load_full();
    let has_prefixes = members.pool.strategy == RoutingStrategy::PrefixCache;
    let prompt = if has_prefixes { request.prompt } else { &[] };
    let chain = if has_prefixes { members.index.chain(request.model, request.cache_salt, prompt) } else { Chain::default() };
    let exact = request.tokens.and_then(|prompt| Some((shared.exact.load_full()?, prompt)));
    let cached = exact.as_ref().map_or_else(CachedTokens::default, |(exact, prompt)| exact.cached_tokens(prompt, now));
    let beginning = (!prompt.is_empty()).then(|| Beginning::new(request.model, request.cache_salt, prompt));
    let prefixes = Prefixes { request, matches: members.index.matches(&chain), cached, beginning };
    let mut candidates = eligible(&members, &prefixes, now);
    measure(&members, &mut candidates, now);
    if beginning.is_some() && are_others_there(&candidates) {
        assume_home(&members, &prefixes, &mut candidates);
    }
    let most = members.pool.queueing.and_then(|queueing| queueing.max_concurrency);
    let saturation = saturation(&candidates, most)?;
    let rivals = Rivals::of(&candidates);
    candidates.iter_mut().for_each(|candidate| candidate.judge(prompt.len(), &rivals));
    if request.objective.is_some() {
        strain(&members, request, &mut candidates);
    }
    if let Some(affinity) = request.affinity {
        apply(affinity, most, &members, &mut candidates);
    }
    if members.pool.queueing.is_some() {
        candidates.iter_mut().for_each(|candidate| candidate.is_full = candidate.saturation(most) >= 1.0);
    }
    rank(&mut candidates);
    let judged = candidates.len();
    candidates.truncate(MOST_RANKED);
    let prompt_tokens = request.tokens.map(|tokens| tokens.total() as u64);
    let seen =
        Seen { ranked: candidates, judged, saturation, prompt_bytes: request.prompt.len(), prompt_tokens, timed: Timed::default() };
    Some(Receipt::new(&members, &seen, 0, None))
}
