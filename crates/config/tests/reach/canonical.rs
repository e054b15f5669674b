//! What one Gateway's part of a compilation comes to, whatever else there is.

use std::collections::BTreeSet;

use pailou_config::{
    compile::Compiled,
    snapshot::{Action, Listener, Name, Snapshot},
};

use crate::dump;

/// Its ports, rules, clusters and endpoints; nothing where it is not served.
pub(crate) fn of_gateway(compiled: &Compiled, gateway: &Name) -> String {
    let whole = &*compiled.snapshot;
    let is_own = |listener: &Listener| listener.name.gateway == *gateway;
    let own = |port: &&pailou_config::snapshot::Port| port.listeners.values().any(|it| is_own(it));
    let ports: Vec<_> = whole.ports.iter().filter(own).cloned().collect();
    if ports.is_empty() {
        return String::new();
    }
    let mut lines = BTreeSet::new();
    for rule in ports.iter().flat_map(|port| port.listeners.values()).flat_map(|it| it.routes.entries()).map(|it| &it.rule) {
        let mut ids: Vec<_> = rule.filters.mirrors.iter().map(|mirror| mirror.cluster).collect();
        if let Action::Forward(backends) = &rule.action {
            ids.extend(backends.iter().filter_map(|backend| backend.cluster.as_ref().ok()));
            ids.extend(backends.iter().flat_map(|backend| &backend.filters.mirrors).map(|mirror| mirror.cluster));
        }
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
        base_models: whole.base_models.clone(),
    };
    let mut text = format!("{:?}\n", part.base_models);
    dump::ports(&mut text, &part);
    dump::rules(&mut text, &part);
    // Clusters are numbered otherwise where there are fewer.
    let text = regex::Regex::new(r"cluster \d+ ").unwrap().replace_all(&text, "cluster ").into_owned();
    text + &lines.into_iter().collect::<String>()
}
