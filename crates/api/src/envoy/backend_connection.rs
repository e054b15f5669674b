//! `connection`: buffers of connections to backends, and connections opened ahead.

use serde::Deserialize;

use crate::unsupported::Unsupported;

/// Connections to backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendConnection {
    /// Bytes that a connection buffers.
    #[serde(default)]
    pub buffer_limit: Option<Unsupported>,
    /// Connections opened ahead of the requests that will need them.
    #[serde(default)]
    pub preconnect: Option<Preconnect>,
}

/// Connections opened ahead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconnect {
    /// Connections to an endpoint, in percent of those that its requests need: 100 (none ahead) to 300.
    #[serde(default)]
    pub per_endpoint_percent: Option<u32>,
    /// Connections to the endpoint that comes next, in percent of all that are needed.
    #[serde(default)]
    pub predictive_percent: Option<Unsupported>,
}

impl BackendConnection {
    pub(super) fn predicts(&self) -> bool {
        self.preconnect.is_some_and(|preconnect| preconnect.predictive_percent.is_some())
    }
}
