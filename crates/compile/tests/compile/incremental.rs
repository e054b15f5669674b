//! A compiler that has seen a store change step by step gives what one gives that sees the last state alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use pailou_api::{Kind, NamespaceName, Object, ObjectKey, parse::parse, undecodable::Undecodable};
use pailou_compile::{
    Compiled, Compiler, DataPlane, Mode, Settings, compile,
    status::GatewayAddress,
    store::{Entry, Store},
};
use pailou_snapshot::{EndpointKey, Name, Port};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{dump::dump, objects::with_meta, random::Random};

fn entries(yaml: &str) -> Vec<Entry> {
    let parsed = parse(yaml.as_bytes(), "in.yaml", &NamespaceName::try_from("default").unwrap());
    assert_eq!(parsed.errors, []);
    parsed.objects.into_iter().map(|decoded| Entry::new(decoded, "in.yaml".into())).collect()
}

/// The objects of all golden inputs. Many bear the name of another.
static ALL: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(".in.yaml"));
    paths.sort();
    paths.iter().flat_map(|path| entries(&fs::read_to_string(path).unwrap())).collect()
});

/// The object with another age or generation: order among rivals, and what statuses say.
fn touched(object: &Object, random: &mut Random) -> Object {
    let second = i64::try_from(random.below(5)).unwrap();
    let generation = i64::try_from(random.below(3)).unwrap();
    with_meta(object, |meta| {
        meta.creation_timestamp = (second > 0).then(|| Timestamp::from_second(1_700_000_000 + second).unwrap());
        meta.generation = generation;
    })
}

/// One change of a store: mostly of routes and of what they refer to, as in a cluster.
fn change(store: &mut Store, random: &mut Random) {
    let entry = &ALL[random.below(ALL.len())];
    if random.below(3) == 0 {
        store.delete(&entry.object.key());
        return;
    }
    if random.below(10) == 0 {
        if let Some(undecodable) = undecodable(&entry.object.key(), random) {
            store.set_undecodable(undecodable);
        }
        return;
    }
    let mut entry = entry.clone();
    if random.below(2) == 0 {
        entry.object = touched(&entry.object, random);
    }
    store.upsert(entry).unwrap();
}

/// The object as one that could not be decoded but for whom it concerns, which is somebody of the same namespace.
fn undecodable(key: &ObjectKey, random: &mut Random) -> Option<Undecodable> {
    let named = |kind: Kind| ALL.iter().map(|entry| entry.object.key()).filter(move |it| it.kind == kind.name());
    let gateways: Vec<_> = named(Kind::Gateway).filter(|it| it.namespace == key.namespace).collect();
    let gateway = gateways.get(random.below(gateways.len().max(1)))?;
    let target = json!({"group": gateway.group, "kind": gateway.kind, "name": gateway.name});
    let spec = json!({
        "gatewayClassName": "pailou",
        "parentRef": target,
        "parentRefs": [target],
        "targetRefs": [target],
    });
    let metadata = json!({"name": key.name, "namespace": key.namespace, "generation": random.below(5)});
    let object = json!({"apiVersion": format!("{}/v1", key.group), "kind": key.kind, "metadata": metadata, "spec": spec});
    Undecodable::new(&object, &NamespaceName::try_from("default").unwrap(), &[])
}

/// The difference between two compilations.
fn difference(one: &Compiled, other: &Compiled) -> Option<String> {
    let (first, second) = (dump(one), dump(other));
    if first != second {
        let lines = first.lines().zip(second.lines()).find(|(one, other)| one != other);
        return Some(format!("{} and {} lines, at first {lines:?}", first.lines().count(), second.lines().count()));
    }
    let keys = |compiled: &Compiled| compiled.snapshot.clusters.iter().map(|cluster| cluster.key.clone()).collect::<Vec<_>>();
    let listeners = |compiled: &Compiled| {
        let ports = compiled.snapshot.ports.iter();
        ports.map(|port: &Port| (port.key(), port.number, port.client.clone(), port.listeners().len())).collect::<Vec<_>>()
    };
    let differs = [
        ("statuses", one.statuses != other.statuses),
        ("endpoints", one.endpoints != other.endpoints),
        ("clusters", keys(one) != keys(other)),
        ("breakers", one.snapshot.breakers != other.snapshot.breakers),
        ("ports", listeners(one) != listeners(other)),
    ];
    differs.into_iter().find(|(_, differs)| *differs).map(|(what, _)| what.to_owned())
}

fn settings(mode: Mode) -> Settings {
    let settings = if mode == Mode::Cluster { Settings::cluster() } else { Settings::default() };
    Settings { classes: Settings::default().classes, ..settings }
}

/// Random state of some of the data planes.
fn data_planes(random: &mut Random) -> BTreeMap<Name, DataPlane> {
    let gateways = ALL.iter().filter(|entry| matches!(entry.object, Object::Gateway(_)));
    let mut planes = BTreeMap::new();
    for meta in gateways.map(|entry| entry.object.meta()) {
        if random.below(2) == 0 {
            continue;
        }
        let addresses = (0..random.below(3)).map(|last| GatewayAddress::ip([192, 0, 2, u8::try_from(last).unwrap()].into()));
        let plane = DataPlane {
            addresses: addresses.collect(),
            ready: random.below(2) == 0,
            refused: (random.below(8) == 0).then(|| "a quota is exceeded".to_owned()),
            ..DataPlane::default()
        };
        planes.insert(Name::new(&meta.namespace, &meta.name), plane);
    }
    planes
}

/// Changes a store and what is known of data planes step by step, and compares after each.
fn follow(seed: u64, steps: usize, mode: Mode) -> Result<(), String> {
    let random = &mut Random(seed);
    let mut settings = settings(mode);
    let mut compiler = Compiler::new(settings.clone());
    let mut store = Store::new();
    for step in 0..steps {
        // At first much, then now and then as much as a reload brings, and mostly little.
        let changes = match (step, random.below(12)) {
            (0, _) => ALL.len(),
            (_, 0) => 120,
            (_, some) => 1 + some / 4,
        };
        let are_planes_new = step > 0 && random.below(4) == 0;
        if are_planes_new {
            settings.data_planes = Some(data_planes(random));
            compiler.settle(&settings);
        }
        let changes = if are_planes_new && random.below(2) == 0 { 0 } else { changes };
        (0..changes).for_each(|_| change(&mut store, random));
        let found = compiler.update(&store);
        if let Some(difference) = difference(&found, &compile(&store, &settings)) {
            return Err(format!("step {step}: {difference}"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_remembered_changes_nothing_of_what_comes_out(seed in any::<u64>(), is_cluster in any::<bool>()) {
        let mode = if is_cluster { Mode::Cluster } else { Mode::Standalone };
        prop_assert_eq!(follow(seed, 24, mode), Ok(()));
    }
}

/// Each object of the golden inputs is taken out of its input by itself, and put back.
#[test]
fn every_object_can_go_and_come_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if !path.to_str().unwrap().ends_with(".in.yaml") {
            continue;
        }
        let settings = settings(Mode::Standalone);
        let all = entries(&fs::read_to_string(&path).unwrap());
        let mut store = Store::new();
        for entry in &all {
            store.upsert(entry.clone()).unwrap();
        }
        let whole = compile(&store, &settings);
        let mut compiler = Compiler::new(settings.clone());
        compiler.update(&store);
        for entry in &all {
            let taken = store.delete(&entry.object.key()).unwrap();
            let without = difference(&compiler.update(&store), &compile(&store, &settings));
            assert_eq!(without, None, "{}: without {}", path.display(), entry.object.key());
            store.upsert(taken).unwrap();
            let again = difference(&compiler.update(&store), &whole);
            assert_eq!(again, None, "{}: {} came back", path.display(), entry.object.key());
        }
    }
}

const ROUTES: &str = include_str!("../golden/precedence.in.yaml");

/// A part without changes is not only equal, but the same: clones share it, and a comparison notices at once.
#[test]
fn what_a_change_does_not_concern_stays_the_same() {
    let settings = settings(Mode::Standalone);
    let mut store = Store::new();
    for entry in entries(ROUTES) {
        store.upsert(entry).unwrap();
    }
    let mut compiler = Compiler::new(settings);
    let before = compiler.update(&store);
    assert!(Arc::ptr_eq(&compiler.update(&store).statuses, &before.statuses), "nothing has changed");
    let more = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: zz-new}
spec: {parentRefs: [{name: nowhere}], hostnames: [new.example], rules: [{backendRefs: [{name: nothing, port: 80}]}]}
";
    for entry in entries(more) {
        store.upsert(entry).unwrap();
    }
    let after = compiler.update(&store);
    let changed: BTreeSet<&ObjectKey> = after.statuses.changed_since(&before.statuses).map(|it| &**it.key).collect();
    assert_eq!(changed.into_iter().map(ToString::to_string).collect::<Vec<_>>(), ["HTTPRoute default/zz-new"]);
    assert!(!before.snapshot.clusters.is_empty());
    for (before, after) in before.snapshot.clusters.iter().zip(&after.snapshot.clusters) {
        assert!(Arc::ptr_eq(before, after), "{} is made anew", before.key.endpoints);
    }
    let kinds: BTreeSet<Kind> = store.iter().map(|(_, entry)| entry.object.kind()).collect();
    assert!(kinds.contains(&Kind::HttpRoute) && before.endpoints.keys().all(|key| matches!(key, EndpointKey::Service(..))));
}
