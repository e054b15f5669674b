//! Fields of the specs that `mergeType` merges. A field that is missing here does not compile.

use std::collections::BTreeMap;

use super::{MergeOver, MergeType};
use crate::{
    duration::Duration,
    envoy::{
        admission_control::{
            AdmissionControl, AdmissionControlSuccessCriteria, GrpcStatusCode, GrpcSuccessCriteria, HttpSuccessCriteria,
        },
        api_key_auth::{ApiKeyAuth, ExtractFrom},
        authorization::{Authorization, AuthorizationAction, AuthorizationRule},
        backend_connection::{BackendConnection, Preconnect},
        backend_settings::BackendSettings,
        backend_traffic_policy::{
            BackendHttpTimeout, BackendProxyProtocol, BackendTcpTimeout, BackendTimeout, BackendTrafficPolicySpec, Compression,
            CompressionType, NoFields, ProxyProtocolVersion, RequestBuffer,
        },
        bandwidth_limit::{
            BandwidthLimit, BandwidthLimitTrailers, BandwidthLimitUnit, BandwidthLimitValue, RequestBandwidthLimit,
            ResponseBandwidthLimit,
        },
        basic_auth::BasicAuth,
        circuit_breaker::{CircuitBreaker, PerEndpointCircuitBreaker, RetryBudget},
        client_traffic_policy::TcpKeepalive,
        csrf::Csrf,
        dns::{DnsLookupFamily, DnsSettings},
        ext_auth::{BodyToExtAuth, ContextExtension, ExtAuth, GrpcExtAuth, HttpExtAuth},
        fault::{FaultAbort, FaultDelay, FaultInjection},
        health_check::{
            ActiveHealthCheck, ActiveHealthCheckType, GrpcHealthCheck, HealthCheck, HealthCheckOverrides, HealthCheckPayload,
            HttpHealthCheck, PassiveHealthCheck, TcpHealthCheck,
        },
        http_upgrade::{ConnectUpgrade, ProtocolUpgrade},
        http2::{Http2Keepalive, Http2Settings},
        jwt::{Jwt, JwtProvider},
        load_balancer::{ConsistentHash, ConsistentHashType, HashCookie, HashName, LoadBalancer, LoadBalancerType, SlowStart},
        oidc::{
            ForwardIdToken, Oidc, OidcCookieConfig, OidcCookieNames, OidcDenyRedirect, OidcDenyRedirectHeader, OidcProvider,
            OidcSameSite,
        },
        rate_limit::{RateLimit, RateLimitRule, RateLimitRules, RateLimitType},
        response_override::ResponseOverride,
        retry::{BackOff, PerRetry, Retry, RetryOn, RetryTrigger},
        security_policy::{SecurityCors, SecurityPolicySpec},
        telemetry::{BackendTelemetry, BackendTracing, TracingSpanName},
    },
    http_filter::Fraction,
    port::PortNumber,
    quantity::Quantity,
    refs::{BackendObjectReference, BackendRef, PolicyTargetReference, SecretObjectReference, TargetSelector},
    unsupported::Unsupported,
};

impl<T: MergeOver + Clone> MergeOver for Option<T> {
    fn over(&self, parent: &Self, merge_type: MergeType) -> Self {
        match (self, parent) {
            (Some(own), Some(parent)) => Some(own.over(parent, merge_type)),
            (own, parent) => own.as_ref().or(parent.as_ref()).cloned(),
        }
    }
}

/// Item of a list.
trait Item: Clone {
    /// Merges two lists of which neither is empty.
    fn lists(own: &[Self], _parent: &[Self], _merge_type: MergeType) -> Vec<Self> {
        own.to_vec()
    }
}

impl<T: Item> MergeOver for Vec<T> {
    fn over(&self, parent: &Self, merge_type: MergeType) -> Self {
        match (self.is_empty(), parent.is_empty()) {
            (true, _) => parent.clone(),
            (false, true) => self.clone(),
            (false, false) => T::lists(self, parent, merge_type),
        }
    }
}

/// Merges lists whose key is `type`: the parent's types in their order, then further ones.
fn lists_by_type<T: MergeOver + Clone>(own: &[T], parent: &[T], merge_type: MergeType, is_same: fn(&T, &T) -> bool) -> Vec<T> {
    if merge_type != MergeType::StrategicMerge {
        return own.to_vec();
    }
    let mut merged = parent.to_vec();
    for item in own {
        match merged.iter_mut().find(|known| is_same(known, item)) {
            Some(known) => *known = item.over(known, merge_type),
            None => merged.push(item.clone()),
        }
    }
    merged
}

impl Item for Compression {
    fn lists(own: &[Self], parent: &[Self], merge_type: MergeType) -> Vec<Self> {
        lists_by_type(own, parent, merge_type, |one, other| one.kind == other.kind)
    }
}

impl Item for ProtocolUpgrade {
    fn lists(own: &[Self], parent: &[Self], merge_type: MergeType) -> Vec<Self> {
        lists_by_type(own, parent, merge_type, |one, other| one.kind == other.kind)
    }
}

impl Item for ContextExtension {
    /// The key is `name`.
    fn lists(own: &[Self], parent: &[Self], merge_type: MergeType) -> Vec<Self> {
        if merge_type != MergeType::StrategicMerge {
            return own.to_vec();
        }
        let kept = parent.iter().filter(|item| own.iter().all(|it| it.name != item.name));
        kept.chain(own).cloned().collect()
    }
}

impl Item for RateLimitRule {
    /// Rules of both apply.
    fn lists(own: &[Self], parent: &[Self], merge_type: MergeType) -> Vec<Self> {
        if merge_type != MergeType::StrategicMerge {
            return own.to_vec();
        }
        parent.iter().chain(own).cloned().collect()
    }
}

macro_rules! items {
    ($($type:ty),+ $(,)?) => { $(impl Item for $type {})+ };
}

items!(
    AuthorizationRule,
    BackendRef,
    ExtractFrom,
    GrpcStatusCode,
    HashName,
    JwtProvider,
    OidcDenyRedirectHeader,
    PolicyTargetReference,
    ResponseOverride,
    RetryTrigger,
    SecretObjectReference,
    String,
    TargetSelector,
    u16,
);

impl<T: Clone> MergeOver for BTreeMap<String, T> {
    fn over(&self, parent: &Self, _merge_type: MergeType) -> Self {
        parent.iter().chain(self).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// Values that take the place of the parent's whole.
macro_rules! whole {
    ($($type:ty),+ $(,)?) => {
        $(impl MergeOver for $type {
            fn over(&self, _parent: &Self, _merge_type: MergeType) -> Self {
                self.clone()
            }
        })+
    };
}

whole!(
    ActiveHealthCheckType,
    AuthorizationAction,
    BandwidthLimitUnit,
    BackendObjectReference,
    CompressionType,
    ConsistentHashType,
    DnsLookupFamily,
    Duration,
    Fraction,
    HealthCheckPayload,
    LoadBalancerType,
    MergeType,
    NoFields,
    OidcSameSite,
    PolicyTargetReference,
    PortNumber,
    ProxyProtocolVersion,
    Quantity,
    RateLimitType,
    SecretObjectReference,
    String,
    TracingSpanName,
    Unsupported,
    bool,
    f64,
    u16,
    u32,
    u8,
);

macro_rules! fields {
    ($($type:ident { $($field:ident),+ $(,)? })+) => {
        $(impl MergeOver for $type {
            fn over(&self, parent: &Self, merge_type: MergeType) -> Self {
                let Self { $($field),+ } = self;
                Self { $($field: $field.over(&parent.$field, merge_type)),+ }
            }
        })+
    };
}

fields! {
    BackendTrafficPolicySpec {
        target_ref, target_refs, target_selectors, merge_type, timeout, circuit_breaker, retry, load_balancer, health_check, tcp_keepalive,
        fault_injection, request_buffer, response_override, compression, compressor, rate_limit, proxy_protocol, connection, http2, dns,
        use_client_protocol, http_upgrade, telemetry, routing_type, admission_control, bandwidth_limit, undecodable,
    }
    BackendTelemetry { tracing, metrics }
    BackendTracing {
        sampling_fraction, client_sampling_fraction, overall_sampling_fraction, custom_tags, tags, span_name,
    }
    BackendConnection { buffer_limit, preconnect }
    Preconnect { per_endpoint_percent, predictive_percent }
    BackendTimeout { tcp, http }
    DnsSettings { dns_refresh_rate, respect_dns_ttl, lookup_family }
    Http2Settings {
        initial_stream_window_size, initial_connection_window_size, max_concurrent_streams, on_invalid_message, connection_keepalive,
    }
    Http2Keepalive { interval, timeout, interval_jitter, idle_interval }
    ProtocolUpgrade { kind, connect }
    ConnectUpgrade { terminate }
    BandwidthLimit { request, response }
    RequestBandwidthLimit { limit }
    ResponseBandwidthLimit { limit, response_trailers }
    BandwidthLimitValue { value, unit }
    BandwidthLimitTrailers { prefix }
    AdmissionControl {
        sampling_window, min_success_rate, rejection_aggression, min_request_rate, max_rejection_percent, success_criteria,
    }
    AdmissionControlSuccessCriteria { http, grpc }
    HttpSuccessCriteria { status_codes }
    GrpcSuccessCriteria { status_codes }
    BackendTcpTimeout { connect_timeout }
    BackendHttpTimeout {
        connection_idle_timeout, max_connection_duration, max_stream_duration, request_timeout, stream_idle_timeout,
    }
    CircuitBreaker {
        max_connections, max_pending_requests, max_parallel_requests, max_parallel_retries, max_requests_per_connection, per_endpoint,
        retry_budget,
    }
    PerEndpointCircuitBreaker { max_connections }
    RetryBudget { percent, min_retry_concurrency }
    Retry { num_retries, num_attempts_per_priority, retry_on, per_retry }
    RetryOn { triggers, http_status_codes }
    PerRetry { timeout, back_off }
    BackOff { base_interval, max_interval }
    LoadBalancer {
        kind, consistent_hash, slow_start, zone_aware, endpoint_override, backend_utilization, dynamic_module,
    }
    ConsistentHash { kind, header, headers, cookie, query_params, table_size }
    HashName { name }
    HashCookie { name, ttl, attributes }
    SlowStart { window }
    HealthCheck { active, passive, panic_threshold }
    ActiveHealthCheck {
        timeout, interval, initial_jitter, unhealthy_threshold, healthy_threshold, kind, http, tcp, grpc, overrides, health_check_log,
    }
    HttpHealthCheck { hostname, path, method, expected_statuses, retriable_statuses, expected_response, request_body }
    TcpHealthCheck { send, receive }
    GrpcHealthCheck { service }
    HealthCheckOverrides { port }
    PassiveHealthCheck {
        split_external_local_origin_errors, interval, consecutive_local_origin_failures, consecutive_gateway_errors,
        consecutive_5xx_errors, base_ejection_time, max_ejection_percent, failure_percentage_threshold, always_eject_one_endpoint,
    }
    BackendProxyProtocol { version }
    TcpKeepalive { probes, idle_time, interval }
    FaultInjection { delay, abort }
    FaultDelay { fixed_delay, percentage }
    FaultAbort { http_status, grpc_status, percentage }
    RequestBuffer { limit }
    Compression { kind, min_content_length, gzip, brotli, zstd }
    RateLimit { kind, global, local }
    RateLimitRules { rules }
    SecurityPolicySpec {
        target_ref, target_refs, target_selectors, merge_type, cors, api_key_auth, basic_auth, jwt, oidc, ext_auth, authorization, csrf,
        undecodable,
    }
    ExtAuth {
        grpc, http, headers_to_ext_auth, body_to_ext_auth, timeout, fail_open, recompute_route, include_route_metadata, context_extensions,
        status_on_error,
    }
    GrpcExtAuth { backend_ref, backend_refs, backend_settings }
    HttpExtAuth { backend_ref, backend_refs, backend_settings, path, path_override, headers_to_backend }
    BodyToExtAuth { max_request_bytes }
    BackendSettings {
        load_balancer, health_check, tcp_keepalive, proxy_protocol, timeout, retry, circuit_breaker, connection, http2, dns,
    }
    ApiKeyAuth { credential_refs, extract_from, forward_client_id_header, sanitize }
    BasicAuth { users, forward_username_header }
    Jwt { optional, fail_open, providers }
    Oidc {
        provider, client_id, client_id_ref, client_secret, scopes, resources, redirect_url, logout_path, forward_access_token,
        forward_id_token, default_token_ttl, refresh_token, default_refresh_token_ttl, csrf_token_ttl, disable_token_encryption,
        cookie_names, cookie_config, cookie_domain, deny_redirect, pass_through_auth_header,
    }
    OidcProvider {
        issuer, authorization_endpoint, token_endpoint, end_session_endpoint, backend_ref, backend_refs, backend_settings,
    }
    ForwardIdToken { header }
    OidcCookieNames { access_token, id_token }
    OidcCookieConfig { same_site }
    OidcDenyRedirect { headers }
    Authorization { rules, default_action }
    Csrf { shadow_fraction, additional_origins }
    SecurityCors { allow_origins, allow_methods, allow_headers, expose_headers, max_age, allow_credentials }
}
