//! Costs of responses of models, by the keys under which limits charge them, and prices.
//!
//! Source: Envoy AI Gateway's `llmRequestCosts`; the dynamic metadata `io.envoy.ai_gateway`.

use std::sync::Arc;

use pailou_auth::{Expression, ExpressionError, IntegerError, Variable};

use crate::{ModelPrice, ModelPrices, TokenCount, Tokens};

/// Costs that every Gateway has, in its examples' names in Envoy AI Gateway, and money.
static BUILT_IN: [(&str, LlmCost); 7] = [
    ("llm_input_token", LlmCost::Tokens(TokenCount::Input)),
    ("llm_cached_input_token", LlmCost::Tokens(TokenCount::CachedInput)),
    ("llm_cache_creation_input_token", LlmCost::Tokens(TokenCount::CacheCreationInput)),
    ("llm_output_token", LlmCost::Tokens(TokenCount::Output)),
    ("llm_reasoning_token", LlmCost::Tokens(TokenCount::Reasoning)),
    ("llm_total_token", LlmCost::Tokens(TokenCount::Total)),
    ("llm_cost_10_micro_usd", LlmCost::Money),
];
/// Units of [`LlmCost::Money`] in a US dollar.
const UNITS_PER_USD: f64 = 100_000.0;
/// Share of a unit that is an error of floating-point numbers and no cost.
const ROUNDING: f64 = 1e-6;
/// The price of models that have none of their own.
const ANY_MODEL: &str = "*";

/// Variables of an expression.
const VARIABLES: [&str; 9] = [
    "model",
    "backend",
    "input_tokens",
    "cached_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
    COST_USD,
];
const COST_USD: &str = "cost_usd";

/// A cost by its key, or why there is none.
pub type LlmCostEntry = (Arc<str>, Result<LlmCost, Arc<str>>);

/// Costs of a Gateway by key, and the prices of its models.
#[derive(Debug, Default)]
pub struct LlmCosts {
    /// Each with its cost, or why there is none.
    costs: Vec<LlmCostEntry>,
    /// The first that has a model counts.
    prices: Vec<Arc<ModelPrices>>,
    /// Why definitions that the Gateway names are not there.
    lost_config: Option<Arc<str>>,
    /// A list of prices that the Gateway names is not there.
    lacks_prices: bool,
}

/// Cost of a response.
#[derive(Clone, Debug)]
pub enum LlmCost {
    /// Tokens.
    Tokens(TokenCount),
    /// The value of an expression.
    Expression(Arc<CostExpression>),
    /// Its price in units of 10 millionths of a US dollar, rounded up.
    Money,
}

/// Expression in CEL that yields a whole number of 0 or more.
#[derive(Debug)]
pub struct CostExpression(Expression);

/// A call of a model, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelCall<'a> {
    /// The model that the client asked for.
    pub model: Option<&'a str>,
    /// The name that the backend was given in its place.
    pub target_model: Option<&'a str>,
    /// The backend: namespace and name.
    pub backend: Option<(&'a str, &'a str)>,
    /// Its tokens.
    pub tokens: Tokens,
}

/// Why a limit cannot charge by a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LlmCostError {
    /// Nothing writes it.
    #[error(
        "nothing writes {0} of io.envoy.ai_gateway: add it to the globalLLMRequestCosts of the Gateway's GatewayConfig, or use one of {list}",
        list = BUILT_IN.each_ref().map(|(key, _)| *key).join(", ")
    )]
    Unknown(Arc<str>),
    /// Its definition is wrong.
    #[error("{0} of io.envoy.ai_gateway: {1}")]
    Broken(Arc<str>, Arc<str>),
    /// It needs prices.
    #[error(
        "{0} of io.envoy.ai_gateway needs prices of models, and the Gateway names none that can be had (annotation pailou.dev/model-prices)"
    )]
    NoPrices(Arc<str>),
}

/// Why an expression is no cost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostExpressionError {
    /// It is no expression that can be used.
    #[error(transparent)]
    Expression(ExpressionError),
    /// It names what no cost can be computed of.
    #[error("there is no variable `{0}`: there are {list}", list = VARIABLES.join(", "))]
    Variable(String),
    /// It yields no whole number, whatever the tokens.
    #[error(transparent)]
    Integer(IntegerError),
}

/// Why a response has no cost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LlmCostFailure {
    /// The model has no price.
    #[error("the model has no price")]
    Unpriced,
    /// The expression yields no cost.
    #[error(transparent)]
    Integer(IntegerError),
}

impl LlmCosts {
    /// Costs and prices. Of costs with one key the last counts; of prices of one model the first list's.
    pub fn new(costs: Vec<LlmCostEntry>, prices: Vec<Arc<ModelPrices>>) -> Self {
        Self { costs, prices, lost_config: None, lacks_prices: false }
    }

    /// Notes what the Gateway names and does not have: its definitions, with the reason, and lists of prices. What they might say counts as
    /// unknown: a built-in key may be defined anew, and a model may have a price.
    #[must_use]
    pub fn lacking(self, config: Option<Arc<str>>, prices: bool) -> Self {
        Self { lost_config: config, lacks_prices: prices, ..self }
    }

    /// These costs, and those of another whose keys these do not have: a route's over its Gateway's.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        let costs = other.costs.iter().chain(&self.costs).cloned().collect();
        let prices = if self.prices.is_empty() { &other.prices } else { &self.prices };
        Self { costs, prices: prices.clone(), lost_config: other.lost_config.clone(), lacks_prices: other.lacks_prices }
    }

    /// The cost with a key, the Gateway's own or a built-in one. A Gateway may have none of its own.
    ///
    /// # Errors
    /// Nothing can be charged by it.
    pub fn find(costs: Option<&Self>, key: &Arc<str>) -> Result<LlmCost, LlmCostError> {
        if let Some(why) = costs.and_then(|costs| costs.lost_config.as_ref()) {
            return Err(LlmCostError::Broken(key.clone(), why.clone()));
        }
        let own = costs.and_then(|costs| costs.costs.iter().rev().find(|(own, _)| own == key));
        let cost = match own {
            Some((_, Ok(cost))) => cost.clone(),
            Some((_, Err(why))) => return Err(LlmCostError::Broken(key.clone(), why.clone())),
            None => Self::built_in(key).ok_or_else(|| LlmCostError::Unknown(key.clone()))?,
        };
        match cost.needs_price() && costs.is_none_or(|costs| costs.lacks_prices || !costs.has_prices()) {
            true => Err(LlmCostError::NoPrices(key.clone())),
            false => Ok(cost),
        }
    }

    fn built_in(key: &str) -> Option<LlmCost> {
        BUILT_IN.iter().find(|(known, _)| *known == key).map(|(_, cost)| cost.clone())
    }

    /// Whether models have prices.
    pub fn has_prices(&self) -> bool {
        !self.prices.is_empty()
    }

    /// The price of a call, in US dollars: by the name that the backend was given, else by the client's, else by the price of any model.
    /// `None` if the model has no price; what has no tokens costs nothing.
    pub fn usd(&self, call: &ModelCall<'_>) -> Option<f64> {
        if call.tokens == Tokens::default() {
            return Some(0.0);
        }
        let names = [call.target_model, call.model, Some(ANY_MODEL)].into_iter().flatten();
        let entry = names.filter_map(|name| self.entry(name)).next()?;
        Some(entry?.of(call.tokens))
    }

    /// The first entry of a model in the lists; within, `None` for one that is wrong: no other price stands in for it.
    fn entry(&self, model: &str) -> Option<Option<&ModelPrice>> {
        self.prices.iter().find_map(|list| list.entry(model))
    }
}

impl LlmCost {
    /// Whether it is nothing without prices.
    pub fn needs_price(&self) -> bool {
        match self {
            Self::Tokens(_) => false,
            Self::Expression(expression) => expression.0.names(COST_USD),
            Self::Money => true,
        }
    }

    /// The cost of a call.
    ///
    /// # Errors
    /// It needs a price that the model does not have, or is an expression that yields no cost.
    pub fn of(&self, costs: Option<&LlmCosts>, call: &ModelCall<'_>) -> Result<u64, LlmCostFailure> {
        let usd = match (self.needs_price(), costs) {
            (false, _) => None,
            (true, costs) => Some(costs.and_then(|costs| costs.usd(call)).ok_or(LlmCostFailure::Unpriced)?),
        };
        match self {
            Self::Tokens(count) => Ok(count.of(call.tokens)),
            Self::Expression(expression) => expression.evaluate(call, usd).map_err(LlmCostFailure::Integer),
            Self::Money => Ok(units(usd.unwrap_or_default())),
        }
    }
}

/// Units of money, rounded up: no response is free that has a price.
fn units(usd: f64) -> u64 {
    // A cast from a float saturates.
    let units = (usd * UNITS_PER_USD - ROUNDING).ceil() as u64;
    if usd > 0.0 { units.max(1) } else { 0 }
}

impl CostExpression {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is no CEL, names what there is not, or yields no whole number of 0 or more, neither for a call with tokens nor for one without.
    pub fn parse(text: &str) -> Result<Self, CostExpressionError> {
        let expression = Expression::parse(text, &VARIABLES).map_err(|error| match error {
            ExpressionError::Variable(name) => CostExpressionError::Variable(name),
            error => CostExpressionError::Expression(error),
        })?;
        let cost = Self(expression);
        let tokens =
            Tokens { input: 1000, cached_input: 100, cache_creation_input: 100, output: 1000, reasoning: 100, total: 2000 };
        let call = ModelCall { model: Some("model"), backend: Some(("namespace", "name")), ..ModelCall::default() };
        let samples = [(tokens, 0.5), (Tokens::default(), 0.0)];
        match samples.map(|(tokens, usd)| cost.evaluate(&ModelCall { tokens, ..call }, Some(usd))) {
            [Err(error), Err(_)] => Err(CostExpressionError::Integer(error)),
            [Err(error @ IntegerError::Type(_)), _] | [_, Err(error @ IntegerError::Type(_))] => {
                Err(CostExpressionError::Integer(error))
            }
            _ => Ok(cost),
        }
    }

    fn evaluate(&self, call: &ModelCall<'_>, usd: Option<f64>) -> Result<u64, IntegerError> {
        let backend = match call.backend.filter(|_| self.0.names("backend")) {
            Some((namespace, name)) => format!("{name}.{namespace}"),
            None => String::new(),
        };
        let tokens = &call.tokens;
        self.0.integer(|name| {
            Some(match name {
                "model" => Variable::Text(call.target_model.or(call.model).unwrap_or_default()),
                "backend" => Variable::Text(&backend),
                "input_tokens" => Variable::Uint(tokens.input),
                "cached_input_tokens" => Variable::Uint(tokens.cached_input),
                "cache_creation_input_tokens" => Variable::Uint(tokens.cache_creation_input),
                "output_tokens" => Variable::Uint(tokens.output),
                "reasoning_tokens" => Variable::Uint(tokens.reasoning),
                "total_tokens" => Variable::Uint(tokens.total),
                COST_USD => Variable::Double(usd?),
                _ => return None,
            })
        })
    }
}

#[cfg(test)]
mod tests;
