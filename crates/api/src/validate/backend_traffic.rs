//! BackendTrafficPolicy.

use super::Check;
use super::client_traffic::is_cidr;
use super::filters::fraction;
use crate::envoy::admission_control::AdmissionControl;
use crate::envoy::backend_traffic_policy::BackendTrafficPolicySpec;
use crate::envoy::fault::FaultInjection;
use crate::envoy::health_check::{ActiveHealthCheck, ActiveHealthCheckType, HealthCheck};
use crate::envoy::load_balancer::{ConsistentHash, ConsistentHashType, LoadBalancer, LoadBalancerType};
use crate::envoy::merge::MergeType;
use crate::envoy::rate_limit::{ClientSelector, RateLimit, RateLimitRules};
use crate::envoy::response_override::ResponseOverride;

const TARGETS: [&str; 7] = ["Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TCPRoute", "UDPRoute", "TLSRoute"];

pub(super) fn policy(check: &mut Check, policy: &BackendTrafficPolicySpec) {
    let targets = policy.targets();
    check.targets(targets.len() + policy.target_selectors.len());
    for target in targets.iter().filter(|target| !TARGETS.contains(&target.kind.as_str())) {
        let message = format!("{} is not allowed: a BackendTrafficPolicy applies to {}", target.kind, TARGETS.join(", "));
        check.fail_at("targetRefs", message);
    }
    if policy.merge_type == Some(MergeType::Replace) {
        check.fail_at("mergeType", "Replace is not allowed here: remove the field, which replaces too");
    } else if policy.merge_type.is_some() && targets.iter().any(|target| !target.kind.ends_with("Route")) {
        check.fail_at("mergeType", "is for policies whose targets are routes: remove it");
    }
    if let Some(budget) = policy.circuit_breaker.and_then(|breaker| breaker.retry_budget) {
        fraction(check, "circuitBreaker.retryBudget.percent", budget.percent);
    }
    if let Some(on) = policy.retry.as_ref().and_then(|retry| retry.retry_on.as_ref()) {
        check.at("retry.retryOn", |check| statuses(check, "httpStatusCodes", &on.http_status_codes));
    }
    if let Some(balancer) = &policy.load_balancer {
        check.at("loadBalancer", |check| load_balancer(check, balancer));
    }
    if let Some(health) = &policy.health_check {
        check.at("healthCheck", |check| health_check(check, health));
    }
    if let Some(faults) = &policy.fault_injection {
        check.at("faultInjection", |check| fault(check, faults));
    }
    if let Some(http2) = &policy.http2 {
        check.at("http2", |check| super::client_traffic::http2(check, http2));
    }
    check.each("httpUpgrade", &policy.http_upgrade, |check, upgrade| {
        if upgrade.connect.is_some() && !upgrade.is_connect() {
            check.fail_at("connect", "goes with the type CONNECT only");
        }
    });
    if let Some(control) = &policy.admission_control {
        check.at("admissionControl", |check| admission_control(check, control));
    }
    check.each("responseOverride", &policy.response_override, response_override);
    if !policy.compression.is_empty() && !policy.compressor.is_empty() {
        check.fail_at("compression", "must not be set beside compressor: keep one of them");
    }
    if let Some(limit) = &policy.rate_limit {
        check.at("rateLimit", |check| rate_limit(check, limit));
    }
}

/// The rules of `rateLimit`.
pub(super) fn rate_limit(check: &mut Check, limit: &RateLimit) {
    for (field, rules, most) in [("global", &limit.global, 256), ("local", &limit.local, 16)] {
        if let Some(rules) = rules {
            check.at(field, |check| rate_limit_rules(check, rules, most));
        }
    }
}

fn statuses(check: &mut Check, field: &str, list: &[u16]) {
    check.each(field, list, |check, status| {
        if !(100..=599).contains(status) {
            check.fail(format!("{status} is not a status: use 100 to 599"));
        }
    });
}

fn load_balancer(check: &mut Check, balancer: &LoadBalancer) {
    match (balancer.kind, &balancer.consistent_hash) {
        (LoadBalancerType::ConsistentHash, None) => {
            check.fail_at("consistentHash", "required when the type is ConsistentHash");
        }
        (_, Some(hash)) => check.at("consistentHash", |check| consistent_hash(check, hash)),
        _ => {}
    }
    let can_start_slowly = matches!(
        balancer.kind,
        LoadBalancerType::RoundRobin | LoadBalancerType::LeastRequest | LoadBalancerType::BackendUtilization
    );
    if balancer.slow_start.is_some() && !can_start_slowly {
        check.fail_at("slowStart", "goes with the types RoundRobin and LeastRequest only: change the type, or remove it");
    }
}

fn consistent_hash(check: &mut Check, hash: &ConsistentHash) {
    let (field, is_set) = match hash.kind {
        ConsistentHashType::SourceIP => ("", true),
        ConsistentHashType::Header => ("header", hash.header.is_some()),
        ConsistentHashType::Headers => ("headers", !hash.headers.is_empty()),
        ConsistentHashType::Cookie => ("cookie", hash.cookie.is_some()),
        ConsistentHashType::QueryParams => ("queryParams", !hash.query_params.is_empty()),
    };
    if !is_set {
        check.fail_at(field, format!("required when the type is {:?}", hash.kind));
    }
    check.range("tableSize", hash.table_size, 2..=5_000_011);
}

fn health_check(check: &mut Check, health: &HealthCheck) {
    if let Some(threshold) = health.panic_threshold {
        check.range("panicThreshold", threshold, 0..=100);
    }
    if let Some(active) = &health.active {
        check.at("active", |check| active_check(check, active));
    }
    if let Some(passive) = &health.passive {
        check.at("passive", |check| {
            check.range("maxEjectionPercent", passive.max_ejection_percent, 0..=100);
            if let Some(threshold) = passive.failure_percentage_threshold {
                check.range("failurePercentageThreshold", threshold, 0..=100);
            }
        });
    }
}

fn active_check(check: &mut Check, active: &ActiveHealthCheck) {
    for (field, threshold) in [("unhealthyThreshold", active.unhealthy_threshold), ("healthyThreshold", active.healthy_threshold)] {
        if threshold == 0 {
            check.fail_at(field, "must be at least 1");
        }
    }
    if active.grpc.is_some() && active.kind != ActiveHealthCheckType::Grpc {
        check.fail_at("grpc", "goes with the type GRPC only");
    }
    match (active.kind, &active.http, &active.tcp) {
        (ActiveHealthCheckType::Http, None, _) => check.fail_at("http", "required when the type is HTTP"),
        (ActiveHealthCheckType::Tcp, _, None) => check.fail_at("tcp", "required when the type is TCP: {} connects only"),
        (_, Some(http), _) => check.at("http", |check| {
            check.length("path", &http.path, 1..=1024);
            statuses(check, "expectedStatuses", &http.expected_statuses);
            statuses(check, "retriableStatuses", &http.retriable_statuses);
            if http.request_body.is_some() && !matches!(http.method.as_deref(), Some("POST" | "PUT")) {
                check.fail_at("requestBody", "goes with the methods POST and PUT only");
            }
        }),
        _ => {}
    }
}

fn fault(check: &mut Check, fault: &FaultInjection) {
    if fault.delay.is_none() && fault.abort.is_none() {
        check.fail("needs delay, abort, or both");
    }
    if let Some(delay) = fault.delay {
        check.range("delay.percentage", delay.percentage, 0.0..=100.0);
    }
    if let Some(abort) = fault.abort {
        check.at("abort", |check| {
            check.range("percentage", abort.percentage, 0.0..=100.0);
            match (abort.http_status, abort.grpc_status) {
                (None, None) => check.fail("needs httpStatus or grpcStatus"),
                (Some(_), Some(_)) => check.fail("has both httpStatus and grpcStatus: remove one of them"),
                (Some(status), None) => check.range("httpStatus", status, 200..=600),
                (None, Some(status)) => check.range("grpcStatus", status, 0..=16),
            }
        });
    }
}

fn admission_control(check: &mut Check, control: &AdmissionControl) {
    if control.sampling_window.is_some_and(|window| window.as_std() < std::time::Duration::from_secs(1)) {
        check.fail_at("samplingWindow", "must be at least 1s");
    }
    if let Some(rate) = control.min_success_rate {
        check.range("minSuccessRate", rate, 1..=100);
    }
    if control.rejection_aggression == Some(0) {
        check.fail_at("rejectionAggression", "must be at least 1");
    }
    if let Some(percent) = control.max_rejection_percent {
        check.range("maxRejectionPercent", percent, 0..=100);
    }
    if let Some(http) = control.success_criteria.as_ref().and_then(|criteria| criteria.http.as_ref()) {
        check.at("successCriteria.http", |check| statuses(check, "statusCodes", &http.status_codes));
    }
}

fn response_override(check: &mut Check, one: &ResponseOverride) {
    if one.response.is_some() == one.redirect.is_some() {
        check.fail("needs exactly one of response and redirect");
    }
    check.count("match.statusCodes", one.matches.status_codes.len(), 0..=50);
    check.count("match.responseHeaders", one.matches.response_headers.len(), 0..=16);
    if one.matches.status_codes.is_empty() && one.matches.response_headers.is_empty() {
        check.fail_at("match", "needs statusCodes or responseHeaders");
    }
}

fn rate_limit_rules(check: &mut Check, limit: &RateLimitRules, most: usize) {
    check.count("rules", limit.rules.len(), 0..=most);
    check.each("rules", &limit.rules, |check, rule| {
        check.count("clientSelectors", rule.client_selectors.len(), 0..=8);
        check.each("clientSelectors", &rule.client_selectors, selector);
        if let Some(cost) = &rule.cost {
            for (field, part) in [("cost.request", &cost.request), ("cost.response", &cost.response)] {
                if part.as_ref().is_some_and(|part| part.number.is_some() == part.metadata.is_some()) {
                    check.fail_at(field, "needs exactly one of number and metadata");
                }
            }
        }
    });
}

fn selector(check: &mut Check, selector: &ClientSelector) {
    if *selector == ClientSelector::default() {
        check.fail("needs at least one of headers, methods, path, sourceCIDR and queryParams");
    }
    check.count("headers", selector.headers.len(), 0..=128);
    check.count("queryParams", selector.query_params.len(), 0..=16);
    if let Some(source) = &selector.source_cidr
        && !is_cidr(&source.value)
    {
        let message = format!("{:?} is not a network: write an address and a length, such as \"10.0.0.0/8\"", source.value);
        check.fail_at("sourceCIDR.value", message);
    }
}
