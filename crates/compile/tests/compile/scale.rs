//! Many routes: work grows with their number, not with its square.

use std::time::Duration;

use pailou_api::{NamespaceName, parse::parse};
use pailou_compile::{
    Settings, compile,
    store::{Entry, Store},
};

use crate::support::processor_time::processor_time;

fn store(routes: usize) -> Store {
    let mut yaml = String::from(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\n\
         spec: {gatewayClassName: pailou, listeners: [{name: http, protocol: HTTP, port: 80}]}\n",
    );
    for route in 0..routes {
        yaml.push_str(&format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{route}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{route}}}\n\
             spec: {{parentRefs: [{{name: gw}}], hostnames: [h{route}.example.com], rules: [{{backendRefs: [{{name: s{route}, port: 80}}]}}]}}\n"
        ));
    }
    let parsed = parse(yaml.as_bytes(), "routes", &NamespaceName::try_from("default").unwrap());
    assert_eq!(parsed.errors, []);
    let mut store = Store::new();
    for decoded in parsed.objects {
        store.insert(Entry::new(decoded, "routes".into())).unwrap();
    }
    store
}

/// The quickest of a few, for the machine may be busy.
fn quickest(store: &Store) -> Duration {
    let settings = Settings::default();
    let timed = (0..3).map(|_| {
        let start = processor_time();
        let compiled = compile(store, &settings);
        assert_eq!(compiled.snapshot.clusters.len() * 2 + 1, store.len());
        processor_time() - start
    });
    timed.min().unwrap()
}

#[test]
fn eight_times_the_routes_take_far_less_than_sixty_four_times_as_long() {
    let (few, many) = (quickest(&store(500)), quickest(&store(4_000)));
    println!("500 routes: {few:?}, 4,000 routes: {many:?}");
    assert!(many < few * 24, "500 routes: {few:?}, 4,000 routes: {many:?}");
}
