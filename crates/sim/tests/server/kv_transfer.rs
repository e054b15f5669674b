//! Prefill and decode apart, as a gateway asks for it.

use std::net::{Ipv4Addr, SocketAddr};

use http::StatusCode;
use pailou_sim::{Config, KvConnector, KvTransfer, Role, Sim};
use serde_json::{Value, json};

use crate::client::{Client, start};

async fn engine(name: &str, role: Role, connector: KvConnector) -> Sim {
    let is_bootstrap = matches!(connector, KvConnector::Sglang | KvConnector::Mooncake) && role == Role::Prefill;
    let bootstrap_listen = is_bootstrap.then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let kv_transfer = KvTransfer { bootstrap_listen, timeout_seconds: 0.3, ..KvTransfer::new(role, connector) };
    start(Config { kv_transfer: Some(kv_transfer), ..Config::new(name, ["qwen"]).instant() }).await
}

fn chat(more: Value) -> Value {
    let mut body = json!({
        "model": "qwen", "messages": [{"role": "user", "content": "Tell of gates. ".repeat(40)}], "max_tokens": 8, "min_tokens": 8,
    });
    let (Some(all), Some(more)) = (body.as_object_mut(), more.as_object()) else { panic!("objects") };
    all.extend(more.clone());
    body
}

async fn post(sim: &Sim, body: Value) -> (StatusCode, Value) {
    Client::connect(sim.addr()).await.json("/v1/chat/completions", &body).await
}

#[tokio::test]
async fn vllms_prompt_is_fetched_once_by_what_the_prefills_reply_says() {
    let p = engine("p", Role::Prefill, KvConnector::Nixl).await;
    let d = engine("d", Role::Decode, KvConnector::Nixl).await;
    let ask = json!({"do_remote_decode": true, "do_remote_prefill": false});
    let (status, reply) = post(&p, chat(json!({"max_tokens": 1, "min_tokens": 1, "kv_transfer_params": ask}))).await;
    assert_eq!(status, 200);
    let params = &reply["kv_transfer_params"];
    assert_eq!((&params["do_remote_prefill"], &params["remote_engine_id"]), (&json!(true), &json!("p")));
    assert_eq!(p.stats().kv_held, 1);
    let (status, answer) = post(&d, chat(json!({"kv_transfer_params": params}))).await;
    assert_eq!((status, &answer["usage"]["completion_tokens"]), (StatusCode::OK, &json!(8)), "{answer}");
    let prompt = answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], prompt - 1);
    assert_eq!((p.stats().kv_held, p.stats().kv_sent, d.stats().kv_received), (0, 1, 1));
    // Blocks that nobody has, or no more, or of another prompt.
    for unknown in [params.clone(), json!({"do_remote_prefill": true})] {
        let (status, answer) = post(&d, chat(json!({"kv_transfer_params": unknown}))).await;
        assert!(status == 500 || status == 400, "{answer}");
    }
    let (_, reply) = post(&p, chat(json!({"max_tokens": 1, "kv_transfer_params": ask}))).await;
    let other = json!({"messages": [{"role": "user", "content": "Hello"}], "kv_transfer_params": reply["kv_transfer_params"]});
    assert_eq!(post(&d, chat(other)).await.0, 500);
}

#[tokio::test]
async fn sglangs_two_parts_meet_in_a_room_whichever_comes_first() {
    let p = engine("p", Role::Prefill, KvConnector::Sglang).await;
    let d = engine("d", Role::Decode, KvConnector::Sglang).await;
    let port = p.bootstrap_addr().expect("a bootstrap server").port();
    let room = |number: u64| chat(json!({"bootstrap_host": "127.0.0.1", "bootstrap_port": port, "bootstrap_room": number}));
    let (prefill, decode) = tokio::join!(post(&p, room(1)), post(&d, room(1)));
    assert_eq!((prefill.0, decode.0), (StatusCode::OK, StatusCode::OK));
    assert_eq!((&prefill.1["usage"]["completion_tokens"], &decode.1["usage"]["completion_tokens"]), (&json!(1), &json!(8)));
    let (decode, prefill) = tokio::join!(post(&d, room(2)), post(&p, room(2)));
    assert_eq!((prefill.0, decode.0), (StatusCode::OK, StatusCode::OK));
    assert_eq!((p.stats().kv_sent, d.stats().kv_received), (2, 2));
    // One alone, for as long as it waits; and requests that name no room.
    for sim in [&p, &d] {
        assert_eq!(post(sim, room(3)).await.0, 500);
        assert_eq!(post(sim, chat(json!({}))).await.0, 400);
    }
    assert_eq!(p.stats().kv_held, 0);
}

#[tokio::test]
async fn transfers_show_in_the_metrics() {
    let p = engine("p", Role::Prefill, KvConnector::Nixl).await;
    post(&p, chat(json!({"max_tokens": 1, "kv_transfer_params": {"do_remote_decode": true}}))).await;
    let (_, page) = Client::connect(p.addr()).await.get("/metrics").await;
    for line in ["pailou_sim_kv_held 1", "pailou_sim_kv_sent_total 0", "pailou_sim_kv_received_total 0"] {
        assert!(page.lines().any(|it| it == line), "{page}");
    }
}

#[tokio::test]
async fn mooncakes_prompt_is_pulled_by_the_engine_that_is_told_its_transfer_whichever_comes_first() {
    let p = engine("p", Role::Prefill, KvConnector::Mooncake).await;
    let d = engine("d", Role::Decode, KvConnector::Mooncake).await;
    let bootstrap = p.bootstrap_addr().expect("a bootstrap server");
    let (status, ranks) = Client::connect(bootstrap).await.get("/query").await;
    assert_eq!((status, serde_json::from_str::<Value>(&ranks).unwrap()["0"]["engine_id"].clone()), (StatusCode::OK, json!("p")));
    let prefill = |id: &str| {
        chat(json!({"max_tokens": 1, "min_tokens": 1, "kv_transfer_params": {"do_remote_decode": true, "transfer_id": id}}))
    };
    let decode = |id: &str, engine: &str| {
        let address = format!("http://{bootstrap}");
        let params = json!({
            "do_remote_prefill": true, "transfer_id": id, "remote_bootstrap_addr": address, "remote_engine_id": engine,
        });
        chat(json!({"kv_transfer_params": params}))
    };
    // A prefill does not wait for its decode.
    assert_eq!(post(&p, prefill("1")).await.0, 200);
    assert_eq!(post(&d, decode("1", "p")).await.0, 200);
    let (later, first) = tokio::join!(post(&d, decode("2", "p")), post(&p, prefill("2")));
    assert_eq!((first.0, later.0), (StatusCode::OK, StatusCode::OK));
    assert_eq!((later.1["usage"]["completion_tokens"].as_u64(), d.stats().kv_received), (Some(8), 2));
    // Nobody prefills, another engine is meant, or nothing is said.
    assert_eq!(post(&d, decode("3", "p")).await.0, 500);
    assert_eq!(post(&d, decode("1", "q")).await.0, 500);
    assert_eq!(post(&d, chat(json!({"kv_transfer_params": {"do_remote_prefill": true}}))).await.0, 400);
}

#[tokio::test]
async fn tensorrt_llms_context_is_fetched_once_by_what_the_prefills_choice_says() {
    let p = engine("p", Role::Prefill, KvConnector::TrtLlm).await;
    let d = engine("d", Role::Decode, KvConnector::TrtLlm).await;
    let ask = json!({"disaggregated_params": {"request_type": "context_only", "disagg_request_id": 9}});
    let (status, reply) = post(&p, chat(ask.clone())).await;
    assert_eq!(status, 200, "{reply}");
    let mut params = reply["choices"][0]["disaggregated_params"].clone();
    assert_eq!((&params["disagg_request_id"], &reply["choices"][0]["finish_reason"]), (&json!(9), &json!("length")));
    assert_eq!((reply["usage"]["completion_tokens"].as_u64(), p.stats().kv_held), (Some(1), 1));
    params["request_type"] = "generation_only".into();
    let generate = |tokens: &Value| chat(json!({"disaggregated_params": params, "prompt_token_ids": tokens}));
    let (status, answer) = post(&d, generate(&reply["prompt_token_ids"])).await;
    assert_eq!((status, &answer["usage"]["completion_tokens"]), (StatusCode::OK, &json!(8)), "{answer}");
    assert_eq!((p.stats().kv_held, d.stats().kv_received), (0, 1));
    // It is gone; tokens of another prompt, and members that nobody knows.
    assert_eq!(post(&d, generate(&reply["prompt_token_ids"])).await.0, 500);
    assert_eq!(post(&d, chat(json!({"prompt_token_ids": [1]}))).await.0, 400);
    assert_eq!(post(&p, chat(json!({"disaggregated_params": {"request_type": "context_only", "x": 1}}))).await.0, 400);
}
