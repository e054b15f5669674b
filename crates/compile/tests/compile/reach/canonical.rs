//! One Gateway's part of a compilation, whatever else there is.

use std::collections::BTreeSet;

use pailou_compile::Compiled;
use pailou_snapshot::{Action, Backends, ClusterId, ListenerRef, Name, Port, Snapshot};

use crate::support::dump;

/// Its ports, rules, clusters and endpoints; nothing where it is not served.
pub(crate) fn of_gateway(compiled: &Compiled, gateway: &Name) -> String {
    let whole = &*compiled.snapshot;
    let own = |port: &&Port| port.listeners().into_iter().any(|it| it.name().gateway == *gateway);
    let ports: Vec<_> = whole.ports.iter().filter(own).cloned().collect();
    if ports.is_empty() {
        return String::new();
    }
    let mut lines = BTreeSet::new();
    for ids in ports.iter().flat_map(Port::listeners).flat_map(clusters) {
        for id in ids {
            let cluster = whole.cluster(id);
            let mut text = String::new();
            dump::cluster(&mut text, cluster);
            let endpoints = &compiled.endpoints[&cluster.key.endpoints];
            lines.insert(format!("{:?}\n{text}{endpoints:?}\n", cluster.key));
        }
    }
    let part = Snapshot {
        ports,
        clusters: whole.clusters.clone(),
        breakers: whole.breakers.clone(),
        documents: Vec::new(),
        session_cookies: None,
        base_models: whole.base_models.clone(),
        limit_store: whole.limit_store.clone(),
        limit_service: whole.limit_service.clone(),
        metric_sinks: Vec::new(),
        hides_prometheus: false,
        prometheus_compression: None,
    };
    let mut text = format!("{:?}\n{:?}\n{:?}\n", part.base_models, part.limit_store, part.limit_service);
    dump::ports(&mut text, &part);
    dump::rules(&mut text, &part);
    dump::forwards(&mut text, &part);
    // Clusters are numbered otherwise where there are fewer.
    let text = regex::Regex::new(r"cluster \d+ ").unwrap().replace_all(&text, "cluster ").into_owned();
    text + &lines.into_iter().collect::<String>()
}

/// The clusters that each rule of a listener leads to.
fn clusters(listener: ListenerRef<'_>) -> Vec<Vec<ClusterId>> {
    let forwards = |backends: &Backends| backends.iter().filter_map(|it| it.cluster.clone().ok()).collect::<Vec<_>>();
    match listener {
        ListenerRef::Connections(listener) => {
            listener.routes.values().filter_map(|forward| forward.backends.as_ref().ok()).map(forwards).collect()
        }
        ListenerRef::Http(listener) => {
            let rules = listener.routes.entries().map(|entry| &entry.rule);
            let ids = rules.map(|rule| {
                let mut ids: Vec<_> = rule.filters.mirrors.iter().map(|mirror| mirror.cluster).collect();
                if let Action::Forward(backends) = &rule.action {
                    ids.extend(forwards(backends));
                    ids.extend(backends.iter().flat_map(|backend| &backend.filters.mirrors).map(|mirror| mirror.cluster));
                }
                ids
            });
            ids.collect()
        }
    }
}
