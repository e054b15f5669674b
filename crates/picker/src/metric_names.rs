//! Names of metrics that other gateways and pickers have, beside Pailou's own.

/// Sets of names that metrics are exported under as well. None is by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricNames {
    /// `inference_pool_*`: a pool, by the names of Gateway API Inference Extension up to v1.5.
    pub inference_pool: bool,
    /// `inference_objective_*`: model calls, by the same.
    pub inference_objective: bool,
    /// `llm_d_epp_*`: both, by the names of llm-d's router from v0.10 on.
    pub llm_d: bool,
    /// `http_*`: requests and attempts, by OpenTelemetry's conventions for HTTP.
    pub http: bool,
}

impl MetricNames {
    /// Whether pools have further names.
    pub fn has_pools(self) -> bool {
        self.inference_pool || self.llm_d
    }

    /// Whether requests and attempts have.
    pub fn has_attempts(self) -> bool {
        self.http
    }

    /// Whether model calls have.
    pub fn has_calls(self) -> bool {
        self.inference_objective || self.llm_d
    }
}
