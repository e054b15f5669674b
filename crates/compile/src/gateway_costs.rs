//! Costs of models' responses on a Gateway.

use std::sync::Arc;

use pailou_limits::LlmCosts;

use crate::status::{Condition, Problem};

/// Costs that a Gateway's annotations lead to.
#[derive(Default)]
pub(crate) struct GatewayCosts {
    /// Costs and prices; `None` where no annotation names any.
    pub(crate) costs: Option<Arc<LlmCosts>>,
    /// Objects that cannot be had or read.
    pub(crate) problems: Vec<Problem>,
    /// Entries of price lists that are left out.
    pub(crate) warning: Option<Condition>,
}
