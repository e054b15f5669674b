//! llm-d's EndpointPickerConfig in a ConfigMap, for the gateway's own pools and for `pailou picker`.

use std::collections::HashSet;
use std::net::SocketAddr;

use pailou_e2e::client::Call;
use pailou_e2e::gateway::Setup;
use pailou_e2e::picker::Picker;
use pailou_e2e::{objects, wait};
use pailou_sim::Sim;
use serde_json::{Value, json};

use crate::picker;
use crate::support::{everything_to, instant, pool_of};

const ANNOTATION: &str = "pailou.dev/endpoint-picker-config";

async fn two() -> [Sim; 2] {
    [instant("a", "qwen").await, instant("b", "qwen").await]
}

/// The ConfigMap `plugins` with these plugins under the key `epp`.
fn config_map(plugins: &str) -> Value {
    let text = format!("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: {plugins}\n");
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plugins"}, "data": {"epp": text, "other": ""}})
}

/// The pool `qwen` of these engines, which names that ConfigMap.
fn pool(engines: &[&Sim], plugins: &str) -> Vec<Value> {
    let mut list = pool_of("qwen", engines);
    list[0]["metadata"]["annotations"] = json!({ANNOTATION: "plugins/epp"});
    list.push(config_map(plugins));
    list
}

/// Engines that serve a prompt which comes again and again.
async fn servers(to: SocketAddr) -> HashSet<String> {
    let prompt = "a prompt that is known ".repeat(400);
    let mut servers = HashSet::new();
    for _ in 0..30 {
        let reply = Call::chat("qwen", &prompt).send(to).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        servers.insert(reply.server().to_owned());
    }
    servers
}

/// Waits until the prompt is served by so many.
async fn spread(to: SocketAddr, number: usize) {
    wait::within(&format!("{number} engines serve"), async { while servers(to).await.len() != number {} }).await;
}

#[tokio::test]
async fn a_pools_config_map_chooses_and_its_changes_are_live() {
    let [a, b] = two().await;
    let objects = |plugins: &str| {
        let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
        list.extend(pool(&[&a, &b], plugins));
        list
    };
    let gateway = Setup::with(objects("[{type: queue-scorer}]")).serve().await;
    spread(gateway.http(), 2).await;
    gateway.save_objects(objects("[{type: queue-scorer}, {type: prefix-cache-scorer}]"));
    spread(gateway.http(), 1).await;
    gateway.save_objects(objects("[{type: queue-scorer}, {type: no-scorer}]"));
    wait::within("the condition names ConfigMap, key and field", async {
        loop {
            let status = Call::get("/status").host("localhost").send(gateway.admin()).await.text();
            if status.contains("ConfigMap default/plugins, key epp: plugins[1].type: there is no plugin")
                && status.contains("InvalidEndpointPickerConfig")
            {
                break;
            }
        }
    })
    .await;
    assert_eq!(servers(gateway.http()).await.len(), 1, "the pool is served as its other annotations have it: by prefixes");
}

#[tokio::test]
async fn a_picker_for_other_gateways_reads_the_config_map_too() {
    let [a, b] = two().await;
    let picker = Picker::serve("qwen", pool(&[&a, &b], "[{type: queue-scorer}, {type: session-affinity-scorer}]"), &[]).await;
    let gateway = picker::gateway(&[&a, &b], &picker, "FailClose", []).await;
    spread(gateway.http(), 2).await;
    assert!(picker.stderr().contains("key epp: no effect: plugin session-affinity-scorer"), "{}", picker.stderr());
    picker.save(pool(&[&a, &b], "[{type: prefix-cache-scorer}]"));
    spread(gateway.http(), 1).await;
}

#[tokio::test]
async fn labels_of_pods_choose_by_filters_and_context_lengths() {
    let [a, b] = two().await;
    let labelled = |plugins: &str, range: [&str; 2]| {
        let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
        list.extend(pool(&[&a, &b], plugins));
        let pods = list.iter_mut().filter(|object| object["kind"] == "Pod");
        for (pod, range) in pods.zip(range) {
            pod["metadata"]["labels"]["llm-d.ai/context-length-range"] = range.into();
        }
        list
    };
    let both = "[{type: queue-scorer}, {type: context-length-aware, parameters: {enableFiltering: true}}]";
    let gateway = Setup::with(labelled(both, ["0-100", "101-9000"])).serve().await;
    for (words, server) in [(10, "a"), (2000, "b")] {
        for _ in 0..10 {
            let reply = Call::chat("qwen", &"word ".repeat(words)).send(gateway.http()).await;
            assert_eq!((reply.status.as_u16(), reply.server()), (200, server), "{}", reply.text());
        }
    }
    let too_long = Call::chat("qwen", &"word ".repeat(40_000)).send(gateway.http()).await;
    assert_eq!(too_long.status, 503, "{}", too_long.text());
    let filter =
        "[{type: queue-scorer}, {type: label-selector-filter, parameters: {matchLabels: {llm-d.ai/context-length-range: 0-100}}}]";
    gateway.save_objects(labelled(filter, ["0-100", "101-9000"]));
    spread(gateway.http(), 1).await;
    assert_eq!(servers(gateway.http()).await, HashSet::from(["a".to_owned()]));
    gateway.save_objects(labelled(filter, ["101-9000", "0-100"]));
    wait::within("the other is chosen", async { while servers(gateway.http()).await != HashSet::from(["b".to_owned()]) {} }).await;
}
