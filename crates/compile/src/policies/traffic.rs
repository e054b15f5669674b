//! Settings of a BackendTrafficPolicy.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, StatusCode};

use crate::status::Problem;
use pailou_api::envoy::{
    backend_traffic_policy::{BackendTrafficPolicySpec, ProxyProtocolVersion as SpecVersion},
    circuit_breaker::CircuitBreaker as SpecBreaker,
    load_balancer::{ConsistentHash, ConsistentHashType, LoadBalancer as SpecBalancer, LoadBalancerType},
    retry::{Retry as SpecRetry, RetryTrigger as SpecTrigger},
};
use pailou_snapshot::{
    ActiveCheck, AdmissionControl, CircuitBreaker, ConnectionSettings, CustomSpans, FieldOrigin, Fraction, HashSource,
    HealthChecks, HttpFilter, LoadBalancer, PassiveCheck, ProxyProtocolVersion, Retry, RetryBudget, RetryTrigger, RulePolicy,
    Timeouts,
};
use pailou_telemetry::sampling::SamplingOverride;

use super::{
    super::{
        custom_spans::{self, CustomFields},
        gateway_traces,
        index::Index,
    },
    admission_control, connection, health,
    http_filters::{self, Sources},
    tcp_keepalive,
    values::{invalid, statuses},
};

/// A clock: `Some(None)` switches it off.
type Clock = Option<Option<Duration>>;

/// The settings of a policy; `None` leaves what is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    request: Clock,
    connect: Option<Duration>,
    stream_idle: Clock,
    connection_idle: Option<Duration>,
    max_connection_age: Clock,
    attempt: Clock,
    retry: Option<Retry>,
    breaker: Option<CircuitBreaker>,
    load_balancer: Option<LoadBalancer>,
    active: Option<ActiveCheck>,
    passive: Option<PassiveCheck>,
    panic_threshold: Option<u8>,
    tcp_keepalive: Option<Duration>,
    proxy_protocol: Option<ProxyProtocolVersion>,
    max_body: Option<u64>,
    admission_control: Option<Arc<AdmissionControl>>,
    upgrades: Option<Arc<[Box<str>]>>,
    sampling: Option<SamplingOverride>,
    spans: Option<Arc<CustomSpans>>,
    connection: ConnectionSettings,
    http_filters: Vec<HttpFilter>,
    /// The part for rules.
    rule: Arc<RulePolicy>,
}

impl Traffic {
    /// Reads a policy's spec.
    ///
    /// # Errors
    /// The first value that is invalid: none of the policy applies then.
    pub(crate) fn new(index: &Index<'_>, spec: &BackendTrafficPolicySpec, sources: &Sources<'_>) -> Result<Self, Problem> {
        if let Some(errors) = &spec.undecodable {
            return Err(Problem::accepted("Invalid", format!("does not decode: {errors}")));
        }
        let mut traffic = Self::default();
        if let Some(tcp) = spec.timeout.as_ref().and_then(|timeout| timeout.tcp.as_ref()) {
            traffic.connect = tcp.connect_timeout.map(|it| it.as_std());
        }
        if let Some(http) = spec.timeout.as_ref().and_then(|timeout| timeout.http.as_ref()) {
            traffic.request = http.request_timeout.or(http.max_stream_duration).map(|it| it.enabled());
            traffic.stream_idle = http.stream_idle_timeout.map(|it| Some(it.enabled().unwrap_or(FOREVER)));
            traffic.connection_idle = http.connection_idle_timeout.map(|it| it.enabled().unwrap_or(FOREVER));
            traffic.max_connection_age = http.max_connection_duration.map(|it| it.enabled());
        }
        if let Some(retry) = &spec.retry {
            traffic.attempt = retry.per_retry.as_ref().and_then(|it| it.timeout).map(|it| it.enabled());
            traffic.retry = Some(retries(retry)?);
        }
        traffic.breaker = spec.circuit_breaker.as_ref().map(breaker);
        traffic.load_balancer = spec.load_balancer.as_ref().map(load_balancer).transpose()?;
        if let Some(health) = &spec.health_check {
            traffic.active = health.active.as_ref().map(health::active).transpose()?;
            traffic.passive = health.passive.as_ref().map(health::passive);
            traffic.panic_threshold = health.panic_threshold.map(health::percent);
        }
        traffic.tcp_keepalive = spec.tcp_keepalive.map(|it| tcp_keepalive::idle_time(it).unwrap_or(LINUX_KEEPALIVE));
        traffic.proxy_protocol = spec.proxy_protocol.map(|it| match it.version {
            SpecVersion::V1 => ProxyProtocolVersion::V1,
            SpecVersion::V2 => ProxyProtocolVersion::V2,
        });
        traffic.max_body = max_body(spec)?;
        traffic.admission_control = spec.admission_control.as_ref().map(admission_control::read).transpose()?.map(Arc::new);
        traffic.upgrades = upgrades(spec);
        traffic.sampling = sampling(spec)?;
        traffic.spans = spans(spec)?;
        traffic.connection = connection::read(spec)?;
        traffic.http_filters = http_filters::of_policy(index, spec, sources)?;
        Ok(traffic.finished())
    }

    fn finished(mut self) -> Self {
        self.rule = Arc::new(RulePolicy {
            timeouts: self.timeouts(),
            retry: self.retry.clone().filter(|retry| retry.attempts > 0),
            breaker: self.breaker.clone(),
            admission_control: self.admission_control.clone(),
            upgrades: self.upgrades.clone(),
            sampling: self.sampling,
            spans: self.spans.clone(),
            max_body: self.max_body,
            origins: Arc::default(),
        });
        self
    }

    /// The same that names the objects which set its fields.
    pub(super) fn set_by(mut self, origins: Vec<FieldOrigin>) -> Self {
        Arc::make_mut(&mut self.rule).origins = origins.into();
        self
    }

    /// For rules that set nothing themselves.
    pub(crate) fn rule(&self) -> &Arc<RulePolicy> {
        &self.rule
    }

    fn timeouts(&self) -> Timeouts {
        let default = Timeouts::default();
        Timeouts {
            request: self.request.unwrap_or(default.request),
            attempt: self.attempt.unwrap_or(default.attempt),
            connect: self.connect.unwrap_or(default.connect),
            stream_idle: self.stream_idle.unwrap_or(default.stream_idle),
            connection_idle: self.connection_idle.unwrap_or(default.connection_idle),
            max_connection_age: self.max_connection_age.unwrap_or(default.max_connection_age),
        }
    }

    /// Filters for rules.
    pub(crate) fn http_filters(&self) -> &[HttpFilter] {
        &self.http_filters
    }

    /// How an endpoint is chosen.
    pub(crate) fn load_balancer(&self) -> LoadBalancer {
        self.load_balancer.clone().unwrap_or_default()
    }

    /// How endpoints' health is watched.
    pub(crate) fn health(&self) -> HealthChecks {
        let threshold = self.panic_threshold.or(Some(health::PANIC_THRESHOLD));
        HealthChecks { active: self.active.clone(), passive: self.passive.clone(), panic_threshold: threshold }
    }

    /// When keep-alive probes of upstream connections begin.
    pub(crate) fn tcp_keepalive(&self) -> Option<Duration> {
        self.tcp_keepalive
    }

    /// Header of the PROXY protocol that upstream connections begin with.
    pub(crate) fn proxy_protocol(&self) -> Option<ProxyProtocolVersion> {
        self.proxy_protocol
    }

    /// How connections to backends are made.
    pub(crate) fn connection(&self) -> ConnectionSettings {
        self.connection
    }
}

/// Parts of the requests whose traces are kept.
fn sampling(spec: &BackendTrafficPolicySpec) -> Result<Option<SamplingOverride>, Problem> {
    let Some(tracing) = spec.tracing() else { return Ok(None) };
    let read = |fraction: Option<_>, name| {
        let ratio = |fraction| gateway_traces::ratio(fraction, &format!("telemetry.tracing.{name}"));
        fraction.map(ratio).transpose().map_err(|message| invalid(&message))
    };
    let set = SamplingOverride {
        root: read(tracing.sampling_fraction, "samplingFraction")?,
        forced: read(tracing.client_sampling_fraction, "clientSamplingFraction")?,
        overall: read(tracing.overall_sampling_fraction, "overallSamplingFraction")?,
    };
    Ok(Some(set).filter(|set| *set != SamplingOverride::default()))
}

/// Names and attributes of the requests' spans.
fn spans(spec: &BackendTrafficPolicySpec) -> Result<Option<Arc<CustomSpans>>, Problem> {
    let Some(tracing) = spec.tracing() else { return Ok(None) };
    let (custom_tags, tags, span_name) = (&tracing.custom_tags, &tracing.tags, tracing.span_name.as_ref());
    let read = custom_spans::read(CustomFields { custom_tags, tags, span_name });
    read.map_err(|message| invalid(&format!("telemetry.tracing.{message}")))
}

/// A clock that is switched off where its absence would mean a default: a century, which still can be added to an instant.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Linux's default time before the first probe.
const LINUX_KEEPALIVE: Duration = Duration::from_secs(7200);

/// Protocols that connections may be upgraded to. A request that is read whole first cannot be upgraded, unless the policy says which may.
fn upgrades(spec: &BackendTrafficPolicySpec) -> Option<Arc<[Box<str>]>> {
    if spec.http_upgrade.is_empty() && spec.request_buffer.is_none() {
        return None;
    }
    let upgrades = spec.http_upgrade.iter().filter(|upgrade| !upgrade.is_connect());
    Some(upgrades.map(|upgrade| upgrade.kind.to_ascii_lowercase().into()).collect())
}

fn breaker(spec: &SpecBreaker) -> CircuitBreaker {
    CircuitBreaker {
        max_connections: spec.max_connections,
        max_pending_requests: spec.max_pending_requests,
        max_parallel_requests: spec.max_parallel_requests,
        max_parallel_retries: spec.max_parallel_retries,
        max_requests_per_connection: spec.max_requests_per_connection,
        max_endpoint_connections: spec.per_endpoint.as_ref().map(|it| it.max_connections),
        retry_budget: spec.retry_budget.map(|it| RetryBudget {
            share: Fraction { numerator: it.percent.numerator, denominator: it.percent.denominator },
            min_concurrency: it.min_retry_concurrency.unwrap_or(MIN_RETRY_CONCURRENCY),
        }),
    }
}

/// The limit of `requestBuffer`.
fn max_body(spec: &BackendTrafficPolicySpec) -> Result<Option<u64>, Problem> {
    let limit = spec.request_buffer.as_ref().and_then(|it| it.limit).map(|limit| limit.bytes());
    match limit {
        Some(bytes) if bytes > u64::from(u32::MAX) => Err(invalid("requestBuffer.limit: write 0 to 4294967295 bytes")),
        limit => Ok(limit),
    }
}

/// Envoy's least number of retries that a budget allows.
const MIN_RETRY_CONCURRENCY: u32 = 3;

/// Envoy's base interval.
const BASE_BACKOFF: Duration = Duration::from_millis(25);

fn retries(spec: &SpecRetry) -> Result<Retry, Problem> {
    let backoff = spec.per_retry.as_ref().and_then(|it| it.back_off.as_ref());
    let base = backoff.and_then(|it| it.base_interval).map_or(BASE_BACKOFF, |it| it.as_std());
    let longest = backoff.and_then(|it| it.max_interval).map_or(base.saturating_mul(10), |it| it.as_std());
    if base.is_zero() {
        return Err(invalid("retry.perRetry.backOff.baseInterval: write 1ms or more"));
    }
    if longest < base {
        return Err(invalid("retry.perRetry.backOff.maxInterval: must not be shorter than baseInterval"));
    }
    let asked = spec.retry_on.as_ref();
    let triggers = asked.map_or(&[][..], |asked| &asked.triggers);
    let codes = asked.map_or(&[][..], |asked| &asked.http_status_codes);
    // Without triggers the default ones hold, of which one is for statuses; without statuses that one is for 503.
    let on = if triggers.is_empty() { default_triggers() } else { triggers.iter().filter_map(|it| trigger(*it)).collect() };
    let statuses = match triggers.is_empty() || triggers.contains(&SpecTrigger::RetriableStatusCodes) {
        true if codes.is_empty() => vec![StatusCode::SERVICE_UNAVAILABLE],
        true => statuses(codes)?,
        false => Vec::new(),
    };
    let attempts_per_priority = spec.num_attempts_per_priority;
    Ok(Retry { attempts: spec.num_retries, on, statuses, backoff: base, max_backoff: longest, attempts_per_priority })
}

/// Envoy Gateway's triggers where `retryOn` is absent (with 503 as retriable status).
pub(crate) fn default_triggers() -> Vec<RetryTrigger> {
    use RetryTrigger::{ConnectFailure, GrpcCancelled, GrpcUnavailable, RefusedStream};
    vec![ConnectFailure, RefusedStream, GrpcUnavailable, GrpcCancelled]
}

fn trigger(trigger: SpecTrigger) -> Option<RetryTrigger> {
    Some(match trigger {
        SpecTrigger::ServerError => RetryTrigger::ServerError,
        SpecTrigger::GatewayError => RetryTrigger::GatewayError,
        SpecTrigger::Reset => RetryTrigger::Reset,
        SpecTrigger::ResetBeforeRequest => RetryTrigger::ResetBeforeRequest,
        SpecTrigger::ConnectFailure => RetryTrigger::ConnectFailure,
        SpecTrigger::Retriable4xx => RetryTrigger::Retriable4xx,
        SpecTrigger::RefusedStream => RetryTrigger::RefusedStream,
        SpecTrigger::RetriableStatusCodes => return None,
        SpecTrigger::Cancelled => RetryTrigger::GrpcCancelled,
        SpecTrigger::DeadlineExceeded => RetryTrigger::GrpcDeadlineExceeded,
        SpecTrigger::Internal => RetryTrigger::GrpcInternal,
        SpecTrigger::ResourceExhausted => RetryTrigger::GrpcResourceExhausted,
        SpecTrigger::Unavailable => RetryTrigger::GrpcUnavailable,
    })
}

fn load_balancer(spec: &SpecBalancer) -> Result<LoadBalancer, Problem> {
    Ok(match spec.kind {
        LoadBalancerType::LeastRequest => LoadBalancer::LeastRequest,
        LoadBalancerType::Random => LoadBalancer::Random,
        LoadBalancerType::RoundRobin => LoadBalancer::RoundRobin,
        LoadBalancerType::ConsistentHash => {
            let hash = spec.consistent_hash.as_ref();
            let hash = hash.ok_or_else(|| invalid("loadBalancer.consistentHash: is required with type ConsistentHash"))?;
            LoadBalancer::ConsistentHash { source: hash_source(hash)?, table_size: hash.table_size }
        }
        // These are named as unsupported; the default serves in their place.
        LoadBalancerType::BackendUtilization | LoadBalancerType::DynamicModule => LoadBalancer::LeastRequest,
    })
}

fn hash_source(hash: &ConsistentHash) -> Result<HashSource, Problem> {
    let header = |name: &str| {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(&format!("loadBalancer.consistentHash: {name} is no header name")))
    };
    Ok(match hash.kind {
        ConsistentHashType::SourceIP => HashSource::SourceIp,
        ConsistentHashType::Header | ConsistentHashType::Headers => {
            let names = hash.header.iter().chain(&hash.headers);
            HashSource::Headers(names.map(|it| header(&it.name)).collect::<Result<_, _>>()?)
        }
        ConsistentHashType::QueryParams => {
            HashSource::QueryParams(hash.query_params.iter().map(|it| it.name.as_str().into()).collect())
        }
        ConsistentHashType::Cookie => {
            let cookie = hash.cookie.as_ref();
            let cookie = cookie.ok_or_else(|| invalid("loadBalancer.consistentHash.cookie: is required with type Cookie"))?;
            let attribute =
                |(name, value): (&String, &String)| (name.as_str().into(), (!value.is_empty()).then(|| value.as_str().into()));
            HashSource::Cookie {
                name: cookie.name.as_str().into(),
                ttl: cookie.ttl.and_then(|it| it.enabled()),
                attributes: cookie.attributes.iter().map(attribute).collect(),
            }
        }
    })
}
