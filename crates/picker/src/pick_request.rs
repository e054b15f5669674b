//! A request to pick for, and why none was picked.

use std::{net::SocketAddr, time::Duration};

use pailou_snapshot::{Criticality, EndpointRole};

use crate::{
    objective::Objective,
    queue::QueueOutcome,
    tokens::{PromptTokens, TokensWay},
};

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
    /// The way to them, or to none, for the receipt.
    pub tokens_way: Option<TokensWay>,
    /// Whether the request may be refused when the pool is saturated.
    pub criticality: Criticality,
    /// Its priority. Where requests wait: the highest of late has room that lower ones leave to it, and below 0 they may be evicted.
    pub priority: i32,
    /// The length of the request's body.
    pub input_bytes: usize,
    /// The most tokens that may be generated, where the request says so.
    pub max_tokens: Option<u64>,
    /// The only endpoints that are eligible; `None` is all of them.
    pub subset: Option<&'a [SocketAddr]>,
    /// By [`crate::PoolEndpoint::slot`]: endpoints that come last, because health checks rule them out. Those beyond its end do not.
    pub avoided: &'a [bool],
    /// Times that the client wants kept.
    pub objective: Objective,
    /// The endpoint that the client's earlier requests went to.
    pub affinity: Option<Affinity>,
    /// Part of the work that the endpoint is to do.
    pub stage: Stage,
    /// The picker hears when the prompt has been computed: with the first token of a stream, or the end of a prefill.
    pub tells_prefill: bool,
    /// A mirror's copy, to whose priority no room is left.
    pub is_copy: bool,
}

/// Part of a request that an endpoint serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// All of it, or all after a prefill elsewhere.
    #[default]
    Decode,
    /// The computation of its prompt, for another endpoint.
    Prefill,
}

impl Stage {
    /// Whether endpoints of this role serve it.
    pub(crate) fn suits(self, role: EndpointRole) -> bool {
        match self {
            Self::Decode => role.can_decode(),
            Self::Prefill => role.can_prefill(),
        }
    }
}

impl PickRequest<'_> {
    /// Tokens of the prompt: as its engine counts them where that is known, or else by its length.
    pub(crate) fn prompt_tokens(&self) -> f32 {
        let by_length = self.prompt.len().max(self.input_bytes) as f32 / 4.0;
        self.tokens.map_or(by_length, |tokens| tokens.total() as f32)
    }
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
    /// It waited for an endpoint with room, and the time of the request as a whole ran out: 504.
    #[error("the request's time ran out while it waited")]
    TimedOut,
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
            Self::TimedOut => QueueOutcome::TimedOut,
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
