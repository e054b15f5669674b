//! Fields of BackendTrafficPolicy and ClientTrafficPolicy that are read and not acted on yet.

use pailou_api::{BackendTrafficPolicy, ClientTrafficPolicy, envoy::health_check::HealthCheck};
use pailou_snapshot::AdmissionControl;

use super::{http_filters::has_settings, tcp_keepalive};

/// Linux takes no others.
const IDLE_TIME: &str = "tcpKeepalive.idleTime beyond whole seconds from 1 to 32767";

/// Paths below `spec` that are set and not acted on. `has_limit_store`: replicas share global limits.
pub(crate) fn of_traffic(policy: &BackendTrafficPolicy, has_limit_store: bool) -> Vec<&'static str> {
    let spec = &policy.spec;
    let mut paths = spec.unsupported();
    let mut name = |is_set: bool, path: &'static str| paths.extend(is_set.then_some(path));
    let is_global = spec.rate_limit.as_ref().is_some_and(|limit| limit.global.as_ref().is_some_and(|it| !it.rules.is_empty()));
    name(is_global && !has_limit_store, "rateLimit.global across replicas (each proxy counts by itself)");
    name(!spec.compressor.iter().all(has_settings), "compressor[] without the object of its type (gzip, brotli or zstd)");
    let http = spec.timeout.as_ref().and_then(|it| it.http.as_ref());
    name(http.is_some_and(|it| it.max_stream_duration.is_some() && it.request_timeout.is_some()), "timeout.http.maxStreamDuration");
    name(spec.load_balancer.as_ref().is_some_and(|it| it.slow_start.is_some()), "loadBalancer.slowStart");
    let window = spec.admission_control.as_ref().and_then(|it| it.sampling_window);
    name(window.is_some_and(|it| it.as_std() > AdmissionControl::MAX_WINDOW), "admissionControl.samplingWindow beyond 1h");
    let keepalive = spec.tcp_keepalive.as_ref();
    name(keepalive.is_some_and(|it| it.probes.is_some()), "tcpKeepalive.probes");
    name(keepalive.is_some_and(|it| it.interval.is_some()), "tcpKeepalive.interval");
    name(keepalive.is_some_and(|it| tcp_keepalive::is_time_changed(it.idle_time)), IDLE_TIME);
    if let Some(health) = &spec.health_check {
        of_health(health, &mut paths);
    }
    paths
}

fn of_health(health: &HealthCheck, paths: &mut Vec<&'static str>) {
    let mut name = |is_set: bool, path: &'static str| paths.extend(is_set.then_some(path));
    if let Some(active) = &health.active {
        name(active.initial_jitter.is_some(), "healthCheck.active.initialJitter");
        name(active.overrides.is_some(), "healthCheck.active.overrides");
        let http = active.http.as_ref();
        name(http.is_some_and(|it| !it.retriable_statuses.is_empty()), "healthCheck.active.http.retriableStatuses");
        name(http.is_some_and(|it| it.expected_response.is_some()), "healthCheck.active.http.expectedResponse");
        name(http.is_some_and(|it| it.request_body.is_some()), "healthCheck.active.http.requestBody");
        name(active.tcp.as_ref().is_some_and(|it| it.send.is_some()), "healthCheck.active.tcp.send");
        name(active.tcp.as_ref().is_some_and(|it| it.receive.is_some()), "healthCheck.active.tcp.receive");
    }
    if let Some(passive) = &health.passive {
        name(passive.split_external_local_origin_errors, "healthCheck.passive.splitExternalLocalOriginErrors");
        name(passive.failure_percentage_threshold.is_some(), "healthCheck.passive.failurePercentageThreshold");
    }
}

/// Paths below `spec` that are set and not acted on.
pub(crate) fn of_client(policy: &ClientTrafficPolicy) -> Vec<&'static str> {
    let mut paths = policy.spec.unsupported();
    let mut name = |is_set: bool, path: &'static str| paths.extend(is_set.then_some(path));
    let keepalive = policy.spec.tcp_keepalive.unwrap_or_default();
    name(tcp_keepalive::is_time_changed(keepalive.idle_time), IDLE_TIME);
    name(tcp_keepalive::is_time_changed(keepalive.interval), "tcpKeepalive.interval beyond whole seconds from 1 to 32767");
    name(tcp_keepalive::are_probes_changed(keepalive.probes), "tcpKeepalive.probes beyond 127");
    paths
}
