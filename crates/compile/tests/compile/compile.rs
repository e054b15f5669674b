//! Golden tests of the compiler: `golden/<topic>.in.yaml` is compiled, and what comes out is compared with
//! `golden/<topic>.out.yaml`. `UPDATE_GOLDEN=1 cargo test -p pailou-compile --test compile compile` writes the outputs anew; read the
//! difference before committing it.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use pailou_api::{NamespaceName, ObjectKey, parse::parse};
use pailou_compile::{
    Compiled, Compiler, Settings, compile,
    store::{Entry, Store},
};
use pailou_snapshot::{Name, Port, ServerTls};

use crate::support::{dump::dump, settings::settings};

fn store(yaml: &str) -> Store {
    let parsed = parse(yaml.as_bytes(), "in.yaml", &NamespaceName::try_from("default").unwrap());
    assert_eq!(parsed.errors, [], "the input must be in order: it is the compiler that is tested here");
    let mut store = Store::new();
    for decoded in parsed.objects {
        assert_eq!(decoded.ignored, [], "fields that no kind has");
        store.insert(Entry::new(decoded, "in.yaml".into())).unwrap();
    }
    store
}

fn compiled(yaml: &str) -> Compiled {
    compile(&store(yaml), &settings(yaml))
}

#[test]
fn inputs_compile_to_their_golden_outputs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut topics: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    topics.retain(|path| path.to_str().unwrap().ends_with(".in.yaml"));
    topics.sort();
    assert!(topics.len() >= 19, "only {} topics are left", topics.len());
    let mut wrong = Vec::new();
    for input in topics {
        let output = Path::new(&input.to_str().unwrap().replace(".in.yaml", ".out.yaml")).to_owned();
        let yaml = fs::read_to_string(&input).unwrap();
        let found = dump(&compiled(&yaml));
        if update {
            fs::write(&output, &found).unwrap();
        } else if fs::read_to_string(&output).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", output.display()));
        }
    }
    assert!(wrong.is_empty(), "differs from the golden output:\n{}", wrong.join("\n"));
}

#[test]
fn no_output_shows_a_credential() {
    let yaml = include_str!("../golden/mission-external-maas.in.yaml");
    let compiled = compiled(yaml);
    let shown = format!("{}{:?}", dump(&compiled), compiled);
    assert!(yaml.contains("the-secret") && !shown.contains("the-secret"));
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: qwen-2, labels: {app: qwen}}\nstatus: {podIP: 127.0.0.8}\n";

#[test]
fn pods_come_without_routes_being_compiled() {
    let mission = include_str!("../golden/mission-model-routing.in.yaml");
    let mut compiler = Compiler::new(Settings::default());
    let before = compiler.update(&store(mission));
    let after = compiler.update(&store(&format!("{mission}\n---\n{POD}")));
    assert!(Arc::ptr_eq(&before.snapshot, &after.snapshot), "nothing but a pod is new");
    let count = |compiled: &Compiled| compiled.endpoints.values().map(|list| list.len()).collect::<Vec<_>>();
    assert_eq!((count(&before), count(&after)), (vec![1, 2], vec![1, 3]));
    let deepseek = |compiled: &Compiled| compiled.endpoints.values().next().cloned().unwrap();
    assert!(Arc::ptr_eq(&deepseek(&before), &deepseek(&after)), "an untouched pool keeps its list");
    assert_eq!(after.statuses.len(), before.statuses.len() + 1, "the new pod is known");
}

/// A Service and a ConfigMap that nobody asks for, and the same of names that somebody does.
#[test]
fn what_nobody_asks_for_comes_without_anything_being_compiled() {
    let yaml = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: pailou}\n\
                spec: {controllerName: pailou.dev/gateway-controller}\n---\n\
                apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\n\
                spec: {gatewayClassName: pailou, listeners: [{name: web, port: 80, protocol: HTTP}]}\n---\n\
                apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: route}\n\
                spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: wanted, port: 80}]}]}\n";
    let service =
        |name: &str| format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n");
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: wanted}\n";
    let mut compiler = Compiler::new(Settings::default());
    let first = compiler.update(&store(yaml));
    let second = compiler.update(&store(&format!("{yaml}{}{map}", service("other"))));
    assert!(Arc::ptr_eq(&first.snapshot, &second.snapshot), "nobody asks for them");
    assert_eq!(second.statuses.len(), first.statuses.len() + 2, "they are known");
    let third = compiler.update(&store(&format!("{yaml}{}{map}", service("wanted"))));
    assert!(!Arc::ptr_eq(&second.snapshot, &third.snapshot), "a route asks for the Service");
    assert_eq!((second.snapshot.clusters.len(), third.snapshot.clusters.len()), (0, 1));
}

#[test]
fn anything_but_endpoints_is_compiled_anew() {
    let mission = include_str!("../golden/mission-model-routing.in.yaml");
    let mut compiler = Compiler::new(Settings::default());
    let before = compiler.update(&store(mission));
    let after = compiler.update(&store(&mission.replace("requestTimeout: 24h", "requestTimeout: 23h")));
    assert!(!Arc::ptr_eq(&before.snapshot, &after.snapshot));
    assert_eq!(before.snapshot.clusters[0].key, after.snapshot.clusters[0].key, "a cluster keeps its identity");
}

/// The TLS settings of all listeners that have any.
fn tls(compiled: &Compiled) -> BTreeMap<String, Arc<ServerTls>> {
    let listeners = compiled.snapshot.ports.iter().flat_map(Port::listeners);
    listeners.filter_map(|it| Some((it.name().to_string(), it.tls()?.clone()))).collect()
}

#[test]
fn tls_settings_are_kept_until_they_differ() {
    let yaml = include_str!("../golden/client-certificates.in.yaml");
    let mut compiler = Compiler::new(Settings::default());
    let first = compiler.update(&store(yaml));
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: another}\n\
                 spec: {parentRefs: [{name: gw}]}\n";
    let second = compiler.update(&store(&format!("{yaml}\n---\n{route}")));
    let (before, after) = (tls(&first), tls(&second));
    assert!(!Arc::ptr_eq(&first.snapshot, &second.snapshot) && before.len() > 5);
    assert!(before.iter().eq(&after) && before.values().zip(after.values()).all(|(before, after)| Arc::ptr_eq(before, after)));
    // One listener gets another certificate, and all that another asks of its clients changes.
    let certificate = |name: &str| format!("port: 9000, tls: {{certificateRefs: [{{name: {name}}}]}}");
    let changed = yaml.replace(&certificate("pkcs1"), &certificate("pkcs8"));
    let changed = changed.replace(
        "mode: AllowInsecureFallback, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: clients}]",
        "caCertificateRefs: [{group: \"\", kind: ConfigMap, name: clients}]",
    );
    let third = tls(&compiler.update(&store(&changed)));
    let differs: Vec<_> = third.iter().filter(|(name, tls)| !Arc::ptr_eq(&after[*name], tls)).map(|(name, _)| name).collect();
    assert_eq!(differs, ["default/gw/default", "default/insecure/default"]);
}

#[test]
fn the_mission_has_no_problems_but_true_ones() {
    for mission in
        [include_str!("../golden/mission-model-routing.in.yaml"), include_str!("../golden/mission-external-maas.in.yaml")]
    {
        let compiled = compiled(mission);
        assert_eq!(compiled.statuses.problems(), []);
        assert!(compiled.statuses.iter().all(|(key, _)| compiled.statuses.is_accepted(key)));
    }
}

#[test]
fn an_address_given_to_a_gateway_goes_before_its_own() {
    let yaml = include_str!("../golden/two-gateways-one-port.in.yaml");
    let mut settings = Settings::default();
    settings.gateway_addresses.insert(Name::new("default", "a-newer"), "127.0.0.7".parse().unwrap());
    let compiled = compile(&store(yaml), &settings);
    let addresses: Vec<_> = compiled.snapshot.ports.iter().map(|port| port.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:8080", "127.0.0.7:8080", "127.0.0.7:8081", "127.0.0.9:8081"]);
}

#[test]
fn statuses_serialise_as_kubernetes_has_them() {
    let compiled = compiled(include_str!("../golden/mission-model-routing.in.yaml"));
    let status = |group: &'static str, kind: &'static str, name: &str| {
        let key = ObjectKey::new(group, kind, "default", name);
        serde_json::to_value(compiled.statuses.get(&key).unwrap()).unwrap()
    };
    let route = status("gateway.networking.k8s.io", "HTTPRoute", "inference-route");
    assert_eq!(
        route["parents"][0]["parentRef"],
        serde_json::json!({
            "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "inference-gateway", "sectionName": "llm-gw"
        })
    );
    assert_eq!(route["parents"][0]["controllerName"], "gateway.envoyproxy.io/gatewayclass-controller");
    let gateway = status("gateway.networking.k8s.io", "Gateway", "inference-gateway");
    assert_eq!(gateway["listeners"][0]["attachedRoutes"], 1);
    assert_eq!(gateway["listeners"][0]["supportedKinds"][1]["kind"], "GRPCRoute");
    assert_eq!(gateway["conditions"][0]["observedGeneration"], 0);
    let pool = status("inference.networking.x-k8s.io", "InferencePool", "qwen-pool");
    assert_eq!(pool["parent"][0]["conditions"][0]["type"], "Accepted");
    assert_eq!(status("", "Pod", "qwen-0"), serde_json::json!({}));
}
