//! Rules with their backends, as `envoy_cluster_*`: a cluster of Envoy Gateway's is a rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use pailou_snapshot::{Action, ListenerRef, Port, RouteName, Rule};
use pailou_telemetry::metric_table::{counters, gauges, histograms};
use prometheus_client::encoding::DescriptorEncoder;

use tokio::time::Instant;

use super::Total;
use crate::{
    cluster::ClusterState,
    context::Context,
    metrics::{
        envoy_series::{CLASSES, MAX_CLUSTERS},
        opened_connections::OpenedConnections,
    },
    runtime::Runtime,
};

const CLUSTER: &str = "envoy_cluster_name";

/// Figures of a rule.
#[derive(Default)]
struct Cluster {
    attempts: Total,
    received: u64,
    sent: u64,
    endpoints: u64,
    healthy: u64,
    ejected: u64,
    connections: u64,
    /// Ever.
    opened: u64,
}

type Clusters = BTreeMap<String, Cluster>;

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, context: &Context, runtime: &Runtime) -> fmt::Result {
    let mut all = Clusters::new();
    members(&mut all, runtime, &mut context.metrics.envoy.opened.lock());
    context.metrics.envoy.each_cluster(|rule, series| {
        let cluster = of(&mut all, rule);
        cluster.attempts.add(&series.attempts);
        cluster.sent += series.request_bytes.load(Relaxed);
        cluster.received += series.response_bytes.load(Relaxed);
    });
    let rows: Vec<_> = all.iter().map(|(name, cluster)| ([(CLUSTER, name.as_str())], cluster)).collect();
    write(encoder, &rows)
}

fn of<'a>(all: &'a mut Clusters, rule: Option<&RouteName>) -> &'a mut Cluster {
    all.entry(rule.map_or_else(|| "other".to_owned(), name)).or_default()
}

/// Envoy Gateway's name of a rule's cluster.
fn name(rule: &RouteName) -> String {
    let kind = rule.kind.name().to_lowercase();
    format!("{kind}/{}/{}/rule/{}", rule.name.namespace, rule.name.name, rule.rule)
}

/// Endpoints of all rules that are served.
fn members(all: &mut Clusters, runtime: &Runtime, opened: &mut OpenedConnections) {
    let mut seen = BTreeSet::new();
    // Rules of one name may lead to several clusters of one backend, which are the name's together.
    let mut reached = BTreeMap::new();
    for rule in rules(runtime).filter(|rule| seen.insert(Arc::as_ptr(rule).addr())).take(MAX_CLUSTERS) {
        let Action::Forward(backends) = &rule.action else { continue };
        let clusters: BTreeMap<_, _> =
            backends.iter().filter_map(|backend| backend.cluster.as_ref().ok()).map(|id| (id.0, runtime.cluster(*id))).collect();
        let figures = of(all, Some(&rule.route));
        // Rules of one name, which listeners have each, are one.
        (figures.endpoints, figures.healthy, figures.ejected) = (0, 0, 0);
        clusters.values().for_each(|cluster| add_members(figures, cluster));
        reached.extend(clusters.into_values().map(|cluster| ((&rule.route, cluster.key().clone()), cluster)));
    }
    for ((route, _), cluster) in &reached {
        let connections = cluster.endpoints().iter().map(|endpoint| u64::from(endpoint.connections())).sum::<u64>();
        of(all, Some(route)).connections += connections;
    }
    let counts = reached.into_iter().map(|((route, key), cluster)| (route, key, cluster.opened()));
    for (route, total) in opened.totals(counts, MAX_CLUSTERS) {
        of(all, Some(route)).opened = total;
    }
}

fn rules(runtime: &Runtime) -> impl Iterator<Item = &Arc<Rule>> {
    let listeners = runtime.snapshot().ports.iter().flat_map(Port::listeners);
    let http = listeners.filter_map(|listener| if let ListenerRef::Http(listener) = listener { Some(listener) } else { None });
    http.flat_map(|listener| listener.routes.entries()).map(|entry| &entry.rule)
}

fn add_members(figures: &mut Cluster, cluster: &ClusterState) {
    let now = Instant::now().into_std();
    for endpoint in cluster.endpoints() {
        let is_ejected = endpoint.ejected_until().is_some_and(|until| until > now);
        figures.endpoints += 1;
        figures.healthy += u64::from(endpoint.passes_checks() && !is_ejected);
        figures.ejected += u64::from(is_ejected);
    }
}

type Row<'a> = ([(&'static str, &'a str); 1], &'a Cluster);

fn write(encoder: &mut DescriptorEncoder<'_>, all: &[Row<'_>]) -> fmt::Result {
    type Read = fn(&Cluster) -> u64;
    let levels: [(&str, &str, Read); 6] = [
        ("envoy_cluster_membership_total", "Endpoints of a rule's backends", |it| it.endpoints),
        ("envoy_cluster_membership_healthy", "Those that health checks let be used", |it| it.healthy),
        ("envoy_cluster_membership_degraded", "Always 0", |_| 0),
        ("envoy_cluster_membership_excluded", "Always 0", |_| 0),
        ("envoy_cluster_outlier_detection_ejections_active", "Those that passive health checks keep requests from", |it| {
            it.ejected
        }),
        ("envoy_cluster_upstream_cx_active", "Connections to them, of all rules that lead there", |it| it.connections),
    ];
    for (name, help, read) in levels {
        gauges(encoder, name, help, all.iter().map(|(labels, it)| (*labels, read(it) as f64)))?;
    }
    let totals: [(&str, &str, Read); 4] = [
        ("envoy_cluster_upstream_rq", "Attempts at backends that have ended", |it| it.attempts.count()),
        ("envoy_cluster_upstream_cx", "Connections to them, ever, of all rules that lead there", |it| it.opened),
        ("envoy_cluster_upstream_cx_rx_bytes", "Bytes of response bodies", |it| it.received),
        ("envoy_cluster_upstream_cx_tx_bytes", "Bytes of request bodies", |it| it.sent),
    ];
    for (name, help, read) in totals {
        counters(encoder, name, help, all.iter().map(|(labels, it)| (*labels, read(it))))?;
    }
    let rows = all.iter().flat_map(|([cluster], it)| {
        let by_class = CLASSES.iter().zip(it.attempts.by_class);
        by_class.map(|(class, count)| ([*cluster, ("envoy_response_code_class", *class)], count as f64))
    });
    // A counter's name would end in `_total`, and Envoy's does not.
    gauges(encoder, "envoy_cluster_upstream_rq_xx", "Responses of backends by class of status", rows)?;
    let rows = all.iter().filter_map(|(labels, it)| Some((*labels, it.attempts.in_milliseconds()?)));
    histograms(encoder, "envoy_cluster_upstream_rq_time", "Milliseconds of an attempt", rows)
}
