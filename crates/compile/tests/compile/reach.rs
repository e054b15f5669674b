//! A Gateway's proxies get enough objects, and no Secret too many.

mod canonical;
mod random_objects;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
    time::Duration,
};

use pailou_api::{Gateway, NamespaceName, Object, ObjectKey, parse::parse};
use pailou_compile::{
    Indexed, SessionKeySource, Settings, compile,
    reach::{Moved, Needs, Reaches, reach},
    store::{Entry, Store},
};
use pailou_snapshot::Name;
use proptest::prelude::*;

use crate::support::{objects::with_meta, processor_time::processor_time};

fn entries(yaml: &str) -> Vec<Entry> {
    let parsed = parse(yaml.as_bytes(), "in.yaml", &NamespaceName::try_from("default").unwrap());
    parsed.objects.into_iter().map(|decoded| Entry::new(decoded, "in.yaml".into())).collect()
}

fn store(entries: impl IntoIterator<Item = Entry>) -> Store {
    let mut store = Store::new();
    for entry in entries {
        store.upsert(entry).unwrap();
    }
    store
}

/// The inputs of the golden tests.
fn goldens() -> Vec<(String, Vec<Entry>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(".in.yaml"));
    paths.sort();
    paths.iter().map(|path| (path.display().to_string(), entries(&fs::read_to_string(path).unwrap()))).collect()
}

/// A cluster's, with the classes of the golden inputs.
fn settings() -> Settings {
    let session_key = SessionKeySource { namespace: Some("default".to_owned()), fallback: None };
    Settings { classes: Settings::default().classes, session_key, ..Settings::cluster() }
}

fn only(store: &Store, keys: &BTreeSet<ObjectKey>) -> Store {
    self::store(keys.iter().map(|key| store.entry(key).expect("only what there is is reached").clone()))
}

/// How many Gateways were compared.
fn check(store: &Store) -> Result<usize, String> {
    let settings = settings();
    let everything = compile(store, &settings);
    let indexed = Indexed::new(store);
    let reaches = Reaches::new(&indexed, &settings);
    let mut count = 0;
    for gateway in store.all::<Gateway>() {
        let name = Name::new(&gateway.meta.namespace, &gateway.meta.name);
        let little = compile(&only(store, &reaches.of(&name).into_iter().cloned().collect()), &settings);
        let (all, own) = (canonical::of_gateway(&everything, &name), canonical::of_gateway(&little, &name));
        if all != own {
            let differs = all.lines().zip(own.lines()).find(|(all, own)| all != own);
            return Err(format!("Gateway {name}: {} and {} lines, at first {differs:?}", all.lines().count(), own.lines().count()));
        }
        count += usize::from(!all.is_empty());
    }
    Ok(count)
}

#[test]
fn compiling_what_a_gateway_reaches_gives_what_compiling_everything_gives() {
    let mut count = 0;
    for (path, entries) in goldens() {
        count += check(&store(entries)).unwrap_or_else(|difference| panic!("{path}: {difference}"));
    }
    assert!(count > 30, "only {count} Gateways were served");
}

/// All golden inputs in one.
static ALL: LazyLock<Vec<Entry>> = LazyLock::new(|| goldens().into_iter().flat_map(|(_, entries)| entries).collect());

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// All golden inputs in one store, of which objects are missing; of objects that bear one name any may be there.
    #[test]
    fn whatever_is_missing_it_is_enough(seed in any::<u64>(), share in 0.5..1.0_f64) {
        let mut all = ALL.clone();
        let mut state = seed;
        let mut random = || {
            // Splitmix64: a list of this length would be long to shrink.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 11
        };
        all.retain(|_| (random() as f64) < share * (1_u64 << 53) as f64);
        let mut all: Vec<_> = all.into_iter().map(|entry| (random(), entry)).collect();
        all.sort_by_key(|(place, _)| *place);
        prop_assert_eq!(check(&store(all.into_iter().map(|(_, entry)| entry))).err(), None);
    }
}

const TWO: &str = include_str!("reach/two-gateways.yaml");

#[test]
fn a_gateway_reaches_its_own_and_nothing_of_another_ones() {
    let store = store(entries(TWO));
    let found = |name: &str| -> Vec<String> {
        reach(&store, &settings(), &Name::new("infra", name)).iter().map(ToString::to_string).collect()
    };
    insta::assert_snapshot!(found("one").join("\n"), @"
    Namespace apps
    Pod apps/engine
    Secret apps/key
    Secret certs/granted
    Secret infra/one
    Service apps/mirror
    Service apps/picker
    EndpointSlice apps/picker-1
    BackendTrafficPolicy apps/by-label
    HTTPRouteFilter apps/key
    Gateway infra/one
    GatewayClass pailou
    HTTPRoute apps/models
    ReferenceGrant certs/one
    InferencePool apps/pool
    InferenceObjective apps/urgent
    ");
    insta::assert_snapshot!(found("two").join("\n"), @"
    ConfigMap other/more-roots
    ConfigMap other/roots
    Namespace apps
    Secret certs/for-sets
    Secret other/client
    Service other/service
    ClusterTrustBundle bundle
    EndpointSlice other/service-1
    Backend other/hosted
    ClientTrafficPolicy apps/of-set
    ClientTrafficPolicy infra/of-two
    BackendTLSPolicy other/service
    GRPCRoute other/calls
    Gateway infra/two
    GatewayClass pailou
    ListenerSet apps/allowed
    ReferenceGrant certs/sets
    ");
    assert_eq!(found("missing"), Vec::<String>::new());
}

#[test]
fn the_key_of_sessions_is_reached_where_a_policy_logs_clients_in() {
    let yaml = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: pailou}
spec: {controllerName: pailou.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: with, namespace: apps}
spec: {gatewayClassName: pailou, listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: without, namespace: apps}
spec: {gatewayClassName: pailou, listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: login, namespace: apps}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: with}]
  oidc: {provider: {issuer: "https://id.example.com"}, clientID: shop, clientSecret: {name: client}}
---
apiVersion: v1
kind: Secret
metadata: {name: client, namespace: apps}
---
apiVersion: v1
kind: Secret
metadata: {name: envoy-oidc-hmac, namespace: apps}
---
apiVersion: v1
kind: Secret
metadata: {name: envoy-oidc-hmac, namespace: default}
"#;
    let store = store(entries(yaml));
    let secrets = |name: &str| -> Vec<String> {
        let reached = reach(&store, &settings(), &Name::new("apps", name));
        reached.iter().filter(|key| key.kind == "Secret").map(ToString::to_string).collect()
    };
    assert_eq!(secrets("with"), ["Secret apps/client", "Secret default/envoy-oidc-hmac"]);
    assert!(secrets("without").is_empty());
}

#[test]
fn a_route_for_connections_is_reached_where_it_is_attached_not_where_it_asks_to_be() {
    let yaml = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: pailou
  listeners:
  - {name: tcp, protocol: TCP, port: 5432}
  - {name: udp, protocol: UDP, port: 53, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: attached}
spec: {parentRefs: [{name: gw, sectionName: tcp}], rules: [{backendRefs: [{name: one, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: not-allowed, namespace: elsewhere}
spec: {parentRefs: [{name: gw, namespace: default, sectionName: tcp}], rules: [{backendRefs: [{name: two, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: allowed, namespace: elsewhere}
spec: {parentRefs: [{name: gw, namespace: default}], rules: [{backendRefs: [{name: three, port: 53}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: elsewhere}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: three, namespace: elsewhere}
spec: {ports: [{port: 53, protocol: UDP}]}
"#;
    let found = reach(&store(entries(yaml)), &settings(), &Name::new("default", "gw"));
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    let expected = [
        "Service default/one",
        "Service elsewhere/three",
        "Gateway default/gw",
        "TCPRoute default/attached",
        "UDPRoute elsewhere/allowed",
    ];
    assert_eq!(found, expected);
}

/// Gateways with ten routes each, all in one namespace, each route with a policy.
fn many(gateways: usize) -> Store {
    let mut yaml = String::new();
    for gateway in 0..gateways {
        yaml.push_str(&format!(
            "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: g{gateway}}}, spec: {{gatewayClassName: pailou, \
             listeners: [{{name: http, protocol: HTTP, port: 80}}]}}}}\n"
        ));
        for route in 0..10 {
            let name = format!("r{gateway}-{route}");
            yaml.push_str(&format!(
                "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80}}]}}}}\n---\n\
                 {{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}}}, \
                 spec: {{parentRefs: [{{name: g{gateway}}}], rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]}}}}\n---\n\
                 {{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: BackendTrafficPolicy, metadata: {{name: {name}}}, \
                 spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]}}}}\n"
            ));
        }
    }
    store(entries(&yaml))
}

/// The quickest of a few, for the machine may be busy.
fn quickest(store: &Store, gateways: usize) -> Duration {
    let settings = settings();
    let timed = (0..3).map(|_| {
        let start = processor_time();
        let indexed = Indexed::new(store);
        let reaches = Reaches::new(&indexed, &settings);
        let found = (0..gateways).map(|it| reaches.of(&Name::new("default", &format!("g{it}"))).len());
        assert_eq!(found.sum::<usize>(), store.len(), "each object is one Gateway's");
        processor_time() - start
    });
    timed.min().unwrap()
}

#[test]
fn asking_for_every_gateway_takes_time_in_proportion_to_the_store() {
    let (few, lots) = (quickest(&many(100), 100), quickest(&many(400), 400));
    println!("100 Gateways: {few:?}, 400 Gateways: {lots:?}");
    assert!(lots < few * 12, "100 Gateways: {few:?}, 400 Gateways: {lots:?}");
}

/// The entry with the labels of another, or of a newer generation.
fn relabelled(entry: &Entry, other: &Entry, takes_labels: bool) -> Entry {
    let object = with_meta(&entry.object, |meta| match takes_labels {
        true => meta.labels = other.object.meta().labels.clone(),
        false => meta.generation += 1,
    });
    Entry { object, ..entry.clone() }
}

/// Checks that a change reported as leaving needs alone does so. Returns how often that was reported.
fn unmoved(all: &[Entry], changes: &[(usize, usize, u8)]) -> Result<usize, String> {
    let settings = settings();
    let mut store = store(all.iter().cloned());
    let mut indexed = Indexed::default();
    indexed.update(&store);
    let reached = |store: &Store, indexed: &Indexed| {
        let reaches = Reaches::new(indexed, &settings);
        let gateways = store.all::<Gateway>().map(|gateway| Name::new(&gateway.meta.namespace, &gateway.meta.name));
        gateways.map(|name| reaches.of(&name).into_iter().cloned().collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let mut before = reached(&store, &indexed);
    let mut said = 0;
    for &(which, other, how) in changes {
        let (entry, other) = (&all[which], &all[other]);
        let key = entry.object.key();
        match how {
            0 => drop(store.delete(&key)),
            how => store.upsert(relabelled(entry, other, how % 2 == 0)).map(drop).unwrap(),
        }
        let (changed, is_same) = indexed.update(&store);
        if changed.iter().any(|it| **it != key) {
            return Err(format!("{changed:?} changed, and not {key}"));
        }
        let now = reached(&store, &indexed);
        if is_same && before != now {
            return Err(format!("{key} has moved what is reached"));
        }
        said += usize::from(is_same && !changed.is_empty());
        before = now;
    }
    Ok(said)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_to_be_reached_as_before_is(
        input in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6u8), 1..40),
    ) {
        let goldens = goldens();
        let (path, all) = &goldens[input.index(goldens.len())];
        let changes: Vec<_> = changes.iter().map(|(which, other, how)| (which.index(all.len()), other.index(all.len()), *how)).collect();
        prop_assert_eq!(unmoved(all, &changes).err(), None, "{}", path);
    }
}

/// Checks that needs kept up to date equal those found anew after each change, and that all moves are reported.
fn kept(all: &[Entry], changes: &[(usize, usize, u8)]) -> Result<(), String> {
    let settings = settings();
    let mut store = Store::new();
    let mut needs = Needs::default();
    let mut before: BTreeMap<Name, BTreeSet<ObjectKey>> = BTreeMap::new();
    let fill = (0..all.len()).map(|it| (it, it, 6));
    for (which, other, how) in fill.chain(changes.iter().copied()) {
        let entry = &all[which];
        let key = entry.object.key();
        match how {
            0 => drop(store.delete(&key)),
            6 => drop(store.upsert(entry.clone())),
            how => drop(store.upsert(relabelled(entry, &all[other], how % 2 == 0))),
        }
        // Some changes are taken in together with the next.
        if which % 5 == 4 && how < 6 {
            continue;
        }
        needs.update(&store, &settings);
        let indexed = Indexed::new(&store);
        let reaches = Reaches::new(&indexed, &settings);
        for gateway in all.iter().filter_map(|entry| if let Object::Gateway(it) = &entry.object { Some(it) } else { None }) {
            let name = Name::new(&gateway.meta.namespace, &gateway.meta.name);
            let anew: BTreeSet<ObjectKey> = reaches.of(&name).into_iter().cloned().collect();
            let now: BTreeSet<ObjectKey> = needs.of(&name).map(|key| (**key).clone()).collect();
            if now != anew {
                return Err(format!("after {key}, Gateway {name}: {:?}", now.symmetric_difference(&anew).collect::<Vec<_>>()));
            }
            let then = before.insert(name.clone(), now.clone()).unwrap_or_default();
            if let Moved::These(moved) = needs.moved(&name)
                && let Some(silent) = then.symmetric_difference(&now).find(|key| moved.iter().all(|it| **it != **key))
            {
                return Err(format!("after {key}, {silent} moved for Gateway {name}, and it was not said"));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_up_to_date_is_what_is_found_anew(
        input in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..7u8), 1..60),
    ) {
        let goldens = goldens();
        let (path, all) = &goldens[input.index(goldens.len())];
        let changes: Vec<_> = changes.iter().map(|(which, other, how)| (which.index(all.len()), other.index(all.len()), *how)).collect();
        prop_assert_eq!(kept(all, &changes).err(), None, "{}", path);
    }
}

#[test]
fn endpoints_and_secrets_that_change_leave_what_is_reached_alone() {
    let mut tried = 0;
    for (path, all) in goldens() {
        let is_one = |entry: &Entry| matches!(entry.object, Object::Pod(_) | Object::EndpointSlice(_) | Object::Secret(_));
        let changes: Vec<_> = (0..all.len()).filter(|&place| is_one(&all[place])).map(|place| (place, place, 1)).collect();
        assert_eq!(unmoved(&all, &changes), Ok(changes.len()), "{path}");
        tried += changes.len();
    }
    assert!(tried > 10);
}
