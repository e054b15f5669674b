//! Costs of responses, for limits: `llmRequestCosts`.

use serde::Deserialize;

/// A cost, and the key under which limits charge it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LlmRequestCost {
    /// Key of dynamic metadata `io.envoy.ai_gateway`.
    pub metadata_key: String,
    /// Kind of cost.
    #[serde(rename = "type")]
    pub kind: LlmRequestCostType,
    /// Expression of type CEL.
    #[serde(default)]
    pub cel: Option<String>,
}

/// Kinds of costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the field's own values")]
pub enum LlmRequestCostType {
    InputToken,
    CachedInputToken,
    CacheCreationInputToken,
    OutputToken,
    TotalToken,
    ReasoningToken,
    #[serde(rename = "CEL")]
    Cel,
}

impl LlmRequestCost {
    /// Whether it has an expression that its type does not look at.
    pub fn has_idle_expression(&self) -> bool {
        self.kind != LlmRequestCostType::Cel && self.cel.is_some()
    }
}
