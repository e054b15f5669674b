//! Cost of thousands of routes: `cargo bench -p pailou-compile`. Prints the quickest of a few runs of each, for the machine may
//! be busy, and the memory of the process. Arguments after `--`: number of HTTPRoutes (5,000) and of ListenerSets (0).

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use pailou_api::{NamespaceName, parse::parse_object};
use pailou_compile::{
    Compiled, Compiler, DataPlane, Indexed, Settings, compile,
    reach::{Needs, Reaches},
    store::{Entry, Store},
};
use pailou_snapshot::Name;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERVICES: usize = 500;
const CHURNING: usize = 100;
const PER_SERVICE: usize = 10;
const NAMESPACE: &str = "scale";

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let routes = numbers.first().copied().unwrap_or(5_000);
    let sets = numbers.get(1).copied().unwrap_or(0);
    println!("{routes} HTTPRoutes, {sets} ListenerSets, {SERVICES} Services, {} endpoints that change", CHURNING * PER_SERVICE);
    let settings = settings();
    let empty = memory();
    let mut store = store(routes, sets);
    let stored = memory();
    println!("memory: {empty:.1} MB at first, store {:.1} MB", stored - empty);
    let before = memory();
    let mut compiler = Compiler::new(settings.clone());
    let mut last = compiler.update(&store);
    println!("memory: {:.1} MB for a compiler and what it gave, {:.1} MB in all", memory() - before, memory());
    say("compile all", quickest(5, || compile(&store, &settings)));
    say("compile, nothing changed", quickest(20, || compiler.update(&store)));
    let mut times = Vec::new();
    for round in 1..20 {
        put(&mut store, churn_slice(round % CHURNING, round));
        let start = Instant::now();
        last = compiler.update(&store);
        times.push(start.elapsed());
    }
    say("compile, endpoints of one Service changed", best(times));
    Changes { store, compiler, last, sets, settings }.measure();
}

struct Changes {
    store: Store,
    compiler: Compiler,
    last: Compiled,
    sets: usize,
    settings: Settings,
}

impl Changes {
    fn measure(mut self) {
        let mut times = Vec::new();
        for i in 0..100 {
            put(&mut self.store, route(&format!("new{i}"), i, self.sets, "2026-11-23T12:00:00Z"));
            times.push(self.update());
        }
        say("compile, a route was created", best(times));
        let mut times = Vec::new();
        for i in 0..20 {
            put(&mut self.store, route(&format!("r{}", 10 + i), 10 + i + 1, self.sets, "2026-11-23T11:00:00Z"));
            times.push(self.update());
        }
        say("compile, an old route leads elsewhere", best(times));
        let mut times = Vec::new();
        for i in 0..20 {
            let key = entry(route(&format!("r{i}"), i, self.sets, "2026-11-23T11:00:00Z")).object.key();
            self.store.delete(&key);
            times.push(self.update());
        }
        say("compile, an old route was deleted", best(times));
        println!("memory: {:.1} MB in all", memory());
        let gateway = Name::new(NAMESPACE, "scale");
        say("reach, everything anew", quickest(5, || Reaches::new(&Indexed::new(&self.store), &self.settings).of(&gateway).len()));
        let before = memory();
        let mut needs = Needs::default();
        needs.update(&self.store, &self.settings);
        println!("memory: {:.1} MB for what Gateways reach", memory() - before);
        let mut times = Vec::new();
        for i in 0..50 {
            put(&mut self.store, route(&format!("newer{i}"), i, self.sets, "2026-11-23T12:00:01Z"));
            let start = Instant::now();
            needs.update(&self.store, &self.settings);
            times.push(start.elapsed());
        }
        say("reach, a route was created", best(times));
        say("a copy of the store", quickest(5, || self.store.clone()));
        assert!(!self.last.snapshot.ports.is_empty(), "something is served");
    }

    fn update(&mut self) -> Duration {
        let start = Instant::now();
        let compiled = self.compiler.update(&self.store);
        let took = start.elapsed();
        self.last = compiled;
        took
    }
}

fn settings() -> Settings {
    let itself = DataPlane { ready: true, ..DataPlane::default() };
    Settings { data_planes: Some([(Name::new(NAMESPACE, "scale"), itself)].into()), ..Settings::cluster() }
}

fn say(what: &str, took: Duration) {
    println!("{what}: {:.2} ms", took.as_secs_f64() * 1e3);
}

fn quickest<T>(times: usize, mut work: impl FnMut() -> T) -> Duration {
    let timed = (0..times).map(|_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    });
    timed.min().unwrap_or_default()
}

fn best(times: Vec<Duration>) -> Duration {
    times.into_iter().min().unwrap_or_default()
}

/// Resident memory, in MB.
fn memory() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096.0 / 1e6
}

fn store(routes: usize, sets: usize) -> Store {
    let mut store = Store::new();
    put(
        &mut store,
        json!({"apiVersion": GATEWAY, "kind": "GatewayClass", "metadata": {"name": "pailou"},
        "spec": {"controllerName": "pailou.dev/gateway-controller"}}),
    );
    put(
        &mut store,
        json!({"apiVersion": GATEWAY, "kind": "Gateway", "metadata": meta("scale"), "spec": {
        "gatewayClassName": "pailou", "listeners": [{"name": "http", "protocol": "HTTP", "port": 8080}],
        "allowedListeners": {"namespaces": {"from": "Same"}}}}),
    );
    for i in 0..SERVICES {
        put(&mut store, service(&format!("s{i}")));
        put(&mut store, slice(&format!("s{i}"), &["10.1.2.3".to_owned()]));
    }
    for i in 0..CHURNING {
        put(&mut store, service(&format!("churn{i}")));
        put(&mut store, churn_slice(i, 0));
        let name = format!("churn{i}");
        put(&mut store, route_to(&json!({"name": "scale"}), &name, &format!("{name}.example.com"), &name, "2026-11-23T10:00:00Z"));
    }
    for i in 0..sets {
        put(
            &mut store,
            json!({"apiVersion": GATEWAY, "kind": "ListenerSet", "metadata": meta(&format!("set{i}")), "spec": {
            "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "scale"},
            "listeners": [{"name": "http", "protocol": "HTTP", "port": 8080, "hostname": format!("*.set{i}.example.com")}]}}),
        );
    }
    for i in 0..routes {
        let created = format!("2026-11-23T11:{:02}:{:02}Z", i / 100 / 60 % 60, i / 100 % 60);
        put(&mut store, route(&format!("r{i}"), i, sets, &created));
    }
    store
}

const GATEWAY: &str = "gateway.networking.k8s.io/v1";

fn put(store: &mut Store, object: Value) {
    store.upsert(entry(object)).expect("there is room");
}

fn entry(object: Value) -> Entry {
    let namespace = NamespaceName::try_from("default").expect("a name");
    Entry::new(parse_object(object, "bench", &namespace).expect("an object"), "bench".into())
}

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": NAMESPACE, "uid": format!("8d6e3f6a-7d52-4ec1-9a2f-{name}"), "generation": 1,
        "creationTimestamp": "2026-11-23T10:00:00Z"})
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(name), "spec": {
        "clusterIP": "10.96.0.1", "type": "ClusterIP", "ports": [{"port": 80, "targetPort": 8000, "protocol": "TCP"}]}})
}

fn slice(service: &str, addresses: &[String]) -> Value {
    let endpoints: Vec<_> = addresses.iter().map(|it| json!({"addresses": [it], "conditions": {"ready": true}})).collect();
    let mut meta = meta(service);
    meta["labels"] = json!({"kubernetes.io/service-name": service});
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4",
        "endpoints": endpoints, "ports": [{"port": 8000}]})
}

fn churn_slice(service: usize, round: usize) -> Value {
    let addresses: Vec<_> = (0..PER_SERVICE).map(|it| format!("203.0.{service}.{}", 1 + round % 20 * PER_SERVICE + it)).collect();
    slice(&format!("churn{service}"), &addresses)
}

fn route(name: &str, i: usize, sets: usize, created: &str) -> Value {
    let service = format!("s{}", i % SERVICES);
    if sets == 0 {
        return route_to(&json!({"name": "scale"}), name, &format!("{name}.example.com"), &service, created);
    }
    let set = i % sets;
    let parent = json!({"group": "gateway.networking.k8s.io", "kind": "ListenerSet", "name": format!("set{set}")});
    route_to(&parent, name, &format!("{name}.set{set}.example.com"), &service, created)
}

fn route_to(parent: &Value, name: &str, host: &str, service: &str, created: &str) -> Value {
    let mut meta = meta(name);
    meta["creationTimestamp"] = json!(created);
    json!({"apiVersion": GATEWAY, "kind": "HTTPRoute", "metadata": meta, "spec": {
        "parentRefs": [parent], "hostnames": [host], "rules": [{"backendRefs": [{"name": service, "port": 80}]}]}})
}
