//! llm-d's sidecar, which a header tells where to have a prompt prefilled.

use pailou_e2e::client::Call;
use pailou_e2e::picker::Picker;
use pailou_sim::{KvConnector, Role, Sim};

use super::{apart, long, outcomes, pool, serve, short};

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
