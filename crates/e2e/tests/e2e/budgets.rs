//! Budgets in money and in costs that are computed, with the binary and simulated engines.

use pailou_e2e::{
    client::Call,
    gateway::{Gateway, Setup},
    objects, wait,
};
use pailou_sim::{Config, CostModel, Sim};
use serde_json::{Value, json};

use crate::support::{engine, everything_to};

/// An engine on which each call takes a while.
async fn slow() -> Sim {
    let cost = CostModel { step_us: 100_000.0, ..CostModel::instant() };
    engine(Config { cost, ..Config::new("engine", ["big", "small"]) }).await
}

/// A Gateway with prices and costs, and a day's budget under a key.
fn limited(engine: &Sim, key: &str, budget: u64) -> Vec<Value> {
    let mut gateway = objects::gateway();
    gateway["metadata"]["annotations"] =
        json!({"aigateway.envoyproxy.io/gateway-config": "costs", "pailou.dev/model-prices": "prices"});
    let costs = json!([{"metadataKey": "credits", "type": "CEL", "cel": "model == 'big' ? output_tokens * 10u : output_tokens"}]);
    let price = |dollars: f64| json!({"input_cost_per_token": 0, "output_cost_per_token": dollars, "mode": "chat"});
    let prices = json!({"big": price(1e-4), "small": price(1e-5)});
    let charge = json!({"from": "Metadata", "metadata": {"namespace": "io.envoy.ai_gateway", "key": key}});
    let rule = json!({"limit": {"requests": budget, "unit": "Day"},
        "cost": {"request": {"from": "Number", "number": 0}, "response": charge}});
    vec![
        gateway,
        objects::object("aigateway.envoyproxy.io/v1beta1", "GatewayConfig", "costs", json!({"globalLLMRequestCosts": costs})),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices"},
            "data": {"model_prices_and_context_window.json": prices.to_string()}}),
        objects::backend("engine", &[engine.addr()]),
        objects::route("chat", everything_to(objects::to_backend("engine"))),
        objects::on_route("BackendTrafficPolicy", "chat", json!({"rateLimit": {"global": {"rules": [rule]}}})),
    ]
}

/// Statuses of so many streams of 10 tokens at once.
async fn statuses(gateway: &Gateway, model: &str, calls: usize) -> Vec<u16> {
    let address = gateway.http();
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..calls {
        let call = Call::chat_stream(model, "hello", 10);
        asked.spawn(async move { call.send(address).await.status.as_u16() });
    }
    asked.join_all().await
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|it| **it == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_in_money_or_credits_for_five_of_fifty_calls_at_once_holds() {
    let engine = slow().await;
    // 10 tokens of the big model cost a thousandth of a dollar, and 100 credits.
    for key in ["llm_cost_10_micro_usd", "credits"] {
        let gateway = Setup::with(limited(&engine, key, 500)).serve().await;
        let answers = statuses(&gateway, "big", 50).await;
        assert_eq!((count(&answers, 200), count(&answers, 429)), (5, 45), "{key}");
        assert_eq!(statuses(&gateway, "small", 1).await, [429], "{key}: all of it is spent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_charged_its_own_price_and_prices_change_with_their_objects() {
    let engine = slow().await;
    let gateway = Setup::with(limited(&engine, "llm_cost_10_micro_usd", 1_000)).serve().await;
    assert_eq!(statuses(&gateway, "small", 1).await, [200]);
    let line = gateway.logged("a call with its price", |line| line["model"] == "small").await;
    assert_eq!(line["cost_usd"], 0.0001, "{line}");
    assert_eq!(statuses(&gateway, "other", 1).await, [500], "a model without a price");
    assert_eq!(gateway.metric("pailou_unpriced_requests_total", &[]).await, 1.0);
    let mut dearer = limited(&engine, "llm_cost_10_micro_usd", 1_000);
    dearer[2]["data"]["model_prices_and_context_window.json"] =
        json!({"*": {"input_cost_per_token": 0, "output_cost_per_token": 1e-3}}).to_string().into();
    gateway.save_objects(dearer);
    let is_dearer = async || {
        statuses(&gateway, "small", 1).await;
        gateway.access_log().iter().any(|line| line["cost_usd"] == 0.01)
    };
    wait::within("the new price counts", async { while !is_dearer().await {} }).await;
}
