//! Settings of BackendTrafficPolicy and of a rule's own fields for requests: timeouts, retries, limits.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use pailou_telemetry::sampling::SamplingOverride;

use super::{AdmissionControl, CustomSpans, Fraction};

/// Settings of a rule's requests. Rules with the same settings share one value: thousands may.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RulePolicy {
    /// The request's clocks.
    pub timeouts: Timeouts,
    /// Retries; `None` retries nothing but what pools do by themselves (next-best endpoint before content).
    pub retry: Option<Retry>,
    /// Limits of the backends' breakers; `None` sets none.
    pub breaker: Option<CircuitBreaker>,
    /// Refusal of attempts while too many fail.
    pub admission_control: Option<Arc<AdmissionControl>>,
    /// A request body that is longer is answered 413 (BackendTrafficPolicy `requestBuffer.limit`), in bytes.
    pub max_body: Option<u64>,
    /// Protocols that connections may be upgraded to (BackendTrafficPolicy `httpUpgrade`), in lower case; `None` allows any.
    pub upgrades: Option<Arc<[Box<str>]>>,
    /// Parts of the requests whose traces are kept; `None` leaves that to the tracer.
    pub sampling: Option<SamplingOverride>,
    /// Names and attributes that go before those of the tracer.
    pub spans: Option<Arc<CustomSpans>>,
    /// Objects that set these fields, for those who explain; the rule's own comes last.
    pub origins: Arc<[FieldOrigin]>,
}

/// Object that set a field of a rule's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOrigin {
    /// The field, as [`Rule::policy_names`](crate::Rule::policy_names) has it.
    pub field: &'static str,
    /// Kind, namespace and name of the object.
    pub object: Arc<str>,
}

/// Clocks of a request on its way to a backend. `None` never runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The whole request, from its head to the response's last byte, all attempts included: 504 before the response's head,
    /// a broken stream after it. HTTPRoute `timeouts.request`, else BackendTrafficPolicy `requestTimeout`, else none: Envoy's
    /// 15 s would cut every long completion.
    pub request: Option<Duration>,
    /// One attempt, to the response's head: what has begun to arrive is not cut off (`timeouts.backendRequest`, `perRetry.timeout`).
    pub attempt: Option<Duration>,
    /// To open a connection. Default: 10 s.
    pub connect: Duration,
    /// No byte of the request's or the response's body for this long ends the request. `None`: the listener's clock holds, unless `request` is
    /// set, which then rules alone.
    pub stream_idle: Option<Duration>,
    /// An idle upstream connection is closed after this. Default: 1 h.
    pub connection_idle: Duration,
    /// An upstream connection takes no new request after this age (`maxConnectionDuration`). Default: none.
    pub max_connection_age: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request: None,
            attempt: None,
            connect: Duration::from_secs(10),
            stream_idle: None,
            connection_idle: Duration::from_secs(3600),
            max_connection_age: None,
        }
    }
}

/// Retries of a request before anything of the response has reached the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Retries after the first attempt.
    pub attempts: u32,
    /// Failures and statuses to retry.
    pub on: Vec<RetryTrigger>,
    /// Statuses retried, beyond what triggers name.
    pub statuses: Vec<StatusCode>,
    /// Pause before a retry: doubled each time, with jitter, up to `max_backoff`.
    pub backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// Attempts after which the next priority of backends has its turn (`numAttemptsPerPriority`). `None`: health alone decides.
    pub attempts_per_priority: Option<u32>,
}

/// Kinds of failures (Envoy's `retry_on` names).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryTrigger {
    /// No connection could be made: nothing was sent.
    ConnectFailure,
    /// The upstream broke off before any response, whatever was sent.
    Reset,
    /// The upstream broke off before the request was sent whole.
    ResetBeforeRequest,
    /// HTTP/2 REFUSED_STREAM: not processed.
    RefusedStream,
    /// Any 5xx, or no response at all.
    ServerError,
    /// 502, 503 or 504.
    GatewayError,
    /// 409.
    Retriable4xx,
    /// gRPC status CANCELLED.
    GrpcCancelled,
    /// gRPC status DEADLINE_EXCEEDED.
    GrpcDeadlineExceeded,
    /// gRPC status INTERNAL.
    GrpcInternal,
    /// gRPC status RESOURCE_EXHAUSTED.
    GrpcResourceExhausted,
    /// gRPC status UNAVAILABLE.
    GrpcUnavailable,
}

/// Limits of a backend; what exceeds them is answered 503 at once. Source: BackendTrafficPolicy `circuitBreaker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Connections open at once. Default: 1024.
    pub max_connections: u32,
    /// Requests waiting for a connection. Default: 1024.
    pub max_pending_requests: u32,
    /// Requests under way. Default: 1024.
    pub max_parallel_requests: u32,
    /// Retries under way. Default: 1024.
    pub max_parallel_retries: u32,
    /// Requests on one connection before it is closed. Default: unbounded.
    pub max_requests_per_connection: Option<u32>,
    /// Connections open at once to one endpoint (`perEndpoint.maxConnections`), but for one to each worker. Default: unbounded.
    pub max_endpoint_connections: Option<u32>,
    /// Retries in proportion to requests; in place of `max_parallel_retries`.
    pub retry_budget: Option<RetryBudget>,
}

/// Retries under way, in proportion to the requests under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Share of the requests.
    pub share: Fraction,
    /// As many are always allowed. Default: 3.
    pub min_concurrency: u32,
}

impl RetryBudget {
    /// Retries that may be under way at once with so many requests.
    pub fn limit(self, requests: u32) -> u32 {
        let share = u64::from(requests) * u64::from(self.share.numerator) / u64::from(self.share.denominator.max(1));
        u32::try_from(share).unwrap_or(u32::MAX).max(self.min_concurrency)
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_parallel_requests: 1024,
            max_parallel_retries: 1024,
            max_requests_per_connection: None,
            max_endpoint_connections: None,
            retry_budget: None,
        }
    }
}
