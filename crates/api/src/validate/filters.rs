//! HTTPRoute's filters.

use super::Check;
use super::routes::target;
use crate::external_auth::{ExternalAuth, ExternalAuthProtocol};
use crate::header_filter::HeaderFilter;
use crate::http_filter::{Cors, Fraction, HttpRouteFilter, RequestMirror};
use crate::path_modifier::HttpPathModifier;

/// The part of their rule that filters need.
#[derive(Clone, Copy)]
pub(super) struct RuleShape {
    /// Whether the rule has exactly one match, by path prefix.
    pub(super) one_prefix: bool,
}

pub(super) fn check(check: &mut Check, filters: &[HttpRouteFilter], rule: RuleShape) {
    check.count("filters", filters.len(), 0..=16);
    check.each("filters", filters, |check, filter| one(check, filter, rule));
    for name in ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS"] {
        let count = filters.iter().filter(|filter| filter.type_name() == name).count();
        if count > 1 {
            check.fail_at("filters", format!("has {count} filters of type {name}: put them into one"));
        }
    }
    let has = |name: &str| filters.iter().any(|filter| filter.type_name() == name);
    if has("RequestRedirect") && has("URLRewrite") {
        check.fail_at("filters", "has both RequestRedirect and URLRewrite: remove one, as a redirect reaches no backend");
    }
}

fn one(check: &mut Check, filter: &HttpRouteFilter, rule: RuleShape) {
    match filter {
        HttpRouteFilter::RequestHeaderModifier(filter) => headers(check, "requestHeaderModifier", filter),
        HttpRouteFilter::ResponseHeaderModifier(filter) => headers(check, "responseHeaderModifier", filter),
        HttpRouteFilter::RequestMirror(filter) => check.at("requestMirror", |check| mirror(check, filter)),
        HttpRouteFilter::RequestRedirect(redirect) => check.at("requestRedirect", |check| {
            if ![301, 302, 303, 307, 308].contains(&redirect.status_code) {
                let message = format!("{} is no redirect: use 301, 302, 303, 307 or 308", redirect.status_code);
                check.fail_at("statusCode", message);
            }
            path(check, redirect.path.as_ref(), rule);
        }),
        HttpRouteFilter::UrlRewrite(rewrite) => check.at("urlRewrite", |check| path(check, rewrite.path.as_ref(), rule)),
        HttpRouteFilter::Cors(filter) => check.at("cors", |check| cors(check, filter)),
        HttpRouteFilter::ExternalAuth(filter) => check.at("externalAuth", |check| external_auth(check, filter)),
        HttpRouteFilter::ExtensionRef(_) => {}
    }
}

/// Whether the settings are the protocol's, and within their bounds.
pub(super) fn external_auth(check: &mut Check, auth: &ExternalAuth) {
    check.at("backendRef", |check| target(check, &auth.backend_ref));
    match (auth.protocol, &auth.grpc, &auth.http) {
        (ExternalAuthProtocol::Grpc, None, _) => check.fail_at("grpc", "must be set for the protocol GRPC: {} will do"),
        (ExternalAuthProtocol::Http, _, None) => check.fail_at("http", "must be set for the protocol HTTP: {} will do"),
        (ExternalAuthProtocol::Grpc, _, Some(_)) => check.fail_at("http", "must not be set for the protocol GRPC"),
        (ExternalAuthProtocol::Http, Some(_), _) => check.fail_at("grpc", "must not be set for the protocol HTTP"),
        (ExternalAuthProtocol::Grpc, Some(grpc), None) => check.count("grpc.allowedHeaders", grpc.allowed_headers.len(), 0..=64),
        (ExternalAuthProtocol::Http, None, Some(http)) => check.at("http", |check| {
            check.length("path", &http.path, 0..=1024);
            check.count("allowedHeaders", http.allowed_headers.len(), 0..=64);
            check.count("allowedResponseHeaders", http.allowed_response_headers.len(), 0..=64);
        }),
    }
}

fn path(check: &mut Check, modifier: Option<&HttpPathModifier>, rule: RuleShape) {
    match modifier {
        Some(HttpPathModifier::ReplacePrefixMatch(value)) => check.at("path", |check| {
            check.length("replacePrefixMatch", value, 0..=1024);
            if !rule.one_prefix {
                check.fail_at(
                    "replacePrefixMatch",
                    "needs a rule with exactly one match, of type PathPrefix: split the rule, or use ReplaceFullPath",
                );
            }
        }),
        Some(HttpPathModifier::ReplaceFullPath(value)) => {
            check.at("path", |check| check.length("replaceFullPath", value, 0..=1024));
        }
        None => {}
    }
}

pub(super) fn headers(check: &mut Check, field: &str, filter: &HeaderFilter) {
    check.at(field, |check| {
        for (list, headers) in [("set", &filter.set), ("add", &filter.add)] {
            check.count(list, headers.len(), 0..=16);
            check.unique(list, headers, |header| Some(header.name.to_ascii_lowercase()));
        }
        check.count("remove", filter.remove.len(), 0..=16);
        check.unique("remove", &filter.remove, |name| Some(name.to_ascii_lowercase()));
    });
}

pub(super) fn mirror(check: &mut Check, mirror: &RequestMirror) {
    check.at("backendRef", |check| target(check, &mirror.backend_ref));
    if let Some(percent) = mirror.percent {
        check.range("percent", percent, 0..=100);
        if mirror.fraction.is_some() {
            check.fail_at("fraction", "must not be set beside percent: remove one of them");
        }
    }
    if let Some(share) = mirror.fraction {
        fraction(check, "fraction", share);
    }
}

pub(super) fn fraction(check: &mut Check, field: &str, share: Fraction) {
    check.at(field, |check| {
        if share.denominator == 0 {
            check.fail_at("denominator", "must be at least 1");
        } else if share.numerator > share.denominator {
            check.fail_at("numerator", format!("{} is more than the denominator, {}", share.numerator, share.denominator));
        }
    });
}

fn cors(check: &mut Check, cors: &Cors) {
    check.count("allowOrigins", cors.allow_origins.len(), 0..=64);
    check.count("allowMethods", cors.allow_methods.len(), 0..=9);
    check.count("allowHeaders", cors.allow_headers.len(), 0..=64);
    check.count("exposeHeaders", cors.expose_headers.len(), 0..=64);
    if cors.max_age == 0 {
        check.fail_at("maxAge", "must be at least 1 second");
    }
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];
    check.each("allowMethods", &cors.allow_methods, |check, method| {
        if !methods.contains(&method.as_str()) {
            check.fail(format!("{method:?} is no method: use {}", methods.join(", ")));
        }
    });
    check.each("allowOrigins", &cors.allow_origins, |check, origin| {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if origin != "*" && !host.is_some_and(|host| !host.is_empty() && !host.contains('/')) {
            check.fail(format!("{origin:?} is no origin: write scheme and host, such as \"https://*.example.com\", or \"*\""));
        }
    });
    let alone = |check: &mut Check, field: &str, items: Vec<&str>| {
        if items.len() > 1 && items.contains(&"*") {
            check.fail_at(field, "has \"*\" beside other values: keep \"*\" alone, or remove it");
        }
    };
    alone(check, "allowOrigins", cors.allow_origins.iter().map(String::as_str).collect());
    alone(check, "allowMethods", cors.allow_methods.iter().map(String::as_str).collect());
    alone(check, "allowHeaders", cors.allow_headers.iter().map(|name| name.as_str()).collect());
}
