//! Faults made on purpose.

use serde::Deserialize;

use crate::duration::Duration;

/// Faults made on purpose; at least one field is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct FaultInjection {
    /// Requests that wait.
    #[serde(default)]
    pub delay: Option<FaultDelay>,
    /// Requests that fail.
    #[serde(default)]
    pub abort: Option<FaultAbort>,
}

/// Requests that wait.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultDelay {
    /// How long.
    pub fixed_delay: Duration,
    /// How many in a hundred; 100 by default.
    #[serde(default = "all")]
    pub percentage: f64,
}

/// Requests that fail; exactly one status is set.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultAbort {
    /// 200 to 600.
    #[serde(default)]
    pub http_status: Option<u16>,
    /// 0 to 16.
    #[serde(default)]
    pub grpc_status: Option<u8>,
    /// How many in a hundred; 100 by default.
    #[serde(default = "all")]
    pub percentage: f64,
}

fn all() -> f64 {
    100.0
}
