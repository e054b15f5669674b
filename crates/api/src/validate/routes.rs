//! Routes.

use super::Check;
use super::filters::{self, RuleShape};
use crate::grpc_route::{GrpcRouteFilter, GrpcRouteMatch, GrpcRouteSpec};
use crate::http_filter::HttpRouteFilter;
use crate::http_match::{HttpRouteMatch, PathMatch};
use crate::http_route::{HttpRouteRule, HttpRouteSpec};
use crate::l4_route::{ConnectionRule, TlsRouteSpec};
use crate::refs::{BackendObjectReference, ParentReference};
use crate::session::{CookieLifetime, SessionPersistence, SessionPersistenceType};

pub(super) fn http(check: &mut Check, route: &HttpRouteSpec) {
    parents(check, &route.parent_refs);
    check.count("hostnames", route.hostnames.len(), 0..=16);
    check.count("rules", route.rules.len(), 1..=16);
    check.unique("rules", &route.rules, |rule| rule.name.clone());
    let matches: usize = route.rules.iter().map(|rule| rule.matches.len()).sum();
    too_many_matches(check, matches);
    check.each("rules", &route.rules, http_rule);
}

fn http_rule(check: &mut Check, rule: &HttpRouteRule) {
    check.count("matches", rule.matches.len(), 0..=64);
    check.each("matches", &rule.matches, http_match);
    let one_prefix = matches!(rule.matches.as_slice(), [only] if matches!(only.path, PathMatch::PathPrefix(_)));
    filters::check(check, &rule.filters, RuleShape { one_prefix });
    let redirects = rule.filters.iter().any(|filter| matches!(filter, HttpRouteFilter::RequestRedirect(_)));
    if redirects && !rule.backend_refs.is_empty() {
        check.fail_at("backendRefs", "must be empty beside a RequestRedirect filter: nothing would be sent to them");
    }
    check.count("backendRefs", rule.backend_refs.len(), 0..=16);
    check.each("backendRefs", &rule.backend_refs, |check, backend| {
        target(check, &backend.target());
        check.range("weight", backend.weight, 0..=1_000_000);
        filters::check(check, &backend.filters, RuleShape { one_prefix });
    });
    if let Some(timeouts) = &rule.timeouts
        && let (Some(request), Some(attempt)) = (timeouts.request, timeouts.backend_request)
        && request.enabled().is_some()
        && attempt > request
    {
        check.fail_at("timeouts.backendRequest", format!("{attempt} is longer than timeouts.request ({request}): shorten it"));
    }
    if let Some(retry) = &rule.retry {
        check.at("retry", |check| {
            check.each("codes", &retry.codes, |check, code| {
                if !(400..=599).contains(code) {
                    check.fail(format!("{code} is not allowed: use 400 to 599"));
                }
            });
        });
    }
    session(check, rule.session_persistence.as_deref());
}

fn http_match(check: &mut Check, one: &HttpRouteMatch) {
    check.at("path.value", |check| path(check, &one.path));
    check.count("headers", one.headers.len(), 0..=16);
    check.unique("headers", &one.headers, |header| Some(header.name.to_ascii_lowercase()));
    check.each("headers", &one.headers, |check, header| check.length("value", &header.value, 1..=4096));
    check.count("queryParams", one.query_params.len(), 0..=16);
    check.unique("queryParams", &one.query_params, |param| Some(param.name.clone()));
    check.each("queryParams", &one.query_params, |check, param| check.length("value", &param.value, 1..=1024));
}

fn path(check: &mut Check, path: &PathMatch) {
    let value = path.value();
    if value.chars().count() > 1024 {
        check.fail("is longer than 1024 characters");
    }
    if matches!(path, PathMatch::RegularExpression(_)) {
        return;
    }
    if !value.starts_with('/') {
        return check.fail(format!("{value:?} must begin with '/'"));
    }
    for part in ["//", "/./", "/../", "%2f", "%2F", "#"] {
        if value.contains(part) {
            check.fail(format!("{value:?} must not have {part:?} in it: requests are matched by their normalised path"));
        }
    }
    for end in ["/..", "/."] {
        if value.ends_with(end) {
            check.fail(format!("{value:?} must not end with {end:?}"));
        }
    }
    if !has_path_characters(value) {
        check.fail(format!("{value:?} has characters that a path cannot have: percent-encode them, or use RegularExpression"));
    }
}

fn has_path_characters(value: &str) -> bool {
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let plain = byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte);
        let mut encoded = || bytes.next().is_some_and(|hex| hex.is_ascii_hexdigit());
        if !(plain || byte == b'%' && encoded() && encoded()) {
            return false;
        }
    }
    true
}

pub(super) fn grpc(check: &mut Check, route: &GrpcRouteSpec) {
    parents(check, &route.parent_refs);
    check.count("hostnames", route.hostnames.len(), 0..=16);
    check.count("rules", route.rules.len(), 0..=16);
    check.unique("rules", &route.rules, |rule| rule.name.clone());
    let matches: usize = route.rules.iter().map(|rule| rule.matches.len()).sum();
    too_many_matches(check, matches);
    check.each("rules", &route.rules, |check, rule| {
        check.count("matches", rule.matches.len(), 0..=64);
        check.each("matches", &rule.matches, grpc_match);
        grpc_filters(check, &rule.filters);
        check.count("backendRefs", rule.backend_refs.len(), 0..=16);
        check.each("backendRefs", &rule.backend_refs, |check, backend| {
            target(check, &backend.target());
            check.range("weight", backend.weight, 0..=1_000_000);
            grpc_filters(check, &backend.filters);
        });
        session(check, rule.session_persistence.as_deref());
    });
}

fn grpc_match(check: &mut Check, one: &GrpcRouteMatch) {
    if let Some(method) = &one.method
        && method.service.as_deref().unwrap_or_default().is_empty()
        && method.method.as_deref().unwrap_or_default().is_empty()
    {
        check.fail_at("method", "must have service, method, or both");
    }
    check.count("headers", one.headers.len(), 0..=16);
    check.unique("headers", &one.headers, |header| Some(header.name.to_ascii_lowercase()));
}

fn grpc_filters(check: &mut Check, list: &[GrpcRouteFilter]) {
    check.count("filters", list.len(), 0..=16);
    check.each("filters", list, |check, filter| match filter {
        GrpcRouteFilter::RequestHeaderModifier(headers) => filters::headers(check, "requestHeaderModifier", headers),
        GrpcRouteFilter::ResponseHeaderModifier(headers) => filters::headers(check, "responseHeaderModifier", headers),
        GrpcRouteFilter::RequestMirror(mirror) => check.at("requestMirror", |check| filters::mirror(check, mirror)),
        GrpcRouteFilter::ExtensionRef(_) => {}
    });
    let once = |check: &mut Check, name: &str, count: usize| {
        if count > 1 {
            check.fail_at("filters", format!("has {count} filters of type {name}: put them into one"));
        }
    };
    let is_request = |filter: &&GrpcRouteFilter| matches!(filter, GrpcRouteFilter::RequestHeaderModifier(_));
    let is_response = |filter: &&GrpcRouteFilter| matches!(filter, GrpcRouteFilter::ResponseHeaderModifier(_));
    once(check, "RequestHeaderModifier", list.iter().filter(is_request).count());
    once(check, "ResponseHeaderModifier", list.iter().filter(is_response).count());
}

pub(super) fn tls(check: &mut Check, route: &TlsRouteSpec, version: &str) {
    let least = if version == "v1alpha2" { 0 } else { 1 };
    check.count("hostnames", route.hostnames.len(), least..=1024);
    check.each("hostnames", &route.hostnames, |check, hostname| {
        if hostname.parse::<std::net::IpAddr>().is_ok() {
            check.fail(format!("{hostname:?} is an address: server names are names"));
        }
    });
    connections(check, &route.parent_refs, &route.rules, version);
}

pub(super) fn connections(check: &mut Check, parent_refs: &[ParentReference], rules: &[ConnectionRule], version: &str) {
    parents(check, parent_refs);
    let most = if version == "v1alpha2" { 16 } else { 1 };
    check.count("rules", rules.len(), 1..=most);
    check.unique("rules", rules, |rule| rule.name.clone());
    check.each("rules", rules, |check, rule| {
        check.count("backendRefs", rule.backend_refs.len(), 1..=16);
        check.each("backendRefs", &rule.backend_refs, |check, backend| {
            target(check, &backend.target());
            check.range("weight", backend.weight, 0..=1_000_000);
        });
    });
}

fn parents(check: &mut Check, parents: &[ParentReference]) {
    check.count("parentRefs", parents.len(), 0..=32);
    for (index, parent) in parents.iter().enumerate() {
        let same_object = |other: &&ParentReference| {
            (&other.group, &other.kind, &other.namespace, &other.name)
                == (&parent.group, &parent.kind, &parent.namespace, &parent.name)
        };
        if parents[..index].iter().filter(same_object).any(|other| overlap(other, parent)) {
            let message = format!("{} {} is there twice: give each a sectionName or port of its own", parent.kind, parent.name);
            check.fail_at(&format!("parentRefs[{index}]"), message);
        }
    }
}

/// Whether two references to one parent are not told apart by section and port.
fn overlap(left: &ParentReference, right: &ParentReference) -> bool {
    let unnamed = |parent: &ParentReference| parent.section_name.is_none() && parent.port.is_none();
    unnamed(left) || unnamed(right) || (&left.section_name, left.port) == (&right.section_name, right.port)
}

/// A Service is nothing without a port.
pub(super) fn target(check: &mut Check, target: &BackendObjectReference) {
    if target.group.is_empty() && target.kind == "Service" && target.port.is_none() {
        check.fail_at("port", format!("required, as the Service {} could have several: set its port", target.name));
    }
}

fn too_many_matches(check: &mut Check, matches: usize) {
    if matches > 128 {
        check.fail_at("rules", format!("have {matches} matches together, but at most 128 are allowed: split the route"));
    }
}

fn session(check: &mut Check, session: Option<&SessionPersistence>) {
    let Some(session) = session else { return };
    check.at("sessionPersistence", |check| {
        let permanent = session.cookie_lifetime() == CookieLifetime::Permanent;
        if permanent && session.absolute_timeout.is_none() {
            check.fail_at("absoluteTimeout", "required when the cookie's lifetimeType is Permanent");
        }
        match session.kind {
            SessionPersistenceType::Cookie if session.header.is_some() => {
                check.fail_at("header", "must not be set when the type is Cookie");
            }
            SessionPersistenceType::Header if session.cookie.is_some() => {
                check.fail_at("cookie", "must not be set when the type is Header");
            }
            _ => {}
        }
    });
}
