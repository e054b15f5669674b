//! `admissionControl`: refusing requests while too many of those before them failed.

use serde::Deserialize;

use crate::duration::Duration;

/// Refusal of requests, at random, while too few of those before them succeed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionControl {
    /// Time over which requests are counted, at least 1s; 30s when absent.
    #[serde(default)]
    pub sampling_window: Option<Duration>,
    /// Share of successes from which on nothing is refused, in percent, 1 to 100; 95 when absent.
    #[serde(default)]
    pub min_success_rate: Option<u32>,
    /// How steeply refusals rise below that share, at least 1; 1 when absent, which is linear.
    #[serde(default)]
    pub rejection_aggression: Option<u32>,
    /// Requests in a second below which nothing is refused; 0 when absent.
    #[serde(default)]
    pub min_request_rate: Option<u32>,
    /// The largest share of requests that are refused, in percent, 0 to 100; 80 when absent.
    #[serde(default)]
    pub max_rejection_percent: Option<u32>,
    /// Statuses that count as success.
    #[serde(default)]
    pub success_criteria: Option<AdmissionControlSuccessCriteria>,
}

/// Statuses that count as success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AdmissionControlSuccessCriteria {
    /// Of HTTP; statuses below 500 when absent.
    #[serde(default)]
    pub http: Option<HttpSuccessCriteria>,
    /// Of gRPC; all statuses that do not tell of an overloaded or broken server when absent.
    #[serde(default)]
    pub grpc: Option<GrpcSuccessCriteria>,
}

/// Success in HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpSuccessCriteria {
    /// Statuses, 100 to 599.
    #[serde(default)]
    pub status_codes: Vec<u16>,
}

/// Success in gRPC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcSuccessCriteria {
    /// Statuses.
    #[serde(default)]
    pub status_codes: Vec<GrpcStatusCode>,
}

/// A status of gRPC, by its name in camel case. The values are the numbers of the statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[expect(missing_docs, reason = "the names are gRPC's, which documents them")]
pub enum GrpcStatusCode {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}
