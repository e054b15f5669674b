//! TLS towards backends: whom the gateway believes, and that it never falls back to plain text.

use pailou_e2e::client::Call;
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::picker::Picker;
use pailou_e2e::{objects, wait};
use pailou_sim::selfsigned::Authority;
use pailou_sim::{Config, Sim};
use serde_json::{Value, json};

use crate::support::{engine, everything_to, pool_of};

/// An engine with a certificate for these names, and the authority that issued it.
async fn engine_for(names: &[&str]) -> (Sim, Authority) {
    let authority = Authority::new().unwrap();
    let tls = Some(authority.issue(names).unwrap());
    (engine(Config { tls, ..Config::new("a", ["qwen"]).instant() }).await, authority)
}

async fn serve(sim: &Sim, validation: Value, ca: &str) -> Gateway {
    let target = json!({"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "b"});
    let policy = json!({"targetRefs": [target], "validation": validation});
    let list = [
        objects::gateway(),
        objects::route("r", everything_to(objects::to_backend("b"))),
        objects::backend("b", &[sim.addr()]),
        objects::object("gateway.networking.k8s.io/v1", "BackendTLSPolicy", "tls", policy),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": ca}}),
    ];
    Setup::with(list).serve().await
}

fn believing(hostname: &str) -> Value {
    json!({"hostname": hostname, "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]})
}

#[tokio::test]
async fn a_backend_is_believed_by_its_authority_and_name() {
    let (sim, authority) = engine_for(&["engine.test"]).await;
    let gateway = serve(&sim, believing("engine.test"), &authority.ca_pem()).await;
    let echo = Call::get("/").host("client.test").echo().send(gateway.http()).await;
    assert_eq!((&echo.json()["tls"], &echo.json()["sni"]), (&json!(true), &json!("engine.test")));
    let host = echo.json()["authority"].as_str().map(str::to_owned).unwrap_or_else(|| echo.received("host"));
    assert_eq!(host, "client.test", "the name in TLS is not the host");
}

#[tokio::test]
async fn who_cannot_prove_it_gets_no_request() {
    let (sim, authority) = engine_for(&["engine.test"]).await;
    let stranger = Authority::new().unwrap().ca_pem();
    let with_sans = |name: &str| {
        let mut validation = believing("engine.test");
        validation["subjectAltNames"] = json!([{"type": "Hostname", "hostname": name}]);
        validation
    };
    let cases = [
        (believing("other.test"), authority.ca_pem()),
        (believing("engine.test"), stranger),
        (believing("engine.test"), "no certificate".to_owned()),
        (with_sans("other.test"), authority.ca_pem()),
        (json!({"hostname": "engine.test", "wellKnownCACertificates": "System"}), String::new()),
    ];
    for (validation, ca) in cases {
        let gateway = serve(&sim, validation.clone(), &ca).await;
        let reply = Call::get("/").echo().send(gateway.http()).await;
        assert!(reply.status.is_server_error(), "{validation}: {} {}", reply.status, reply.text());
    }
    assert_eq!(sim.stats().requests, 0);
}

#[tokio::test]
async fn another_name_in_the_certificate_can_be_asked_for() {
    let (sim, authority) = engine_for(&["real.test"]).await;
    let mut validation = believing("engine.test");
    validation["subjectAltNames"] = json!([{"type": "Hostname", "hostname": "real.test"}]);
    let gateway = serve(&sim, validation, &authority.ca_pem()).await;
    assert_eq!(Call::get("/").echo().send(gateway.http()).await.json()["sni"], "engine.test");
}

#[tokio::test]
async fn a_policy_that_appears_holds_at_once() {
    let (sim, authority) = engine_for(&["engine.test"]).await;
    let gateway = serve(&sim, believing("engine.test"), &Authority::new().unwrap().ca_pem()).await;
    assert!(Call::get("/").echo().send(gateway.http()).await.status.is_server_error());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": authority.ca_pem()}});
    let target = json!({"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "b"});
    let policy = json!({"targetRefs": [target], "validation": believing("engine.test")});
    gateway.save_objects([
        objects::gateway(),
        objects::route("r", everything_to(objects::to_backend("b"))),
        objects::backend("b", &[sim.addr()]),
        objects::object("gateway.networking.k8s.io/v1", "BackendTLSPolicy", "tls", policy),
        map,
    ]);
    let believed = async { while Call::get("/").echo().send(gateway.http()).await.status != 200 {} };
    wait::within("the new authority is believed", believed).await;
}

#[tokio::test]
async fn metrics_of_engines_that_speak_tls_alone_are_read() {
    const FRESH: &str = "pailou_engine_metrics_fresh";
    let (sim, authority) = engine_for(&["engine.test"]).await;
    let target = json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "qwen"});
    let policy = json!({"targetRefs": [target], "validation": believing("engine.test")});
    let policy = [
        objects::object("gateway.networking.k8s.io/v1", "BackendTLSPolicy", "tls", policy),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": authority.ca_pem()}}),
    ];
    let pool = || pool_of("qwen", &[&sim]);
    let route = [objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    let gateway = Setup::with(route.into_iter().chain(pool()).chain(policy.clone())).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    wait::within("the gateway reads them", async { while gateway.metric(FRESH, &[]).await < 1.0 {} }).await;

    let by_policy = Picker::serve("qwen", pool().into_iter().chain(policy), &[]).await;
    wait::within("the picker reads them by the policy", async { while by_policy.metric(FRESH, &[]).await < 1.0 {} }).await;
    let by_flag = Picker::serve("qwen", pool(), &["--model-server-metrics-scheme", "https"]).await;
    wait::within("the picker reads them by its flag", async { while by_flag.metric(FRESH, &[]).await < 1.0 {} }).await;
    let flags = ["--model-server-metrics-scheme=https", "--model-server-metrics-https-insecure-skip-verify=false"];
    let verifying = Picker::serve("qwen", pool(), &flags).await;
    let refused = async {
        while !verifying.stderr().contains("cannot read engine metrics") {
            tokio::task::yield_now().await;
        }
    };
    wait::within("a picker that verifies refuses them", refused).await;
}
