//! Costs and prices of any input: nothing panics, no call is cheaper for having more tokens.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::sync::Arc;

use pailou_limits::{CostExpression, LlmCost, LlmCosts, ModelCall, ModelPrices, Tokens};
use proptest::prelude::*;

/// Texts that look like expressions.
fn expression() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "model",
        "backend",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cost_usd",
        "uint(",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "?",
        ":",
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "<",
        "&&",
        "||",
        "!",
        "in",
        "1u",
        "0u",
        "18446744073709551615u",
        "1",
        "1.5",
        "'x'",
        "\"",
        ".size()",
        ".map(x, x)",
        "b'",
        "0x",
        "//",
        "\n",
        "é",
    ]);
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.join(" "))
}

fn tokens() -> impl Strategy<Value = Tokens> {
    (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(input, cached, created, output, reasoning)| Tokens {
            cached_input: cached.into(),
            cache_creation_input: created.into(),
            reasoning: reasoning.into(),
            ..Tokens::of(input.into(), output.into())
        },
    )
}

proptest! {
    #[test]
    fn any_text_is_an_expression_or_an_error(text in expression(), tokens in tokens()) {
        if let Ok(expression) = CostExpression::parse(&text) {
            let prices = ModelPrices::parse(br#"{"*": {"input_cost_per_token": 1, "output_cost_per_token": 1}}"#).unwrap().0;
            let costs = LlmCosts::new(Vec::new(), vec![Arc::new(prices)]);
            let _ = LlmCost::Expression(expression.into()).of(Some(&costs), &ModelCall { tokens, ..ModelCall::default() });
        }
    }

    #[test]
    fn any_bytes_are_a_list_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ModelPrices::parse(&bytes);
    }

    #[test]
    fn more_tokens_cost_no_less(tokens in tokens(), more in any::<u32>(), prices in prop::array::uniform2(0u32..1_000_000)) {
        let [input, output] = prices.map(|price| f64::from(price) * 1e-9);
        let list = format!(r#"{{"m": {{"input_cost_per_token": {input}, "output_cost_per_token": {output}}}}}"#);
        let costs = LlmCosts::new(Vec::new(), vec![Arc::new(ModelPrices::parse(list.as_bytes()).unwrap().0)]);
        let of = |tokens: Tokens| LlmCost::Money.of(Some(&costs), &ModelCall { model: Some("m"), tokens, ..ModelCall::default() }).unwrap();
        let cost = of(tokens);
        let longer = of(Tokens { input: tokens.input + u64::from(more), ..tokens });
        prop_assert!(longer >= cost);
        let longer = of(Tokens { output: tokens.output + u64::from(more), ..tokens });
        prop_assert!(longer >= cost);
        let exact = (input * tokens.input as f64 + output * tokens.output as f64) * 100_000.0;
        prop_assert!(cost as f64 >= exact - 1e-3 && cost as f64 <= exact + 1.001, "{cost} {exact}");
    }
}
