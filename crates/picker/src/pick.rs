//! One pick: eligible endpoints, their load, their scores, a reservation.

use std::{net::SocketAddr, sync::Arc, time::Duration, time::Instant};

use pailou_snapshot::{Criticality, RoutingStrategy};

use crate::{
    endpoint::{Members, PoolEndpoint},
    kv_events::CachedTokens,
    load::{Load, Tokens},
    picked::{Picked, Reservation, Seen},
    prefix::{Chain, Matches},
    queue::QueueOutcome,
    rendezvous::Beginning,
    score::{Candidate, Rivals, adapter_affinity},
    state::Shared,
    tokens::PromptTokens,
};

/// Endpoints that are judged; of a larger pool, this many from a random place on, and those that have the prompt cached.
const MOST_JUDGED: usize = 128;
/// Endpoints that a request can fail over to, the first included; receipts name as many.
const MOST_RANKED: usize = 16;
/// Share of the requests at all endpoints that others must have sent for them to count as further gateways.
const FOREIGN_SHARE: f32 = 0.25;
/// How often a pick judges anew because another took the place it had chosen; then it takes the place regardless.
const ATTEMPTS: usize = 4;
/// When a client that was refused may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Properties of a request that a pick depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickRequest<'a> {
    /// The model's name as it goes to the engine.
    pub model: &'a str,
    /// The bytes of the JSON member that bears the prompt (`messages`, `prompt`, …); empty if there is none.
    pub prompt: &'a [u8],
    /// The request's `cache_salt`: prompts with different salts share no cache.
    pub cache_salt: Option<&'a str>,
    /// The prompt as its engine computes it, where its tokens are known: engines' own events then say what is cached.
    pub tokens: Option<&'a PromptTokens>,
    /// Whether the request may be refused when the pool is saturated.
    pub criticality: Criticality,
    /// The length of the request's body.
    pub input_bytes: usize,
    /// The most tokens that may be generated, where the request says so.
    pub max_tokens: Option<u64>,
    /// The only endpoints that are eligible; `None` is all of them.
    pub subset: Option<&'a [SocketAddr]>,
    /// By [`crate::PoolEndpoint::slot`]: endpoints that come last, because health checks rule them out. Those beyond its end do not.
    pub avoided: &'a [bool],
    /// The endpoint that the client's earlier requests went to.
    pub affinity: Option<Affinity>,
}

/// An endpoint that comes before all others of its priority which are as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Its [`crate::PoolEndpoint::slot`].
    pub slot: usize,
    /// Whether it comes first while it is saturated, too: a session does, a consistent hash does not.
    pub while_saturated: bool,
}

/// Why no endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// The pool has none, or none in the subset: 503.
    #[error("the pool has no endpoint that may serve the request")]
    NoEndpoints,
    /// No endpoint has room, and the request may be refused: 429.
    #[error("all endpoints of the pool are saturated")]
    Saturated {
        /// When to come back.
        retry_after: Duration,
    },
    /// It waited for an endpoint with room, and its time ran out: 429.
    #[error("the request's time in the queue ran out")]
    Expired {
        /// When to come back.
        retry_after: Duration,
    },
    /// It waited for an endpoint with room, and the process ended: 503.
    #[error("the process ends, and the request was still waiting")]
    ShuttingDown,
}

impl PickError {
    /// The same as outcome of a wait.
    pub fn outcome(&self) -> QueueOutcome {
        match self {
            Self::NoEndpoints => QueueOutcome::NoEndpoints,
            Self::Saturated { .. } => QueueOutcome::Full,
            Self::Expired { .. } => QueueOutcome::Expired,
            Self::ShuttingDown => QueueOutcome::ShuttingDown,
        }
    }

    /// The reason for clients ([`DROPPED_REASON_HEADER`]).
    pub fn dropped_reason(&self) -> &'static str {
        self.outcome().name()
    }
}

/// Header that says why a request was not sent to an endpoint.
pub const DROPPED_REASON_HEADER: &str = "x-llm-d-request-dropped-reason";

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

/// Parts of a request's prompt that endpoints have, estimated and for certain.
struct Prefixes<'a> {
    request: &'a PickRequest<'a>,
    matches: Matches,
    cached: CachedTokens,
    /// `None` where prompts do not count.
    beginning: Option<Beginning>,
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

pub(crate) fn pick(shared: &Arc<Shared>, request: &PickRequest<'_>, gate: Gate, now: Instant) -> Result<Picked, PickError> {
    shared.activity.touch(now);
    let members = shared.members.load_full();
    let is_gated = gate != Gate::Open && members.pool.queueing.is_some();
    if is_gated && gate == Gate::Queue && members.queue.len() > 0 {
        let is_in = |subset: &[SocketAddr]| members.endpoints.iter().any(|endpoint| subset.contains(&endpoint.address));
        if request.subset.is_some_and(|subset| !is_in(subset)) {
            return Err(PickError::NoEndpoints);
        }
        return Err(PickError::Saturated { retry_after: RETRY_AFTER });
    }
    let strategy = members.pool.strategy;
    let chain = match strategy {
        RoutingStrategy::PrefixCache => members.index.chain(request.model, request.cache_salt, request.prompt),
        RoutingStrategy::Load => Chain::default(),
    };
    let prompt_bytes = if strategy == RoutingStrategy::PrefixCache { request.prompt.len() } else { 0 };
    let beginning = (prompt_bytes > 0).then(|| Beginning::new(request.model, request.cache_salt, request.prompt));
    let matches = members.index.matches(&chain);
    let exact = request.tokens.and_then(|prompt| Some((shared.exact.load_full()?, prompt)));
    let cached = exact.as_ref().map(|(exact, prompt)| exact.cached_tokens(prompt, now)).unwrap_or_default();
    let prefixes = Prefixes { request, matches, cached, beginning };
    let mut candidates = eligible(&members, &prefixes, now);
    let tokens = Tokens::estimate(request.input_bytes, request.max_tokens);
    let most = members.pool.queueing.and_then(|queueing| queueing.max_concurrency);
    let held = is_gated.then(|| members.queue.gate());
    let mut attempt = 1;
    let saturation = loop {
        measure(&members, &mut candidates, now);
        if prefixes.beginning.is_some() && are_others_there(&candidates) {
            assume_home(&members, &prefixes, &mut candidates);
        }
        let saturation = saturation(&candidates, most).ok_or(PickError::NoEndpoints)?;
        if saturation >= 1.0 && (request.criticality == Criticality::Sheddable || is_gated) {
            return Err(PickError::Saturated { retry_after: RETRY_AFTER });
        }
        let rivals = Rivals::of(&candidates);
        candidates.iter_mut().for_each(|candidate| candidate.judge(prompt_bytes, &rivals));
        if let Some(affinity) = request.affinity {
            apply(affinity, &members, &mut candidates);
        }
        if is_gated {
            candidates.iter_mut().for_each(|candidate| candidate.is_full = candidate.saturation(most) >= 1.0);
        }
        rank(&mut candidates);
        let best = &candidates[0];
        let in_flight = &members.endpoints[best.member as usize].record.in_flight;
        if in_flight.reserve_at(best.load.level, tokens) {
            break saturation;
        }
        if attempt == ATTEMPTS {
            in_flight.reserve(tokens);
            break saturation;
        }
        attempt += 1;
    };
    drop(held);
    let judged = candidates.len();
    if judged > MOST_RANKED {
        candidates.truncate(MOST_RANKED);
        candidates.shrink_to_fit();
    }
    let reservation = Reservation::held(members, candidates[0].member, tokens);
    let seen = Seen { ranked: candidates, judged, saturation, prompt_bytes: request.prompt.len() };
    let mut picked = Picked::new(Arc::clone(shared), reservation, seen, chain);
    if let Some((exact, prompt)) = exact {
        exact.picked(picked.endpoint().slot, prompt, now);
        picked.tokens = Some(Box::new(prompt.clone()));
    }
    Ok(picked)
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
    let seen = Seen { ranked, judged: 0, saturation: 0.0, prompt_bytes: 0 };
    Some(Picked::new(Arc::clone(shared), reservation, seen, Chain::default()))
}

/// The endpoints that may serve a request, with all that does not change while it is being picked for.
fn eligible(members: &Members, prefixes: &Prefixes<'_>, now: Instant) -> Vec<Candidate> {
    let request = prefixes.request;
    let count = members.endpoints.len();
    let start = if count > MOST_JUDGED { fastrand::usize(..count) } else { 0 };
    let is_avoided = |endpoint: &PoolEndpoint| request.avoided.get(endpoint.slot()).is_some_and(|avoided| *avoided);
    let is_eligible = |endpoint: &PoolEndpoint| request.subset.is_none_or(|subset| subset.contains(&endpoint.address));
    // A large pool's home is judged wherever it is.
    let nearest = if count > MOST_JUDGED {
        let eligible = members.endpoints.iter().filter(|endpoint| is_eligible(endpoint));
        eligible.map(|endpoint| prefixes.distance(endpoint)).fold(f32::INFINITY, f32::min)
    } else {
        0.0
    };
    let mut others = 0;
    let mut candidates = Vec::with_capacity(count.min(MOST_JUDGED));
    for place in 0..count {
        let member = (start + place) % count;
        let endpoint = &members.endpoints[member];
        if !is_eligible(endpoint) {
            continue;
        }
        let distance = prefixes.distance(endpoint);
        let prefix = prefixes.bytes(endpoint.slot);
        let is_preferred = request.affinity.is_some_and(|affinity| affinity.slot == endpoint.slot());
        if prefix == 0 && !is_preferred && distance > nearest {
            others += 1;
            if others > MOST_JUDGED {
                continue;
            }
        }
        candidates.push(Candidate {
            member: member as u32,
            priority: endpoint.endpoint.priority,
            failing: endpoint.record.failures.is_last(now) || is_avoided(endpoint),
            load: Load::default(),
            prefix,
            likely: prefix,
            adapter: adapter_affinity(endpoint.reading.load().adapters(now), request.model),
            is_preferred: false,
            is_full: false,
            distance,
            score: 0.0,
        });
    }
    candidates
}

/// Whether a good part of what the endpoints have was sent by others: there are further gateways.
fn are_others_there(candidates: &[Candidate]) -> bool {
    let foreign: f32 = candidates.iter().map(|candidate| candidate.load.foreign).sum();
    let requests: f32 = candidates.iter().map(|candidate| candidate.load.waiting + candidate.load.running).sum();
    foreign >= 1.0 && foreign >= FOREIGN_SHARE * requests
}

/// Takes part of the prompt to be cached at its home, the nearest that is not failing: another gateway may have sent it there.
fn assume_home(members: &Members, prefixes: &Prefixes<'_>, candidates: &mut [Candidate]) {
    let working = candidates.iter_mut().filter(|candidate| !candidate.failing);
    let Some(home) = working.min_by(|a, b| a.distance.total_cmp(&b.distance)) else { return };
    let slot = members.endpoints[home.member as usize].slot;
    home.likely = home.prefix.max(prefixes.assumed(slot));
}

fn apply(affinity: Affinity, members: &Members, candidates: &mut [Candidate]) {
    for candidate in candidates {
        let is_it = members.endpoints[candidate.member as usize].slot() == affinity.slot;
        candidate.is_preferred = is_it && (affinity.while_saturated || candidate.saturation(None) < 1.0);
    }
}

/// Reads every candidate's load; those that are silent get what their siblings have from others.
fn measure(members: &Members, candidates: &mut [Candidate], now: Instant) {
    let (mut fresh, mut foreign, mut kv) = (0.0_f32, 0.0, 0.0);
    for candidate in candidates.iter_mut() {
        let endpoint = &members.endpoints[candidate.member as usize];
        candidate.load = Load::new(endpoint.record.in_flight.level(), &endpoint.reading.load(), now);
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

/// The mean over all candidates that are not failing, or over all if every one is; `None` if there are none.
fn saturation(candidates: &[Candidate], max_concurrency: Option<u32>) -> Option<f32> {
    let all_failing = candidates.iter().all(|candidate| candidate.failing);
    let (mut sum, mut count) = (0.0, 0.0);
    for candidate in candidates.iter().filter(|candidate| all_failing || !candidate.failing) {
        sum += candidate.saturation(max_concurrency);
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

/// Moves the best to the front, in order; the others follow in any.
fn rank(candidates: &mut [Candidate]) {
    if candidates.len() > MOST_RANKED {
        candidates.select_nth_unstable_by(MOST_RANKED - 1, Candidate::order);
    }
    let ranked = candidates.len().min(MOST_RANKED);
    candidates[..ranked].sort_unstable_by(Candidate::order);
}

#[cfg(test)]
mod tests;
