//! Costs of a request's response, by which reservations are settled, and its price.

use std::sync::Arc;

use pailou_limits::{LlmCost, LlmCostFailure, LlmCosts, ModelCall, Reservation, TokenCount, Tokens};

use crate::request_record::RequestRecord;

/// Room in one counter.
pub(crate) struct HeldCharge {
    pub(crate) reservation: Reservation,
    /// Cost that settles it.
    pub(crate) cost: ResponseCost,
}

/// Cost of a response.
pub(crate) enum ResponseCost {
    /// The same for all.
    Number(u64),
    /// As much as is held: it is a fact that was known before.
    Held,
    /// Tokens.
    Tokens(TokenCount),
    /// A number that is computed of the tokens.
    Computed(ComputedCost),
}

/// Cost that is computed of a response's tokens.
pub(crate) struct ComputedCost {
    /// The computation.
    pub(crate) cost: LlmCost,
    /// Key that it is charged by.
    pub(crate) key: Arc<str>,
    /// Generated tokens that the room lasts for.
    pub(crate) covered: u64,
}

/// A cost that cannot be computed, in whose place the response's tokens were charged.
pub(crate) struct UnknownCost {
    pub(crate) key: Arc<str>,
    pub(crate) failure: LlmCostFailure,
}

impl ComputedCost {
    /// The cost of a call; where there is none, the call's tokens: no call that is charged is free by a fault.
    pub(crate) fn of(&self, costs: Option<&LlmCosts>, call: &ModelCall<'_>) -> (u64, Option<LlmCostFailure>) {
        match self.cost.of(costs, call) {
            Ok(cost) => (cost, None),
            Err(failure) => (call.tokens.total.max(1), Some(failure)),
        }
    }
}

/// The call of a model that a request was, with these tokens.
pub(crate) fn call(record: &RequestRecord, tokens: Tokens) -> ModelCall<'_> {
    let backend = record.cluster.as_ref().map(|cluster| cluster.key().endpoints.name());
    ModelCall {
        model: record.replaced_model.as_deref().or(record.model.as_deref()),
        target_model: record.target_model.as_deref(),
        backend: backend.map(|name| (&*name.namespace, &*name.name)),
        tokens,
    }
}

/// The price of a response whose tokens the backend counted, in US dollars; the inner `None` where the model has none, the outer where there
/// is nothing to price.
pub(crate) fn price(record: &RequestRecord) -> Option<Option<f64>> {
    let costs = record.costs.as_ref().filter(|costs| costs.has_prices())?;
    Some(costs.usd(&call(record, record.counted_tokens()?)))
}
