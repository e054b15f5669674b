//! Endpoints that have trouble, as `/status` shows them.

use std::collections::BTreeMap;

use pailou_proxy::endpoint_health::{EndpointHealth, EndpointLabels};
use serde::Serialize;

/// Engines that a condition names one by one.
const MAX_NAMED: usize = 8;

/// An endpoint that has trouble.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TroubledEndpoint {
    backend: String,
    endpoint: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_checks: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ejected_for_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_problem: Option<String>,
}

/// A condition that holds in one process.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Condition {
    r#type: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// All of them.
pub(crate) fn list(endpoints: &BTreeMap<EndpointLabels, EndpointHealth>) -> Vec<TroubledEndpoint> {
    let one = |(labels, health): (&EndpointLabels, &EndpointHealth)| TroubledEndpoint {
        backend: labels.backend.clone(),
        endpoint: labels.endpoint.clone(),
        address: labels.address.clone(),
        health_checks: (health.passes_checks == Some(false)).then_some("failing"),
        ejected_for_seconds: health.ejected_for.map(|left| left.as_secs().max(1)),
        metrics_problem: health.metrics_problem.clone(),
    };
    endpoints.iter().map(one).collect()
}

/// Condition of an InferencePool whose engines' metrics cannot be read.
pub(crate) fn engine_metrics(pool: &str, endpoints: &BTreeMap<EndpointLabels, EndpointHealth>) -> Option<Condition> {
    let problem = |(labels, health): (&EndpointLabels, &EndpointHealth)| {
        let problem = health.metrics_problem.as_ref().filter(|_| labels.backend == pool)?;
        Some(format!("{}: {problem}", labels.endpoint))
    };
    let problems: Vec<_> = endpoints.iter().filter_map(problem).collect();
    let (count, named) = (problems.len(), problems.get(..MAX_NAMED).unwrap_or(&problems).join("; "));
    let message = format!("cannot read the metrics of {count} engines, and estimates their load: {named}");
    (count > 0).then_some(Condition { r#type: "EngineMetrics", status: "False", reason: "Unreadable", message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_a_condition_for_the_engines_of_its_own() {
        let health =
            |problem: Option<&str>| EndpointHealth { metrics_problem: problem.map(Into::into), ..EndpointHealth::default() };
        let key = |backend: &str, endpoint: &str| EndpointLabels {
            backend: backend.to_owned(),
            endpoint: endpoint.to_owned(),
            address: "10.0.0.1:8000".to_owned(),
        };
        let endpoints = BTreeMap::from([
            (key("pool/default/a", "a-0"), health(Some("no answer"))),
            (key("pool/default/a", "a-1"), health(None)),
            (key("pool/default/b", "b-0"), health(None)),
        ]);
        let condition = engine_metrics("pool/default/a", &endpoints).unwrap();
        assert_eq!(condition.message, "cannot read the metrics of 1 engines, and estimates their load: a-0: no answer");
        assert_eq!(engine_metrics("pool/default/b", &endpoints), None);
    }
}
