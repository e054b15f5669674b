//! llm-d's sidecar, which a header tells where to have a prompt prefilled.

use std::net::Ipv4Addr;
use std::sync::Arc;

use pailou_e2e::client::Call;
use pailou_e2e::gateway::Setup;
use pailou_e2e::picker::Picker;
use pailou_e2e::{address::loopback, objects};
use pailou_sim::{KvConnector, Role, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::{apart, long, outcomes, pool, serve, short};
use crate::support::everything_to;

const PREFILLER: &str = "x-prefiller-host-port";

/// Others that name hosts to a sidecar.
const OTHERS: [&str; 4] = ["x-prefiller-url", "x-encoder-hosts-ports", "x-data-parallel-host-port", "x-kv-cache-source-host-port"];

/// A call that names hosts of its own.
fn forged(call: Call) -> Call {
    OTHERS.into_iter().fold(call.header(PREFILLER, "192.0.2.1:1"), |call, name| call.header(name, "192.0.2.1:1"))
}

fn assert_no_forged(sim: &Sim) {
    let head = sim.stats().last_request.expect("a request");
    for name in OTHERS {
        assert_eq!(head.headers.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_sidecar_is_told_the_endpoint_that_prefills_and_clients_tell_it_none() {
    let p = apart("p", Role::Prefill, KvConnector::Nixl).await;
    let d = apart("d", Role::Decode, KvConnector::Nixl).await;
    let gateway = serve(&[(&p, "prefill"), (&d, "decode")], &[("kv-connector", "llm-d-sidecar")]).await;
    let send = async |call: Call| {
        let reply = forged(call).send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"), "{}", reply.text());
        assert_no_forged(&d);
        d.stats().last_request.expect("a request").headers.get(PREFILLER).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(send(long("gates", true)).await, Some(p.addr().to_string()));
    assert_eq!(send(short()).await, None);
    assert_eq!(p.stats().requests, 0);
    assert_eq!((outcomes(&gateway, "remote").await, outcomes(&gateway, "local").await), (1.0, 1.0));
}

/// A picker's word reaches the sidecar through a gateway that asks it, here ours.
#[tokio::test]
async fn a_picker_tells_a_sidecar_the_endpoint_that_prefills() {
    let p = apart("p", Role::Prefill, KvConnector::Nixl).await;
    let d = apart("d", Role::Decode, KvConnector::Nixl).await;
    let picker = Picker::serve("qwen", pool(&[(&p, "prefill"), (&d, "decode")], &[("kv-connector", "llm-d-sidecar")]), &[]).await;
    let gateway = crate::picker::gateway(&[&p, &d], &picker, "FailClose", []).await;
    for (call, expected) in [(long("gates", true), Some(p.addr().to_string())), (short(), None)] {
        let reply = forged(call).send(gateway.http()).await;
        assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"), "{}", reply.text());
        assert_no_forged(&d);
        let head = d.stats().last_request.expect("a request");
        assert_eq!(head.headers.get(PREFILLER).map(|value| value.to_str().unwrap().to_owned()), expected);
    }
    assert_eq!(p.stats().requests, 0);
}

/// An engine that begins a compressed stream at once, goes on when it is notified, and does not end it.
async fn compresses(address: Ipv4Addr) -> Arc<Notify> {
    const HEAD: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n";
    let listener = TcpListener::bind((address, 8000)).await.expect("the address is free");
    let goes_on = Arc::new(Notify::new());
    let notified = Arc::clone(&goes_on);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let notified = Arc::clone(&notified);
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(8).any(|text| text == b"messages") {
                    if stream.read_buf(&mut request).await? == 0 {
                        return Ok(());
                    }
                }
                stream.write_all(HEAD).await?;
                notified.notified().await;
                stream.write_all(b"\x1f\x8b").await?;
                while stream.read_buf(&mut request).await.is_ok_and(|count| count > 0) {}
                std::io::Result::Ok(())
            });
        }
    });
    goes_on
}

/// The gateway reads nothing of it, and the first byte says that the prompt has been computed.
#[tokio::test]
async fn a_sidecars_prefill_ends_with_the_first_byte_of_a_compressed_stream() {
    let p = apart("p", Role::Prefill, KvConnector::Nixl).await;
    let address = loopback();
    let goes_on = compresses(address).await;
    let mut list = pool(&[(&p, "prefill")], &[("kv-connector", "llm-d-sidecar")]);
    let mut decode = objects::pod("decode", "qwen", address);
    decode["metadata"]["labels"]["llm-d.ai/role"] = "decode".into();
    list.extend([decode, objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))]);
    let gateway = Setup::with(list).serve().await;
    let prefill = format!("address=\"{}\"", p.addr());
    let active = async || gateway.metric("pailou_endpoint_requests_active", &[&prefill]).await;
    let mut open = long("gates", true).open(gateway.http()).await;
    assert_eq!(active().await, 1.0);
    goes_on.notify_one();
    open.next().await.expect("a piece").expect("no error");
    assert_eq!(active().await, 0.0);
}
