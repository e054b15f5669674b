//! A service that is down, slow, or answers what nobody understands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::*;
use crate::support::objects::nowhere;

const LIMIT: &str = "{global: {rules: [{limit: {requests: 1, unit: Hour}}]}}";

/// A gateway that waits 50 ms for a service at an address.
fn impatient(engine: &Engine, address: std::net::SocketAddr, more: &str) -> Gateway {
    let configuration = format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: pailou-config, namespace: pailou-system, annotations: \
         {{pailou.dev/rate-limit-service: 'grpc://{address}'}}}}\ndata: {{envoy-gateway.yaml: \"apiVersion: \
         gateway.envoyproxy.io/v1alpha1\\nkind: EnvoyGateway\\nrateLimit: {{timeout: 50ms{more}}}\"}}\n"
    );
    Gateway::serve(&[route(TO_ENGINE), backend("engine", engine.address, ""), policy(LIMIT), configuration].concat())
}

fn series(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(&format!("pailou_rate_limit_service_{name}{{process=\"pailou\"}}"))
}

#[tokio::test]
async fn what_decides_nothing_lets_requests_pass_and_is_counted() {
    for (bytes, status_code) in [
        (&b""[..], "0"),
        (b"\0\0\0\0\0", "0"),
        (b"\0\0\0\0\x09ab", "0"),
        (b"\x01\0\0\0\x02\x08\x01", "0"),
        (b"\0\0\0\0\x02\xff\xff", "0"),
        (b"\0\0\0\0\x02\x08\x02", "14"),
        (b"\0\0\0\0\x02\x08\x09", "0"),
    ] {
        let service = LimitService::start(move |_| Reply::Raw(bytes, status_code)).await;
        let (gateway, mut engine) = serve(&service, LIMIT).await;
        let answer = ask(&gateway, &mut engine, "").await;
        assert_eq!((status(&answer), header(&answer, "x-ratelimit-limit")), ("200", None), "{bytes:?}: {answer}");
        assert_eq!((series(&gateway, "bypassed"), series(&gateway, "failures")), (1.0, 1.0), "{bytes:?}");
    }
}

#[tokio::test]
async fn fail_closed_refuses_what_cannot_be_counted() {
    let engine = Engine::start().await;
    let gateway = impatient(&engine, nowhere(), ", failClosed: true");
    for _ in 0..10 {
        let answer = gateway.raw(&call("")).await;
        assert_eq!((status(&answer), header(&answer, "x-pailou-response-flag")), ("500", Some("RLSE")), "{answer}");
    }
    let silent = LimitService::start(|_| Reply::Silence).await;
    let gateway = impatient(&engine, silent.address, ", failClosed: true");
    let answer = gateway.raw(&call("")).await;
    assert_eq!((status(&answer), header(&answer, "x-pailou-response-flag")), ("500", Some("RLSE")), "{answer}");
    assert!(!answer.contains("127."), "the client learns nothing of the service: {answer}");
}

#[tokio::test]
async fn a_service_that_is_down_meets_no_storm_and_is_found_when_it_is_back() {
    let address = nowhere();
    let mut engine = Engine::start().await;
    let gateway = impatient(&engine, address, "");
    for _ in 0..40 {
        assert_eq!(status(&ask(&gateway, &mut engine, "").await), "200");
    }
    let calls = series(&gateway, "calls");
    assert!((5.0..20.0).contains(&calls), "{calls}");
    assert_eq!((series(&gateway, "bypassed"), series(&gateway, "up")), (40.0, 0.0));
    let service = LimitService::at(address, |_| Reply::Answer(Box::new(answer(vec![counter(1, Unit::Hour, 2)])))).await;
    let found = async {
        loop {
            let request = call("");
            let serving = async {
                tokio::select! { () = engine.answer() => {}, () = tokio::time::sleep(Duration::from_secs(5)) => {} }
            };
            let answer = tokio::select! { answer = gateway.raw(&request) => answer, () = serving => continue };
            if status(&answer) == "429" {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.unwrap();
    assert_eq!((series(&gateway, "up"), service.connections.load(Ordering::Relaxed)), (1.0, 1));
}

#[tokio::test]
async fn a_slow_service_holds_nobody_up_for_longer_than_is_configured() {
    let service = LimitService::start(|_| Reply::Silence).await;
    let mut engine = Engine::start().await;
    let gateway = impatient(&engine, service.address, "");
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(status(&ask(&gateway, &mut engine, "").await), "200");
    }
    // Five waits, and a probe now and then: not a hundred.
    let calls = series(&gateway, "calls");
    assert!(calls < 40.0, "{calls} calls in {:?}", began.elapsed());
    assert_eq!(service.connections.load(Ordering::Relaxed), 1, "one connection, however often it is silent");
}

#[tokio::test]
async fn a_connection_that_ends_under_a_question_is_made_anew() {
    let is_first = Arc::new(AtomicBool::new(true));
    let mut service = LimitService::start(move |_| match is_first.swap(false, Ordering::Relaxed) {
        true => Reply::GoAway,
        false => Reply::Answer(Box::new(answer(vec![counter(1, Unit::Hour, 2)]))),
    })
    .await;
    let (gateway, mut engine) = serve(&service, LIMIT).await;
    // The service had the question: asking it again would count twice.
    assert_eq!(status(&ask(&gateway, &mut engine, "").await), "200");
    assert_eq!(status(&gateway.raw(&call("")).await), "429");
    assert_eq!((service.others(), service.connections.load(Ordering::Relaxed)), (2, 2));
}

#[tokio::test]
async fn a_connection_is_shared_and_outlives_a_reload() {
    let service = LimitService::counting(|_| Some((1000, Unit::Hour))).await;
    let (gateway, mut engine) = serve(&service, LIMIT).await;
    for _ in 0..10 {
        ask(&gateway, &mut engine, "").await;
    }
    let objects =
        [crate::support::objects::GATEWAY, &route(TO_ENGINE), &backend("engine", engine.address, ""), &policy(LIMIT)].concat();
    gateway.update(&[&*objects, &configuration(&service, "")].concat());
    ask(&gateway, &mut engine, "").await;
    assert_eq!(service.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_cost_that_the_service_does_not_take_is_counted_as_lost() {
    let count = AtomicUsize::new(0);
    let service = LimitService::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Answer(Box::new(answer(vec![counter(100, Unit::Hour, 0)]))),
        _ => Reply::Raw(b"", "14"),
    })
    .await;
    let mut engine = Engine::start().await;
    let limit = policy(&format!("{{global: {{rules: [{{limit: {{requests: 1, unit: Day}}, {TOKENS}}}]}}}}"));
    let objects = [route(TO_ENGINE), backend("engine", engine.address, ""), limit, configuration(&service, "")];
    let gateway = Gateway::serve(&objects.concat());
    assert_eq!(status(&ask(&gateway, &mut engine, "").await), "200");
    let lost = async {
        while series(&gateway, "lost_charges") != 1.0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), lost).await.unwrap();
    // Room that was held is back.
    let counters = gateway.proxy.limits(&pailou_limits::CounterQuery::default());
    assert!(counters.iter().all(|counter| counter.reserved == 0), "{counters:?}");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_closes_the_routes_with_global_limits() {
    for annotations in [
        "pailou.dev/rate-limit-service: 'http://a:1'",
        "pailou.dev/rate-limit-service: 'grpcs://a', pailou.dev/rate-limit-service-certificate: none",
    ] {
        let engine = Engine::start().await;
        let map = format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: pailou-config, namespace: pailou-system, annotations: {{{annotations}}}}}\n"
        );
        let gateway = Gateway::serve(&[route(TO_ENGINE), backend("engine", engine.address, ""), policy(LIMIT), map].concat());
        assert_eq!(status(&gateway.raw(&call("")).await), "500", "{annotations}");
    }
}

/// Passes connections on to a service until it is frozen: then those that there are stay open, and nothing comes of them any more.
async fn relay(to: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<tokio::sync::Notify>, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (freeze, connections) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (frozen, counter) = (Arc::clone(&freeze), Arc::clone(&connections));
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            let frozen = Arc::clone(&frozen);
            tokio::spawn(async move {
                let mut service = tokio::net::TcpStream::connect(to).await.unwrap();
                let notified = frozen.notified();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut service) => {}
                    () = notified => std::future::pending().await,
                }
            });
        }
    });
    (address, freeze, connections)
}

#[tokio::test]
async fn a_connection_that_is_dead_is_replaced_in_seconds() {
    let service = LimitService::counting(|_| Some((1_000_000, Unit::Hour))).await;
    let (address, freeze, connections) = relay(service.address).await;
    let mut engine = Engine::start().await;
    let gateway = impatient(&engine, address, "");
    while header(&ask(&gateway, &mut engine, "").await, "x-ratelimit-limit").is_none() {}
    freeze.notify_waiters();
    let is_found = async { while header(&ask(&gateway, &mut engine, "").await, "x-ratelimit-limit").is_none() {} };
    // A ping in time is two seconds; one as to any backend would take forty.
    tokio::time::timeout(Duration::from_secs(25), is_found).await.expect("the dead connection is given up");
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}
