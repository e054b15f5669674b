//! Endpoints that get no requests for a while, and engines whose load is only estimated: for the operator.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pailou_snapshot::{Endpoint, HealthChecks};
use tokio::time::Instant;

use crate::{
    cluster::{ClusterState, EndpointState},
    runtime::Runtime,
};

/// Labels of an endpoint. A pod with two ports, or two addresses, is two endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointLabels {
    /// Its backend, such as `pool/default/qwen`.
    pub backend: String,
    /// Its name: a pod's name, or the address.
    pub endpoint: String,
    /// Its address, with the port.
    pub address: String,
}

impl EndpointLabels {
    /// The labels of an endpoint of this backend.
    pub(crate) fn new(backend: &str, endpoint: &Endpoint) -> Self {
        let (backend, address) = (backend.to_owned(), endpoint.address.to_string());
        Self { backend, endpoint: endpoint.name.to_string(), address }
    }

    /// As metrics have them.
    pub(crate) fn pairs(&self) -> [(&str, &str); 3] {
        [("backend", &self.backend), ("endpoint", &self.endpoint), ("address", &self.address)]
    }
}

/// Health of an endpoint, over all clusters that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Result of its active health checks; `None` where it has none.
    pub passes_checks: Option<bool>,
    /// Whether passive health checks watch it.
    pub is_watched: bool,
    /// Time for which passive health checks keep requests from it.
    pub ejected_for: Option<Duration>,
    /// Why its engine's metrics cannot be read, if it is an InferencePool's.
    pub metrics_problem: Option<String>,
}

impl EndpointHealth {
    /// Whether there is something that an operator should know.
    pub fn is_troubled(&self) -> bool {
        self.passes_checks == Some(false) || self.ejected_for.is_some() || self.metrics_problem.is_some()
    }

    fn add(&mut self, endpoint: &EndpointState, checks: &HealthChecks) {
        if checks.active.is_some() {
            self.passes_checks = Some(self.passes_checks.unwrap_or(true) && endpoint.passes_checks());
        }
        if checks.passive.is_some() {
            self.is_watched = true;
            let left = endpoint.ejected_until().map(|until| until.saturating_duration_since(Instant::now().into_std()));
            self.ejected_for = self.ejected_for.max(left.filter(|left| !left.is_zero()));
        }
    }
}

/// All endpoints, each once.
pub(crate) fn of(runtime: &Runtime) -> BTreeMap<EndpointLabels, EndpointHealth> {
    with_pools(runtime, runtime.clusters().iter())
}

/// The endpoints of InferencePools, each once.
pub(crate) fn of_pools(runtime: &Runtime) -> BTreeMap<EndpointLabels, EndpointHealth> {
    with_pools(runtime, runtime.clusters().iter().filter(|cluster| cluster.pool().is_some()))
}

fn with_pools<'a>(
    runtime: &Runtime,
    clusters: impl Iterator<Item = &'a Arc<ClusterState>>,
) -> BTreeMap<EndpointLabels, EndpointHealth> {
    let mut all = BTreeMap::<_, EndpointHealth>::new();
    for cluster in clusters {
        let backend = cluster.key().endpoints.to_string();
        let settings = cluster.settings();
        for endpoint in cluster.endpoints() {
            all.entry(EndpointLabels::new(&backend, endpoint.endpoint())).or_default().add(&endpoint, &settings.health);
        }
    }
    for (key, pool) in runtime.pools() {
        let backend = key.to_string();
        for report in pool.snapshot() {
            if let Some(problem) = report.metrics_problem {
                let health = all.entry(EndpointLabels::new(&backend, &report.endpoint)).or_default();
                health.metrics_problem = Some(problem.to_string());
            }
        }
    }
    all
}
