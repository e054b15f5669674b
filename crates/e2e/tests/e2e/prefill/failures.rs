//! Engines that fail while prefill and decode are apart: no client hangs, and nothing is left behind.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pailou_e2e::client::Call;
use pailou_e2e::gateway::Setup;
use pailou_e2e::{address::loopback, objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, Fault, FaultKind, KvConnector, Role, Sim};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{PROTOCOLS, apart, apart_with, decode_prefills, long, outcomes, pool, serve_apart, two};
use crate::support::everything_to;

/// Each prefill of such an engine takes far longer than a test.
fn slow_prefill(config: Config) -> Config {
    let cost = CostModel { prefill_us_per_token: 1e6, ..CostModel::instant() };
    Config { cost, time_scale: 1.0, ..config }
}

/// A token of such an engine takes 20 ms.
fn slow_decode(config: Config) -> Config {
    Config { cost: CostModel { step_us: 20_000.0, ..CostModel::instant() }, time_scale: 1.0, ..config }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    wait::within(what, so).await;
}

async fn is_idle(sims: &[&Sim]) {
    until("the engines are idle", || sims.iter().all(|sim| sim.stats().running + sim.stats().waiting == 0)).await;
}

#[tokio::test]
async fn an_engine_that_does_not_prefill_is_made_good_by_another() {
    let faults = [FaultKind::Refuse, FaultKind::Status(503), FaultKind::Status(500), FaultKind::Reset(None), FaultKind::Close(0)];
    for connector in PROTOCOLS {
        for fault in faults {
            let [p, d] = two(connector).await;
            let q = apart("q", Role::Prefill, connector).await;
            let gateway = serve_apart(connector, &[(&p, "prefill"), (&q, "prefill"), (&d, "decode")]).await;
            p.faults().set([Fault::new(fault)]);
            for number in 0..4 {
                let reply = long(&format!("topic {number}"), number % 2 == 0).send(gateway.http()).await;
                assert_eq!(reply.status, 200, "{connector:?} {fault:?}: {}", reply.text());
            }
            // SGLang's that breaks off its reply has sent the prompt before.
            assert_eq!((p.stats().kv_sent + q.stats().kv_sent, d.stats().kv_received), (4, 4), "{connector:?} {fault:?}");
            assert!(q.stats().kv_sent >= 1, "{connector:?} {fault:?}");
            assert_eq!(outcomes(&gateway, "remote").await, 4.0);
        }
    }
}

#[tokio::test]
async fn without_an_engine_that_prefills_the_other_does_if_it_can() {
    for connector in PROTOCOLS {
        let status = if decode_prefills(connector) { 200 } else { 503 };
        let [p, d] = two(connector).await;
        let gateway = serve_apart(connector, &[(&p, "prefill"), (&d, "decode")]).await;
        p.kill().await;
        let reply = long("gates", true).send(gateway.http()).await;
        assert_eq!(reply.status.as_u16(), status, "{connector:?}: {}", reply.text());
        let outcome = if status == 200 { "fallback" } else { "failed" };
        assert_eq!(outcomes(&gateway, outcome).await, 1.0, "{connector:?}");
        is_idle(&[&d]).await;
    }
}

#[tokio::test]
async fn a_prefill_that_takes_too_long_is_given_up() {
    for connector in PROTOCOLS {
        let status = if decode_prefills(connector) { 200 } else { 504 };
        let p = apart_with("p", Role::Prefill, connector, slow_prefill).await;
        let d = apart("d", Role::Decode, connector).await;
        let gateway = serve_apart(connector, &[(&p, "prefill"), (&d, "decode")]).await;
        let reply = long("gates", false).send(gateway.http()).await;
        assert_eq!(reply.status.as_u16(), status, "{connector:?}: {}", reply.text());
        until("the prefill ends", || p.stats().aborts > 0).await;
    }
}

#[tokio::test]
async fn a_request_that_an_engine_refuses_is_refused() {
    for connector in PROTOCOLS {
        let [p, d] = two(connector).await;
        let gateway = serve_apart(connector, &[(&p, "prefill"), (&d, "decode")]).await;
        p.faults().set([Fault::new(FaultKind::Status(400))]);
        let reply = long("gates", true).send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (400, "p"), "{connector:?}: {}", reply.text());
        assert_eq!(d.stats().generation_tokens, 0);
    }
}

/// An engine that is too busy, or refuses the gateway, says nothing of the request.
#[tokio::test]
async fn a_prefill_that_is_put_off_is_done_elsewhere() {
    for connector in PROTOCOLS {
        for status in [401, 429] {
            let [p, d] = two(connector).await;
            let q = apart("q", Role::Prefill, connector).await;
            let gateway = serve_apart(connector, &[(&p, "prefill"), (&q, "prefill"), (&d, "decode")]).await;
            p.faults().set([Fault::new(FaultKind::Status(status))]);
            for number in 0..4 {
                let reply = long(&format!("topic {number}"), number % 2 == 0).send(gateway.http()).await;
                assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"), "{connector:?}: {}", reply.text());
            }
            assert_eq!((q.stats().kv_sent, outcomes(&gateway, "remote").await), (4, 4.0), "{connector:?}");
            q.faults().set([Fault::new(FaultKind::Status(status))]);
            let reply = long("gates", true).send(gateway.http()).await;
            let expected = if decode_prefills(connector) { 200 } else { status };
            assert_eq!(reply.status.as_u16(), expected, "{connector:?}: {}", reply.text());
        }
    }
}

/// SGLang's that decodes would refuse the request for what it is.
#[tokio::test]
async fn a_pool_without_any_engine_that_prefills_is_unavailable_where_others_cannot() {
    let d = apart("d", Role::Decode, KvConnector::Sglang).await;
    let gateway = serve_apart(KvConnector::Sglang, &[(&d, "decode")]).await;
    let reply = long("gates", false).send(gateway.http()).await;
    assert_eq!((reply.status.as_u16(), d.stats().requests), (503, 0), "{}", reply.text());
}

#[tokio::test]
async fn an_engine_that_does_not_decode_is_made_good_by_another_or_an_error() {
    for connector in PROTOCOLS {
        let [p, d] = two(connector).await;
        let e = apart("e", Role::Decode, connector).await;
        let gateway = serve_apart(connector, &[(&p, "prefill"), (&d, "decode"), (&e, "decode")]).await;
        d.kill().await;
        for number in 0..3 {
            let reply = long(&format!("topic {number}"), true).send(gateway.http()).await;
            assert_eq!((reply.status.as_u16(), reply.server()), (200, "e"), "{connector:?}: {}", reply.text());
        }
        until("all are logged", || gateway.access_log().len() == 3).await;
        for line in gateway.access_log() {
            assert_eq!(line["prefill_endpoint"], "qwen-0", "{connector:?}: {line}");
        }
        e.kill().await;
        let reply = long("gates", true).send(gateway.http()).await;
        assert_eq!(reply.status, 503, "{connector:?}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_both_parts_with_it() {
    for connector in PROTOCOLS {
        // During the prefill.
        let p = apart_with("p", Role::Prefill, connector, slow_prefill).await;
        let d = apart("d", Role::Decode, connector).await;
        let gateway = serve_apart(connector, &[(&p, "prefill"), (&d, "decode")]).await;
        let client = tokio::spawn(long("gates", true).send(gateway.http()));
        until("the prefill begins", || p.stats().running > 0).await;
        client.abort();
        until("the prefill ends", || p.stats().aborts > 0).await;
        is_idle(&[&p, &d]).await;
        assert_eq!((p.stats().kv_held, d.stats().generation_tokens), (0, 0), "{connector:?}");

        // During the decode.
        let p = apart("p", Role::Prefill, connector).await;
        let d = apart_with("d", Role::Decode, connector, slow_decode).await;
        let gateway = serve_apart(connector, &[(&p, "prefill"), (&d, "decode")]).await;
        let text = "what the model is to know. ".repeat(120);
        let mut open = Call::chat_stream("qwen", &text, 2000).open(gateway.http()).await;
        assert_eq!(open.status, 200);
        open.next().await.expect("a chunk").expect("a chunk");
        assert_eq!(d.stats().running, 1);
        drop(open);
        until("the decode ends", || d.stats().aborts > 0).await;
        is_idle(&[&p, &d]).await;
        assert_eq!(p.stats().kv_held, 0);
        wait::within("no place is taken", async { while gateway.metric("pailou_requests_active", &[]).await > 0.0 {} }).await;
    }
}

#[tokio::test]
async fn an_engine_that_dies_amid_its_answer_breaks_it_off() {
    for connector in PROTOCOLS {
        let [p, d] = two(connector).await;
        let gateway = serve_apart(connector, &[(&p, "prefill"), (&d, "decode")]).await;
        d.faults().set([Fault::new(FaultKind::Reset(Some(5)))]);
        let mut open = long("gates", true).open(gateway.http()).await;
        assert_eq!(open.status, 200, "{connector:?}");
        let (text, _) = open.rest().await;
        assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{connector:?}: {text}");
        assert_eq!(p.stats().kv_held, 0);
    }
}

/// One that does not configure the transfer, although its label says so.
#[tokio::test]
async fn an_engine_that_hands_nothing_over_is_done_without() {
    let p = apart_with("p", Role::Prefill, KvConnector::Nixl, |config| Config { kv_transfer: None, ..config }).await;
    let d = apart("d", Role::Decode, KvConnector::Nixl).await;
    let gateway = serve_apart(KvConnector::Nixl, &[(&p, "prefill"), (&d, "decode")]).await;
    let reply = long("gates", false).send(gateway.http()).await;
    assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"), "{}", reply.text());
    assert_eq!(outcomes(&gateway, "fallback").await, 1.0);
}

/// An engine that begins each answer at once, and goes on with the second alone. Gives how many answers it began, and how many of those were given up.
async fn begins_only(address: Ipv4Addr) -> [Arc<AtomicUsize>; 2] {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    const ANSWER: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"second\"}}]}\n\ndata: [DONE]\n\n";
    let listener = TcpListener::bind((address, 8000)).await.expect("the address is free");
    let [begun, given_up] = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let counts = [Arc::clone(&begun), Arc::clone(&given_up)];
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (begun, given_up) = (Arc::clone(&begun), Arc::clone(&given_up));
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(14).any(|text| text == b"bootstrap_room") {
                    if stream.read_buf(&mut request).await? == 0 {
                        return Ok(());
                    }
                }
                stream.write_all(HEAD).await?;
                let is_second = begun.fetch_add(1, Ordering::Relaxed) > 0;
                if is_second {
                    stream.write_all(ANSWER).await?;
                    stream.shutdown().await?;
                }
                // A reset is an end, too: the head may be unread as the connection is closed.
                while stream.read_buf(&mut request).await.is_ok_and(|count| count > 0) {}
                given_up.fetch_add(usize::from(!is_second), Ordering::Relaxed);
                std::io::Result::Ok(())
            });
        }
    });
    counts
}

/// The engine that decodes would wait for ever, and SGLang's has a head at once.
#[tokio::test]
async fn a_decode_that_has_begun_is_given_up_with_its_prefill_and_made_good_by_another() {
    for others in [false, true] {
        let connector = KvConnector::Sglang;
        let p = apart_with("p", Role::Prefill, connector, slow_prefill).await;
        let q = apart_with("q", Role::Prefill, connector, slow_prefill).await;
        let address = loopback();
        let [begun, given_up] = begins_only(address).await;
        let engines = [(&p, "prefill"), (&q, "prefill")];
        let mut list = pool(&engines[..if others { 2 } else { 1 }], &[("kv-connector", "sglang")]);
        let mut decode = objects::pod("decode", "qwen", address);
        decode["metadata"]["labels"]["llm-d.ai/role"] = "decode".into();
        list.extend([decode, objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))]);
        let gateway = Setup::with(list).serve().await;
        let client = tokio::spawn(long("gates", true).send(gateway.http()));
        until("both parts begin", || begun.load(Ordering::Relaxed) == 1 && p.stats().running + q.stats().running == 1).await;
        let first = if p.stats().running == 1 { p } else { q };
        first.kill().await;
        let reply = client.await.expect("a reply");
        let expected = if others { (200, "second") } else { (503, "error") };
        assert_eq!(reply.status.as_u16(), expected.0, "{}", reply.text());
        assert!(reply.text().contains(expected.1), "{}", reply.text());
        assert_eq!(
            (outcomes(&gateway, "remote").await, outcomes(&gateway, "failed").await),
            if others { (1.0, 0.0) } else { (0.0, 1.0) }
        );
        until("the decode is given up", || given_up.load(Ordering::Relaxed) == 1).await;
    }
}
