//! Prices of models: LiteLLM's `model_prices_and_context_window.json`.

use std::{collections::HashMap, fmt};

use serde_json::{Map, Value};

use crate::Tokens;

/// Longest list, in bytes. LiteLLM's whole one has 1.5 MB.
const MAX_BYTES: usize = 8 << 20;
/// Most models of a list.
const MAX_MODELS: usize = 20_000;
/// The highest price of a token, in US dollars: what is above it is a price of a million tokens.
const MAX_PRICE: f64 = 1.0;
/// Modes of models that generate no tokens.
const NO_OUTPUT: [&str; 3] = ["embedding", "rerank", "moderation"];
/// Entry of LiteLLM's list that explains its fields.
const EXPLANATION: &str = "sample_spec";

/// Prices by model; `None` for an entry that is wrong. `*` is the price of all models that are not there.
#[derive(Clone, Default, PartialEq)]
pub struct ModelPrices(HashMap<Box<str>, Option<ModelPrice>>);

/// Prices of one model's tokens, in US dollars a token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelPrice {
    /// `input_cost_per_token`.
    pub input: f64,
    /// `cache_read_input_token_cost`, else the input's.
    pub cached_input: f64,
    /// `cache_creation_input_token_cost`, else the input's.
    pub cache_creation_input: f64,
    /// `output_cost_per_token`.
    pub output: f64,
    /// `output_cost_per_reasoning_token`, else the output's.
    pub reasoning: f64,
}

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceListError {
    /// It is too long.
    #[error("is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It has too many entries.
    #[error("has more than {MAX_MODELS} entries")]
    TooMany,
    /// It is no JSON object.
    #[error("is no JSON object of models: {0}")]
    Syntax(String),
}

impl fmt::Debug for ModelPrices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelPrices({} models)", self.len())
    }
}

impl ModelPrices {
    /// Reads a list. Gives it with a text for each entry that is wrong: the model, the field and the problem. Such a model has no price, be
    /// there one of any model or not. An entry without a price of tokens, such as that of a model that is paid by the image, is left out in
    /// silence.
    ///
    /// # Errors
    /// None of it can be read.
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<String>), PriceListError> {
        if text.len() > MAX_BYTES {
            return Err(PriceListError::TooLong);
        }
        let entries: Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| PriceListError::Syntax(error.to_string()))?;
        if entries.len() > MAX_MODELS {
            return Err(PriceListError::TooMany);
        }
        let (mut prices, mut problems) = (HashMap::new(), Vec::new());
        for (model, entry) in &entries {
            match ModelPrice::read(entry) {
                Ok(Some(price)) if model != EXPLANATION => drop(prices.insert(model.as_str().into(), Some(price))),
                Ok(_) => {}
                Err(_) if model == EXPLANATION => {}
                Err(problem) => {
                    problems.push(format!("{model}: {problem}"));
                    prices.insert(model.as_str().into(), None);
                }
            }
        }
        Ok((Self(prices), problems))
    }

    /// The price of the model of this very name.
    pub fn get(&self, model: &str) -> Option<&ModelPrice> {
        self.entry(model)?
    }

    /// The entry of the model of this very name; within, `None` if it is wrong.
    pub(crate) fn entry(&self, model: &str) -> Option<Option<&ModelPrice>> {
        self.0.get(model).map(Option::as_ref)
    }

    /// The number of models with a price.
    pub fn len(&self) -> usize {
        self.0.values().flatten().count()
    }

    /// Whether no model has a price.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ModelPrice {
    /// Reads an entry; `None` if it has no price of tokens.
    fn read(entry: &Value) -> Result<Option<Self>, String> {
        let Value::Object(fields) = entry else { return Err("is no object".to_owned()) };
        let field = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(price) if (0.0..=MAX_PRICE).contains(&price) => Ok(Some(price)),
                _ => Err(format!("{name}: {value} is no price of a token: write US dollars from 0 to {MAX_PRICE}")),
            },
        };
        let (input, output) = (field("input_cost_per_token")?, field("output_cost_per_token")?);
        let has_no_output = fields.get("mode").and_then(Value::as_str).is_some_and(|mode| NO_OUTPUT.contains(&mode));
        let (input, output) = match (input, output) {
            (None, None) => return Ok(None),
            (Some(input), Some(output)) => (input, output),
            (Some(input), None) if has_no_output => (input, 0.0),
            // A price that is forgotten would make half of the tokens free.
            (Some(_), None) => return Err("has no output_cost_per_token".to_owned()),
            (None, Some(_)) => return Err("has no input_cost_per_token".to_owned()),
        };
        Ok(Some(Self {
            input,
            cached_input: field("cache_read_input_token_cost")?.unwrap_or(input),
            cache_creation_input: field("cache_creation_input_token_cost")?.unwrap_or(input),
            output,
            reasoning: field("output_cost_per_reasoning_token")?.unwrap_or(output),
        }))
    }

    /// The price of these tokens, in US dollars.
    pub fn of(&self, tokens: Tokens) -> f64 {
        let cached = tokens.cached_input.min(tokens.input);
        let created = tokens.cache_creation_input.min(tokens.input - cached);
        let reasoning = tokens.reasoning.min(tokens.output);
        [
            (self.input, tokens.input - cached - created),
            (self.cached_input, cached),
            (self.cache_creation_input, created),
            (self.output, tokens.output - reasoning),
            (self.reasoning, reasoning),
        ]
        .into_iter()
        .map(|(price, count)| price * count as f64)
        .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (ModelPrices, Vec<String>) {
        ModelPrices::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_list_is_read_as_litellm_writes_it() {
        let (prices, problems) = parse(
            r#"{"sample_spec": {"input_cost_per_token": "a number", "mode": "one of chat, embedding"},
                "gpt": {"input_cost_per_token": 2e-06, "output_cost_per_token": 8e-06, "cache_read_input_token_cost": 5e-07,
                        "max_tokens": 4096, "mode": "chat", "supports_vision": true},
                "claude": {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_creation_input_token_cost": 3.75e-06,
                           "output_cost_per_reasoning_token": 2e-05},
                "embed": {"input_cost_per_token": 1e-07, "mode": "embedding"},
                "picture": {"output_cost_per_image": 0.04, "mode": "image_generation"}}"#,
        );
        assert_eq!((prices.len(), problems), (3, Vec::new()));
        let tokens = Tokens { input: 1000, cached_input: 400, cache_creation_input: 100, output: 300, reasoning: 200, total: 1300 };
        let close = |model: &str, expected: f64| {
            let price = prices.get(model).unwrap().of(tokens);
            assert!((price - expected).abs() < 1e-12, "{model}: {price}");
        };
        close("gpt", 600.0 * 2e-6 + 400.0 * 5e-7 + 300.0 * 8e-6);
        close("claude", 900.0 * 3e-6 + 100.0 * 3.75e-6 + 100.0 * 1.5e-5 + 200.0 * 2e-5);
        close("embed", 1000.0 * 1e-7);
        assert_eq!((prices.get("picture"), prices.get("GPT")), (None, None));
    }

    #[test]
    fn an_entry_that_is_wrong_is_named_and_the_others_count() {
        let (prices, problems) = parse(
            r#"{"a": {"input_cost_per_token": -1, "output_cost_per_token": 1e-6}, "b": 7,
                "c": {"input_cost_per_token": "2e-6", "output_cost_per_token": 1e-6}, "d": {"input_cost_per_token": 1e-6},
                "e": {"input_cost_per_token": 3, "output_cost_per_token": 15}, "f": {"output_cost_per_token": 1e-6},
                "g": {"input_cost_per_token": 1e-6, "output_cost_per_token": 0}}"#,
        );
        assert_eq!((prices.len(), problems.len()), (1, 6), "{problems:?}");
        assert!(prices.get("g").is_some());
        assert!(problems[0].starts_with("a: input_cost_per_token: -1 is no price"), "{}", problems[0]);
        assert_eq!(problems[3], "d: has no output_cost_per_token");
    }

    #[test]
    fn counts_that_exceed_the_whole_are_not_paid_twice() {
        let price = ModelPrice { input: 1.0, cached_input: 0.5, cache_creation_input: 0.5, output: 1.0, reasoning: 1.0 };
        let tokens = Tokens { input: 10, cached_input: 20, cache_creation_input: 20, output: 1, reasoning: 7, total: 11 };
        assert!((price.of(tokens) - 6.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        assert!(matches!(ModelPrices::parse(b"[]"), Err(PriceListError::Syntax(_))));
        assert!(matches!(ModelPrices::parse(b"{\"a\":"), Err(PriceListError::Syntax(_))));
        assert_eq!(ModelPrices::parse(&vec![b' '; MAX_BYTES + 1]), Err(PriceListError::TooLong));
    }
}
