//! Names of metrics that other gateways and pickers have, beside Pailou's own.

/// Sets of names that metrics are exported under as well. None is by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricNames {
    /// `inference_pool_*`: a pool, by the names of Gateway API Inference Extension up to v1.5.
    pub inference_pool: bool,
    /// `inference_objective_*`: model calls, by the same.
    pub inference_objective: bool,
    /// `inference_extension_*`: the picker, by the same.
    pub inference_extension: bool,
    /// `llm_d_epp_*`: all of it, by the names of llm-d's router from v0.10 on.
    pub llm_d: bool,
    /// `http_*`: requests and attempts, by OpenTelemetry's conventions for HTTP.
    pub http: bool,
    /// `envoy_*`: requests, attempts and endpoints, by the names that Envoy Gateway's dashboards read.
    pub envoy_gateway: bool,
    /// `gen_ai_client_operation_duration`: model calls, as Container Service for Kubernetes (ACK) has them.
    pub ack: bool,
}

impl MetricNames {
    /// Whether pools have further names.
    pub fn has_pools(self) -> bool {
        self.inference_pool || self.inference_extension || self.llm_d
    }

    /// Whether requests and attempts have.
    pub fn has_attempts(self) -> bool {
        self.http || self.envoy_gateway
    }

    /// Whether model calls have.
    pub fn has_calls(self) -> bool {
        self.inference_objective || self.llm_d
    }
}
