//! When a request is tried again.

use serde::Deserialize;

use crate::duration::Duration;

/// When and how a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Retries after the first attempt; 2 by default.
    #[serde(default = "two")]
    pub num_retries: u32,
    /// Attempts before the next priority of endpoints is used.
    #[serde(default)]
    pub num_attempts_per_priority: Option<u32>,
    /// Conditions for another attempt.
    #[serde(default)]
    pub retry_on: Option<RetryOn>,
    /// Timeout and pause of each attempt.
    #[serde(default)]
    pub per_retry: Option<PerRetry>,
}

fn two() -> u32 {
    2
}

/// Conditions for another attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryOn {
    /// Kinds of failure.
    #[serde(default)]
    pub triggers: Vec<RetryTrigger>,
    /// Statuses for the trigger `retriable-status-codes`, 100 to 599.
    #[serde(default)]
    pub http_status_codes: Vec<u16>,
}

/// A kind of failure that asks for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryTrigger {
    /// Any status of 500 and above, or no response at all.
    #[serde(rename = "5xx")]
    ServerError,
    /// 502, 503 or 504.
    GatewayError,
    /// No response: disconnect, reset or timeout.
    Reset,
    /// A reset before the request was sent.
    ResetBeforeRequest,
    /// The connection failed.
    ConnectFailure,
    /// 409.
    #[serde(rename = "retriable-4xx")]
    Retriable4xx,
    /// REFUSED_STREAM.
    RefusedStream,
    /// One of `httpStatusCodes`.
    RetriableStatusCodes,
    /// gRPC status 1.
    Cancelled,
    /// gRPC status 4.
    DeadlineExceeded,
    /// gRPC status 13.
    Internal,
    /// gRPC status 8.
    ResourceExhausted,
    /// gRPC status 14.
    Unavailable,
}

/// Timeout and pause of each attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PerRetry {
    /// Of one attempt; the request's when absent.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// The pause before another attempt.
    #[serde(default)]
    pub back_off: Option<BackOff>,
}

/// A pause that grows, with full jitter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackOff {
    /// The first pause's upper bound.
    #[serde(default)]
    pub base_interval: Option<Duration>,
    /// The longest pause; ten times the base when absent.
    #[serde(default)]
    pub max_interval: Option<Duration>,
}
