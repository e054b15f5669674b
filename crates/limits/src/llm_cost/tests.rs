use super::*;

fn expression(text: &str) -> LlmCost {
    LlmCost::Expression(CostExpression::parse(text).unwrap().into())
}

fn call(model: &str, input: u64, output: u64) -> ModelCall<'_> {
    ModelCall { model: Some(model), backend: Some(("shop", "engine")), tokens: Tokens::of(input, output), ..ModelCall::default() }
}

fn priced(text: &str) -> LlmCosts {
    LlmCosts::new(Vec::new(), vec![Arc::new(ModelPrices::parse(text.as_bytes()).unwrap().0)])
}

#[test]
fn an_expression_weighs_tokens_by_model_and_backend() {
    let cost = expression("model == 'big' ? input_tokens + output_tokens * 3u : backend == 'engine.shop' ? 7u : 0u");
    assert_eq!(cost.of(None, &call("big", 10, 20)), Ok(70));
    assert_eq!(cost.of(None, &call("small", 10, 20)), Ok(7));
    let renamed = ModelCall { target_model: Some("big"), ..call("alias", 10, 20) };
    assert_eq!(cost.of(None, &renamed), Ok(70), "the model is the one that the backend was asked for");
}

#[test]
fn an_expression_that_cannot_be_a_cost_is_refused() {
    for (text, reason) in [
        ("input_tokens +", "is not valid CEL"),
        ("inptu_tokens", "there is no variable `inptu_tokens`: there are model, backend, input_tokens"),
        ("input_tokens * 2", "cannot be evaluated"),
        ("cost_usd", "yields a "),
        ("model", "yields a "),
        ("0 - 1", "below 0"),
        ("price(model)", "there is no function `price`"),
    ] {
        let error = CostExpression::parse(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    // Either sample may be outside of what the expression is for.
    for text in ["output_tokens - 500u", "total_tokens / output_tokens", "uint(cost_usd * 1000000.0)"] {
        assert!(CostExpression::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn an_expression_that_fails_says_so() {
    let cost = expression("output_tokens - 500u");
    assert_eq!(cost.of(None, &call("m", 0, 501)), Ok(1));
    assert!(matches!(cost.of(None, &call("m", 0, 499)), Err(LlmCostFailure::Integer(IntegerError::Evaluation(_)))));
}

#[test]
fn money_counts_in_units_of_ten_micro_dollars_rounded_up() {
    let costs = priced(
        r#"{"m": {"input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6}, "f": {"input_cost_per_token": 0, "output_cost_per_token": 0}}"#,
    );
    let of = |call: &ModelCall<'_>| LlmCost::Money.of(Some(&costs), call);
    assert_eq!(of(&call("m", 5, 0)), Ok(1), "10 micro-dollars");
    assert_eq!(of(&call("m", 6, 0)), Ok(2), "12 micro-dollars");
    assert_eq!(of(&call("m", 1, 0)), Ok(1));
    assert_eq!(of(&call("m", 500_000, 0)), Ok(100_000), "a dollar");
    assert_eq!(of(&call("f", 500_000, 9)), Ok(0), "a model that is free");
    assert_eq!(of(&call("other", 1, 0)), Err(LlmCostFailure::Unpriced));
    assert_eq!(of(&ModelCall::default()), Ok(0), "a request that is no call");
}

#[test]
fn a_call_has_the_price_of_the_model_that_served_it() {
    let list = r#"{"alias": {"input_cost_per_token": 1e-6, "output_cost_per_token": 0},
                   "target": {"input_cost_per_token": 2e-6, "output_cost_per_token": 0},
                   "*": {"input_cost_per_token": 9e-6, "output_cost_per_token": 0}}"#;
    let costs = priced(list);
    let million = |model, target_model| {
        let call = ModelCall { target_model, ..call(model, 1_000_000, 0) };
        costs.usd(&call).unwrap().round() as u64
    };
    assert_eq!(
        [million("alias", None), million("alias", Some("target")), million("alias", Some("x")), million("x", None)],
        [1, 2, 1, 9]
    );
}

#[test]
fn keys_are_the_gateways_own_then_built_in() {
    let key = |key: &str| Arc::<str>::from(key);
    let of = |cost: Result<LlmCost, LlmCostError>| cost.unwrap().of(None, &call("m", 5, 20)).unwrap();
    assert_eq!(of(LlmCosts::find(None, &key("llm_total_token"))), 25);
    assert!(matches!(LlmCosts::find(None, &key("credits")), Err(LlmCostError::Unknown(_))));
    assert!(matches!(LlmCosts::find(None, &key("llm_cost_10_micro_usd")), Err(LlmCostError::NoPrices(_))));

    let own = vec![
        (key("credits"), Ok(expression("1u"))),
        (key("credits"), Ok(expression("2u"))),
        (key("llm_total_token"), Ok(LlmCost::Tokens(TokenCount::Output))),
        (key("wrong"), Err("spec.globalLLMRequestCosts[3].cel: is not valid CEL".into())),
        (key("price"), Ok(expression("uint(cost_usd)"))),
    ];
    let gateway = LlmCosts::new(own, Vec::new());
    assert_eq!(of(LlmCosts::find(Some(&gateway), &key("credits"))), 2, "the last of two");
    assert_eq!(of(LlmCosts::find(Some(&gateway), &key("llm_total_token"))), 20);
    assert!(matches!(LlmCosts::find(Some(&gateway), &key("wrong")), Err(LlmCostError::Broken(..))));
    assert!(matches!(LlmCosts::find(Some(&gateway), &key("price")), Err(LlmCostError::NoPrices(_))));

    let route = LlmCosts::new(vec![(key("credits"), Ok(expression("3u")))], Vec::new()).over(&gateway);
    assert_eq!(of(LlmCosts::find(Some(&route), &key("credits"))), 3, "a route's own");
    assert_eq!(of(LlmCosts::find(Some(&route), &key("llm_total_token"))), 20, "the Gateway's");
}

#[test]
fn what_a_gateway_names_and_lacks_is_unknown_and_not_absent() {
    let list = r#"{"wrong": {"input_cost_per_token": "1e-5", "output_cost_per_token": 1e-5}, "*": {"input_cost_per_token": 0, "output_cost_per_token": 0}}"#;
    let costs = priced(list);
    assert_eq!(LlmCost::Money.of(Some(&costs), &call("any", 5, 5)), Ok(0));
    assert_eq!(
        LlmCost::Money.of(Some(&costs), &call("wrong", 5, 5)),
        Err(LlmCostFailure::Unpriced),
        "another price does not stand in for it"
    );
    let find = |costs: &LlmCosts, key: &str| LlmCosts::find(Some(costs), &key.into()).map(drop);
    assert_eq!(find(&costs, "llm_cost_10_micro_usd"), Ok(()));
    let costs = costs.lacking(None, true);
    assert_eq!(find(&costs, "llm_cost_10_micro_usd"), Err(LlmCostError::NoPrices("llm_cost_10_micro_usd".into())));
    assert_eq!(find(&costs, "llm_total_token"), Ok(()));
    let costs = costs.lacking(Some("gone".into()), true);
    assert_eq!(find(&costs, "llm_total_token"), Err(LlmCostError::Broken("llm_total_token".into(), "gone".into())));
}
