//! Endpoints that get no requests for a while, and engines whose load is only estimated: for the operator.

use std::{collections::BTreeMap, time::Duration};

use pailou_snapshot::HealthChecks;
use tokio::time::Instant;

use crate::{cluster::EndpointState, runtime::Runtime};

/// How an endpoint fares, over all clusters that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Its address.
    pub address: String,
    /// Result of its active health checks; `None` where it has none.
    pub passes_checks: Option<bool>,
    /// Whether passive health checks watch it.
    pub is_watched: bool,
    /// How long passive health checks keep requests from it.
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
        self.address = endpoint.endpoint().address.to_string();
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

/// All endpoints by backend and name, each once.
pub(crate) fn of(runtime: &Runtime) -> BTreeMap<(String, String), EndpointHealth> {
    let mut all = BTreeMap::<_, EndpointHealth>::new();
    for cluster in runtime.clusters() {
        let backend = cluster.key().endpoints.to_string();
        let settings = cluster.settings();
        for endpoint in cluster.endpoints() {
            let name = endpoint.endpoint().name.to_string();
            all.entry((backend.clone(), name)).or_default().add(&endpoint, &settings.health);
        }
        for report in cluster.pool().into_iter().flat_map(|pool| pool.snapshot()) {
            if let Some(problem) = report.metrics_problem {
                let health = all.entry((backend.clone(), report.endpoint.name.to_string())).or_default();
                health.metrics_problem = Some(problem.to_string());
            }
        }
    }
    all
}
