//! Spans of prefills: each a part of the request's trace, beside the decode's.

use pailou_e2e::collector::{Collector, Span};
use pailou_e2e::objects;
use pailou_sim::{Fault, FaultKind, KvConnector};
use serde_json::{Value, json};

use super::{PROTOCOLS, long, name, pool, two};
use crate::support::everything_to;
use crate::traces::{PARENT, TRACE, trace, traced};

fn of_role<'s>(spans: &'s [Span], role: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.attributes.get("pailou.role") == Some(&json!(role))).collect();
    assert_eq!(found.len(), 1, "{role} of {spans:?}");
    found[0]
}

#[tokio::test]
async fn a_prefill_has_a_span_of_its_own() {
    for connector in PROTOCOLS {
        let (collector, [p, d]) = (Collector::start().await, two(connector).await);
        let annotations = [("kv-connector", name(connector)), ("prefill-timeout", "2s")];
        let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
        list.extend(pool(&[(&p, "prefill"), (&d, "decode")], &annotations));
        let gateway = traced(list, &collector.url()).serve().await;
        let reply = long("oceans", false).header("traceparent", PARENT).send(gateway.http()).await;
        assert_eq!(reply.status, 200);
        let (server, clients) = trace(&collector, TRACE).await;
        assert_eq!(clients.len(), 2, "{connector:?}");
        let (prefill, decode) = (of_role(&clients, "prefill"), of_role(&clients, "decode"));
        let shown = |span: &Span| ["server.port", "server.address", "pailou.endpoint"].map(|name| span.attributes[name].clone());
        let expected =
            |sim: &pailou_sim::Sim, endpoint: &str| [json!(sim.addr().port()), json!(sim.addr().ip().to_string()), json!(endpoint)];
        assert_eq!((shown(prefill), shown(decode)), (expected(&p, "qwen-0"), expected(&d, "qwen-1")));
        for span in [prefill, decode] {
            assert_eq!((&span.parent, span.name.as_str(), span.is_error), (&server.span_id, "chat qwen", false));
        }
        assert_eq!(decode.attributes["pailou.prefill.endpoint"], "qwen-0");
        assert_eq!(prefill.attributes["http.response.status_code"], 200);
        assert_eq!(prefill.attributes.get("gen_ai.usage.output_tokens"), None);
        // Each engine goes on with its own span.
        for (sim, span) in [(&p, prefill), (&d, decode)] {
            let head = sim.stats().last_request.expect("a request");
            assert_eq!(head.headers["traceparent"], format!("00-{TRACE}-{}-01", span.span_id));
        }
    }
}

#[tokio::test]
async fn a_prefill_that_fails_is_an_error_of_its_own_span_alone() {
    let (collector, [p, d]) = (Collector::start().await, two(KvConnector::Nixl).await);
    p.faults().set([Fault::new(FaultKind::Status(503)).path("/v1/")]);
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool(&[(&p, "prefill"), (&d, "decode")], &[("kv-connector", "nixl")]));
    let gateway = traced(list, &collector.url()).serve().await;
    let reply = long("oceans", false).header("traceparent", PARENT).send(gateway.http()).await;
    assert_eq!((reply.status.as_u16(), reply.server()), (200, "d"));
    let (server, clients) = trace(&collector, TRACE).await;
    let prefill = of_role(&clients, "prefill");
    assert_eq!((prefill.is_error, prefill.attributes["error.type"].as_str()), (true, Some("503")));
    assert!(!server.is_error);
    let decode = clients.iter().find(|span| span.span_id != prefill.span_id).expect("the whole request, where it is decoded");
    assert_eq!((decode.is_error, decode.attributes.get("pailou.role").map(Value::as_str)), (false, None));
}
