//! Limits of concurrency.

use serde::Deserialize;

use crate::http_filter::Fraction;

/// Limits of concurrency; what is over them is refused with 503. Zero is legal and refuses everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Connections at once; 1024 by default.
    #[serde(default = "default_limit")]
    pub max_connections: u32,
    /// Requests that wait for a connection; 1024 by default.
    #[serde(default = "default_limit")]
    pub max_pending_requests: u32,
    /// Requests at once; 1024 by default.
    #[serde(default = "default_limit")]
    pub max_parallel_requests: u32,
    /// Retries at once; 1024 by default.
    #[serde(default = "default_limit")]
    pub max_parallel_retries: u32,
    /// Requests that one connection carries; no limit when absent.
    #[serde(default)]
    pub max_requests_per_connection: Option<u32>,
    /// Limits of each endpoint.
    #[serde(default)]
    pub per_endpoint: Option<PerEndpointCircuitBreaker>,
    /// Retries in proportion to requests; in place of `maxParallelRetries` when set.
    #[serde(default)]
    pub retry_budget: Option<RetryBudget>,
}

const DEFAULT_LIMIT: u32 = 1024;

fn default_limit() -> u32 {
    DEFAULT_LIMIT
}

impl Default for CircuitBreaker {
    fn default() -> CircuitBreaker {
        CircuitBreaker {
            max_connections: DEFAULT_LIMIT,
            max_pending_requests: DEFAULT_LIMIT,
            max_parallel_requests: DEFAULT_LIMIT,
            max_parallel_retries: DEFAULT_LIMIT,
            max_requests_per_connection: None,
            per_endpoint: None,
            retry_budget: None,
        }
    }
}

/// Limits of each endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PerEndpointCircuitBreaker {
    /// Connections at once; 1024 by default.
    #[serde(default = "default_limit")]
    pub max_connections: u32,
}

/// Retries in proportion to the requests under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// Share of the requests under way.
    pub percent: Fraction,
    /// Always allowed; 3 when absent.
    #[serde(default)]
    pub min_retry_concurrency: Option<u32>,
}
