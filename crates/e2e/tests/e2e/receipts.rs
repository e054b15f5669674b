//! Routing receipts: why a request went where it went, and nothing of what it said.

use pailou_e2e::client::{Call, Reply};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{objects, wait};
use pailou_sim::{Fault, FaultKind, Sim};
use serde_json::{Value, json};

use crate::support::{instant, pool_of};

fn models(engines: &[&Sim]) -> Vec<Value> {
    let team =
        json!({"path": {"type": "PathPrefix", "value": "/v1"}, "headers": [{"name": "x-team", "value": "red-header-value"}]});
    let rules = json!([
        {"matches": [team], "backendRefs": [objects::to_pool("qwen")]},
        {"matches": [objects::by_model("other")], "backendRefs": [objects::to_pool("qwen")]},
        {"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_pool("qwen")]},
    ]);
    let mut list = vec![objects::gateway(), objects::route("models", rules)];
    list.extend(pool_of("qwen", engines));
    list
}

async fn admin(gateway: &Gateway, path: &str) -> Reply {
    Call::get(path).host("localhost:15000").send(gateway.admin()).await
}

/// The receipt of a request, once it has ended.
async fn receipt(gateway: &Gateway, id: &str) -> Value {
    let found = async {
        loop {
            let reply = admin(gateway, &format!("/receipts/{id}")).await;
            if reply.status == 200 {
                return reply.json();
            }
            tokio::task::yield_now().await;
        }
    };
    wait::within("the receipt is kept", found).await
}

#[tokio::test]
async fn a_receipt_tells_of_rules_candidates_and_attempts() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let gateway = Setup::with(models(&[&a, &b])).args(["--receipts-sample", "1"]).serve().await;
    let reply = Call::chat("qwen", "hello").header("x-request-id", "whole").send(gateway.http()).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-pailou-receipt"), reply.header("server-timing")), (200, "", ""));
    let receipt_of_one = receipt(&gateway, "whole").await;
    assert_eq!(receipt_of_one["schema"], "pailou.receipt/v1");
    assert_eq!((&receipt_of_one["kept"], &receipt_of_one["status"]), (&json!("sampled"), &json!(200)));
    let rule = &receipt_of_one["rule"];
    assert_eq!(rule["matched"], "HTTPRoute default/models/2", "{receipt_of_one}");
    let why = |rule: &Value| (rule["rule"].clone(), rule["why"].clone());
    assert_eq!(
        rule["beaten"].as_array().unwrap().iter().map(why).collect::<Vec<_>>(),
        [
            (json!("HTTPRoute default/models/0"), json!("the header x-team is missing or has another value")),
            (json!("HTTPRoute default/models/1"), json!("the model is another, or none")),
        ]
    );
    let pick = &receipt_of_one["pick"];
    assert_eq!((&pick["pool"], &pick["judged"]), (&json!("default/qwen"), &json!(2)));
    let names: Vec<_> = pick["candidates"].as_array().unwrap().iter().map(|it| it["endpoint"].as_str().unwrap()).collect();
    assert_eq!(pick["chosen"], names[0]);
    assert_eq!(pick["runner_up"], names[1]);
    assert!(pick["why"].is_string() && receipt_of_one["cache"]["predicted"].is_u64(), "{receipt_of_one}");
    let attempt = &receipt_of_one["attempts"][0];
    assert_eq!((&attempt["endpoint"], &attempt["result"]), (&pick["chosen"], &json!(200)));
    let time = |name: &str| attempt[name].as_f64().unwrap();
    assert!(time("start") <= time("head") && time("head") <= time("first_content") && time("first_content") <= time("end"));
    assert!(receipt_of_one["usage"]["output"].as_u64() > Some(0) && receipt_of_one["timing"]["ttft"].is_f64());
    assert!(receipt_of_one.to_string().len() < 2048);
}

#[tokio::test]
async fn failed_and_retried_requests_are_kept_without_sampling() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let gateway = Setup::with(models(&[&a, &b])).args(["--receipts-sample", "0", "--receipts-headers"]).serve().await;
    let ordinary = Call::chat("qwen", "hello").header("x-request-id", "ordinary").send(gateway.http()).await;
    assert_eq!((ordinary.status.as_u16(), ordinary.header("x-pailou-receipt")), (200, ""));
    assert!(ordinary.header("server-timing").contains("overhead;dur="), "{:?}", ordinary.headers);

    for sim in [&a, &b] {
        sim.faults().set([Fault::new(FaultKind::Status(503)).times(1)]);
    }
    let failed = Call::chat("qwen", "hello").header("x-request-id", "failed").send(gateway.http()).await;
    assert_eq!((failed.status.as_u16(), failed.header("x-pailou-receipt")), (503, "failed"));
    let told = receipt(&gateway, "failed").await;
    assert_eq!((&told["kept"], &told["attempts_made"]), (&json!("failed"), &json!(2)), "{told}");
    let attempts = told["attempts"].as_array().unwrap();
    assert_eq!(attempts.iter().map(|it| it["result"].as_u64()).collect::<Vec<_>>(), [Some(503), Some(503)]);
    assert_ne!(attempts[0]["endpoint"], attempts[1]["endpoint"]);
    assert_eq!((&told["pick"]["chosen"], &told["pick"]["why"]), (&attempts[1]["endpoint"], &json!("those before it failed")));

    let unknown = Call::chat("unknown", "hello").header("x-request-id", "unknown").send(gateway.http()).await;
    assert_eq!(unknown.status, 404);
    let told = receipt(&gateway, "unknown").await;
    assert_eq!((&told["flag"], &told["rule"]["matched"], &told["attempts"]), (&json!("NR"), &Value::Null, &json!([])));

    // All three have ended by now.
    assert_eq!(admin(&gateway, "/receipts/ordinary").await.status, 404);
    let ids = |list: &Value| list["receipts"].as_array().unwrap().iter().map(|it| it["request_id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&admin(&gateway, "/receipts").await.json()), ["unknown", "failed"]);
    assert_eq!(ids(&admin(&gateway, "/receipts?status=5xx").await.json()), ["failed"]);
    assert_eq!(ids(&admin(&gateway, "/receipts?flag=NR&limit=5").await.json()), ["unknown"]);
    assert_eq!(ids(&admin(&gateway, "/receipts?model=qwen").await.json()), ["failed"]);
    assert_eq!(admin(&gateway, "/receipts?status=bad").await.status, 400);
    assert_eq!(gateway.metric("pailou_receipts_kept_total", &[]).await, 2.0);
}

#[tokio::test]
async fn receipts_hold_no_prompt_no_header_and_no_credential() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--receipts-sample", "1"]).serve().await;
    let call = |id: &str, model: &str| {
        Call::chat(model, "my-prompt-text")
            .header("x-request-id", id)
            .header("authorization", "Bearer my-bearer-token")
            .header("x-api-key", "my-api-key")
            .header("cookie", "session=my-cookie")
            .header("x-team", "red-header-value")
            .header("user-agent", "my-user-agent")
    };
    assert_eq!(call("served", "qwen").send(gateway.http()).await.status, 200);
    assert_eq!(call("unrouted", "unknown").header("x-team", "blue").send(gateway.http()).await.status, 404);
    sim.faults().set([FaultKind::Reset(None).into()]);
    assert!(call("broken", "qwen").send(gateway.http()).await.status.is_server_error());
    let get = Call::get("/nowhere?key=my-query").header("x-request-id", "get").header("authorization", "Bearer my-bearer-token");
    assert_eq!(get.send(gateway.http()).await.status, 404);
    receipt(&gateway, "get").await;
    let all = admin(&gateway, "/receipts").await;
    assert_eq!(all.json()["receipts"].as_array().unwrap().len(), 4);
    for secret in ["my-", "red-header-value", "blue", "Bearer"] {
        assert!(!all.text().contains(secret), "{secret}: {}", all.text());
    }
}

#[tokio::test]
async fn a_viewer_follows_and_there_are_no_more_than_sixteen() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--receipts-sample", "1"]).serve().await;
    let open = || Call::get("/receipts/stream").host("127.0.0.1").open(gateway.admin());
    let mut first = open().await;
    assert_eq!(first.status, 200);
    first.next().await.unwrap().unwrap();
    assert_eq!(Call::chat("qwen", "hello").header("x-request-id", "seen").send(gateway.http()).await.status, 200);
    let event = String::from_utf8(first.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(event.starts_with("id: 1\nevent: receipt\ndata: {") && event.contains("\"request_id\":\"seen\""), "{event}");
    // One that comes back gets what it has missed.
    let again = Call::get("/receipts/stream").host("127.0.0.1").header("last-event-id", "0").open(gateway.admin());
    let mut again = again.await;
    again.next().await.unwrap().unwrap();
    let event = String::from_utf8(again.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(event.contains("\"request_id\":\"seen\""), "{event}");
    let mut others = Vec::new();
    for _ in 2..16 {
        let viewer = open().await;
        assert_eq!(viewer.status, 200);
        others.push(viewer);
    }
    assert_eq!(open().await.status, 503);
    drop(others);
    let free = async { while open().await.status != 200 {} };
    wait::within("a place is free again", free).await;
}

#[tokio::test]
async fn names_that_lead_here_get_no_receipts_and_none_are_made_where_they_are_off() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--receipts", "0"]).serve().await;
    for path in ["/receipts", "/receipts/stream", "/receipts/some"] {
        assert_eq!(Call::get(path).host("rebound.test:15000").send(gateway.admin()).await.status, 421);
        assert_eq!(admin(&gateway, path).await.status, 404);
    }
    let from_a_page = Call::get("/receipts").host("localhost").header("sec-fetch-site", "cross-site");
    assert_eq!(from_a_page.send(gateway.admin()).await.status, 403);
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    assert_eq!(gateway.metric("pailou_receipts_kept_total", &[]).await, 0.0);
}
