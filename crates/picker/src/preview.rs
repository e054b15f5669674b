//! A pick that nothing comes of: no place is reserved, and no prompt is expected in a cache.

use std::{sync::Arc, time::Instant};

use crate::{
    candidates::{MOST_RANKED, eligible, rank},
    judgement::{PromptLookup, judge_all, measure_all},
    new_prompts::NewPrompt,
    pick_request::PickRequest,
    picked::Seen,
    receipt::Receipt,
    room::RoomTerms,
    state::Shared,
    timed::Timed,
};

/// The choice as it would be made now, with its reasons; `None` where no endpoint may serve the request.
pub(crate) fn preview(shared: &Arc<Shared>, request: &PickRequest<'_>, now: Instant) -> Option<Receipt> {
    let members = shared.members.load_full();
    let prefixes = PromptLookup::new(shared, &members, request, now).prefixes;
    let mut candidates = eligible(&members, &prefixes, now);
    let is_outranked = members.queue.highest.is_outranked(request.priority, shared.activity.since_start(now));
    let terms = RoomTerms::of(&members.pool, is_outranked);
    let (limits, saturation) = measure_all(&members, &prefixes, &mut candidates, terms, now)?;
    judge_all(&members, &prefixes, &mut candidates, (members.pool.queueing.is_some(), limits));
    rank(&mut candidates);
    let judged = candidates.len();
    candidates.truncate(MOST_RANKED);
    let prompt_tokens = request.tokens.map(|tokens| tokens.total() as u64);
    let seen = Seen {
        ranked: candidates,
        judged,
        saturation,
        prompt_bytes: request.prompt.len(),
        prompt_tokens,
        tokens_way: request.tokens_way,
        new_prompt: NewPrompt::default(),
        timed: Timed::default(),
    };
    Some(Receipt::new(&members, &seen, 0, None))
}
