//! Why an endpoint was chosen.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use pailou_snapshot::{Endpoint, RoutingStrategy};
use parking_lot::Mutex;

use crate::{
    endpoint::Members,
    picked::Seen,
    room::QUEUE_LIMIT,
    score::{BATCH, TIE},
    tokens::TokensWay,
};

/// Most receipts that a pool keeps.
const MOST_KEPT: usize = 4096;

/// The choice for a request, and the scores of the other endpoints. It holds nothing of the prompt.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// How the pool chooses.
    pub strategy: RoutingStrategy,
    /// Fullness of the pool: 1 has no room anywhere.
    pub saturation: f32,
    /// The endpoint that served, as an index into `scored`; above 0 after a failover.
    pub chosen: usize,
    /// The best-placed endpoints, best first: at most 16.
    pub scored: Vec<Scored>,
    /// How many endpoints were judged.
    pub judged: usize,
    /// The prompt tokens that the engine reported as cached, where it did.
    pub cached_tokens: Option<u64>,
    /// How long the request waited for an endpoint with room; `None` if it did not.
    pub waited: Option<Duration>,
    /// The way to the prompt's tokens, where they are looked up.
    pub tokens_way: Option<TokensWay>,
}

/// An endpoint as a pick saw it.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The deciding score: higher is better, among those that are not failing.
    pub score: f32,
    /// It had just failed, and came last.
    pub failing: bool,
    /// Whether the picker knew its engine's own figures.
    pub fresh: bool,
    /// Requests in its engine's queue.
    pub waiting: f32,
    /// Requests that ran.
    pub running: f32,
    /// Requests in flight from here.
    pub in_flight: u32,
    /// Share of its KV cache in use, 0 to 1.
    pub kv: f32,
    /// Share of the prompt that it probably had cached, 0 to 1.
    pub prefix: f32,
    /// The same in tokens: where the prompt's are not known, of 4 bytes each.
    pub overlap_tokens: u64,
    /// The client's earlier requests went there.
    pub preferred: bool,
    /// It had no room, where that counts.
    pub full: bool,
    /// How well it was placed to run the adapter, 0 to 1.
    pub adapter: f32,
}

impl Scored {
    /// Why it came after others, whatever its score.
    pub fn excluded(&self) -> Option<&'static str> {
        if self.failing {
            Some("it had just failed, or health checks rule it out")
        } else if self.full && !self.preferred {
            Some("it has no room")
        } else {
            None
        }
    }
}

impl Receipt {
    pub(crate) fn new(members: &Members, seen: &Seen, chosen: usize, cached_tokens: Option<u64>) -> Self {
        let scored = seen.ranked.iter().map(|candidate| Scored {
            endpoint: members.endpoints[candidate.member as usize].endpoint.clone(),
            score: candidate.score,
            failing: candidate.failing,
            fresh: candidate.load.fresh,
            waiting: candidate.load.waiting,
            running: candidate.load.running,
            in_flight: candidate.load.level.requests(),
            kv: candidate.load.kv,
            prefix: candidate.prefix as f32 / seen.prompt_bytes.max(1) as f32,
            overlap_tokens: match seen.prompt_tokens {
                Some(tokens) => u64::from(candidate.prefix) * tokens / (seen.prompt_bytes.max(1) as u64),
                None => u64::from(candidate.prefix) / 4,
            },
            preferred: candidate.is_preferred,
            full: candidate.is_full,
            adapter: candidate.adapter,
        });
        Self {
            strategy: members.pool.strategy,
            saturation: seen.saturation,
            chosen,
            scored: scored.collect(),
            judged: seen.judged,
            cached_tokens,
            waited: None,
            tokens_way: seen.tokens_way,
        }
    }
}

impl Receipt {
    /// The fact that decided for the endpoint that served.
    pub fn why(&self) -> &'static str {
        let Some(chosen) = self.scored.get(self.chosen) else { return "another picker chose" };
        if self.chosen > 0 {
            return "those before it failed";
        }
        let Some(other) = self.scored.get(1) else { return "the only one" };
        if other.failing != chosen.failing {
            "the others fail"
        } else if other.endpoint.priority != chosen.endpoint.priority {
            "the others are fallbacks"
        } else if chosen.preferred {
            "the client's earlier requests went there"
        } else if other.full != chosen.full {
            "the others have no room"
        } else {
            why_better(chosen, other)
        }
    }
}

/// The figure by which an endpoint's score is better.
fn why_better(chosen: &Scored, other: &Scored) -> &'static str {
    if chosen.score - other.score < TIE {
        return "as good as the next best: chance decided";
    }
    let by = [
        (chosen.prefix - other.prefix, "more of the prompt is cached there"),
        (chosen.adapter - other.adapter, "it is better placed to run the adapter"),
        ((other.waiting - chosen.waiting) / QUEUE_LIMIT, "its queue is shorter"),
        ((other.running - chosen.running) / BATCH, "it runs fewer requests"),
        (other.kv - chosen.kv, "its KV cache has more room"),
    ];
    let (gain, why) = by.into_iter().fold((0.0, ""), |best, it| if it.0 > best.0 { it } else { best });
    // Nothing that shows: gateways agree on the endpoint.
    if gain > 0.0 { why } else { "it is the home of prompts that begin so" }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strategy = match self.strategy {
            RoutingStrategy::Load => "load",
            RoutingStrategy::PrefixCache => "load and prefix",
        };
        write!(f, "by {strategy}, {} judged, saturation {:.2}", self.judged, self.saturation)?;
        if let Some(cached) = self.cached_tokens {
            write!(f, ", {cached} tokens cached")?;
        }
        if let Some(waited) = self.waited {
            write!(f, ", waited {} ms", waited.as_millis())?;
        }
        for (at, scored) in self.scored.iter().enumerate() {
            let mark = if at == self.chosen { '*' } else { ' ' };
            write!(f, "\n{mark} {scored}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Scored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, score, waiting, running, in_flight, kv, prefix, adapter, .. } = self;
        write!(f, "{} {score:+.2}: waiting {waiting:.0}, running {running:.0} ({in_flight} from here), kv {kv:.2}", endpoint.name)?;
        write!(f, ", prefix {prefix:.2}, adapter {adapter:.1}")?;
        if !self.fresh {
            f.write_str(", no recent metrics")?;
        }
        if self.failing {
            f.write_str(", failing")?;
        }
        Ok(())
    }
}

/// The receipts of recent requests, kept only while someone wants them.
#[derive(Default)]
pub(crate) struct Receipts {
    capacity: AtomicUsize,
    recent: Mutex<VecDeque<Arc<Receipt>>>,
}

impl Receipts {
    /// How many are kept from now on, at most [`MOST_KEPT`].
    pub(crate) fn set_capacity(&self, capacity: usize) {
        let capacity = capacity.min(MOST_KEPT);
        self.capacity.store(capacity, Relaxed);
        let mut recent = self.recent.lock();
        let surplus = recent.len().saturating_sub(capacity);
        recent.drain(..surplus);
    }

    /// Keeps a receipt, built only on demand.
    pub(crate) fn keep(&self, receipt: impl FnOnce() -> Receipt) {
        if self.capacity.load(Relaxed) == 0 {
            return;
        }
        let receipt = Arc::new(receipt());
        let mut recent = self.recent.lock();
        // Read again: the capacity may have been lowered meanwhile.
        let capacity = self.capacity.load(Relaxed);
        while recent.len() >= capacity.max(1) {
            recent.pop_front();
        }
        if capacity > 0 {
            recent.push_back(receipt);
        }
    }

    /// The newest last.
    pub(crate) fn recent(&self) -> Vec<Arc<Receipt>> {
        self.recent.lock().iter().cloned().collect()
    }
}
