//! Backend, BackendTLSPolicy and HTTPRouteFilter.

use super::Check;
use super::filters;
use crate::backend_tls_policy::BackendTlsPolicySpec;
use crate::envoy::backend::{BackendEndpoint, BackendSpec, BackendTls, BackendType};
use crate::envoy::http_route_filter::EnvoyHttpRouteFilterSpec;
use crate::names::is_dns_subdomain;

pub(super) fn tls_policy(check: &mut Check, policy: &BackendTlsPolicySpec) {
    check.count("targetRefs", policy.target_refs.len(), 1..=16);
    for (index, target) in policy.target_refs.iter().enumerate() {
        let clash = policy.target_refs[..index].iter().any(|other| {
            (&other.group, &other.kind, &other.name) == (&target.group, &target.kind, &target.name)
                && (other.section_name.is_none() || other.section_name == target.section_name || target.section_name.is_none())
        });
        if clash {
            let message = format!("{} {} is there twice: give each a sectionName of its own", target.kind, target.name);
            check.fail_at(&format!("targetRefs[{index}]"), message);
        }
    }
    let validation = &policy.validation;
    check.at("validation", |check| {
        match (validation.ca_certificate_refs.is_empty(), &validation.well_known_ca_certificates) {
            (true, None) => check.fail("needs wellKnownCACertificates: System, or caCertificateRefs"),
            (false, Some(_)) => check.fail("has both caCertificateRefs and wellKnownCACertificates: remove one of them"),
            _ => {}
        }
        check.count("caCertificateRefs", validation.ca_certificate_refs.len(), 0..=8);
        check.count("subjectAltNames", validation.subject_alt_names.len(), 0..=5);
        well_known(check, validation.well_known_ca_certificates.as_deref());
    });
    check.count("options", policy.options.len(), 0..=16);
}

fn well_known(check: &mut Check, value: Option<&str>) {
    if let Some(value) = value
        && value != "System"
        && !value.split_once('/').is_some_and(|(domain, name)| is_dns_subdomain(domain) && !name.is_empty())
    {
        check.fail_at("wellKnownCACertificates", format!("{value:?} is not known: use System"));
    }
}

pub(super) fn backend(check: &mut Check, backend: &BackendSpec) {
    match backend.kind {
        BackendType::DynamicResolver if !backend.endpoints.is_empty() => {
            check.fail_at("endpoints", "must not be set when the type is DynamicResolver");
        }
        BackendType::DynamicResolver => {}
        BackendType::Endpoints => check.count("endpoints", backend.endpoints.len(), 1..=256),
    }
    let names = backend.endpoints.iter().filter(|endpoint| endpoint.fqdn.is_some()).count();
    if names != 0 && names != backend.endpoints.len() {
        check.fail_at("endpoints", "mix fqdn with ip or unix: use one Backend for names and another for addresses");
    }
    check.each("endpoints", &backend.endpoints, endpoint);
    if let Some(settings) = &backend.tls {
        check.at("tls", |check| tls(check, settings));
    }
}

fn endpoint(check: &mut Check, endpoint: &BackendEndpoint) {
    let set = [endpoint.fqdn.is_some(), endpoint.ip.is_some(), endpoint.unix.is_some()];
    match set.iter().filter(|is_set| **is_set).count() {
        0 => check.fail("needs one of fqdn, ip and unix"),
        1 => {}
        _ => check.fail("has more than one of fqdn, ip and unix: make them endpoints of their own"),
    }
    if let Some(fqdn) = &endpoint.fqdn {
        let name = fqdn.hostname.strip_suffix('.').unwrap_or(&fqdn.hostname);
        if !is_dns_subdomain(name) {
            check.fail_at("fqdn.hostname", format!("{:?} is not a hostname: write lower-case DNS labels", fqdn.hostname));
        }
    }
    if let Some(unix) = &endpoint.unix
        && unix.path.len() > 108
    {
        check.fail_at("unix.path", "is longer than 108 bytes, the system's limit");
    }
}

fn tls(check: &mut Check, tls: &BackendTls) {
    let has_anchors = !tls.ca_certificate_refs.is_empty() || tls.well_known_ca_certificates.is_some();
    if !tls.ca_certificate_refs.is_empty() && tls.well_known_ca_certificates.is_some() {
        check.fail("has both caCertificateRefs and wellKnownCACertificates: remove one of them");
    }
    if tls.insecure_skip_verify && has_anchors {
        check.fail_at("insecureSkipVerify", "must not be set beside trust anchors, which it would not use");
    }
    check.count("caCertificateRefs", tls.ca_certificate_refs.len(), 0..=8);
    well_known(check, tls.well_known_ca_certificates.as_deref());
    if let (Some(oldest), Some(newest)) = (tls.min_version, tls.max_version)
        && oldest > newest
    {
        check.fail_at("minVersion", "is newer than maxVersion");
    }
}

pub(super) fn envoy_filter(check: &mut Check, filter: &EnvoyHttpRouteFilterSpec) {
    check.count("matches", filter.matches.len(), 0..=8);
    check.each("matches", &filter.matches, |check, one| check.count("cookies", one.cookies.len(), 1..=16));
    if let Some(injection) = &filter.credential_injection
        && let Some(header) = &injection.header
        && let Err(error) = crate::HeaderName::try_from(header.as_str())
    {
        check.fail_at("credentialInjection.header", error.to_string());
    }
    if let Some(response) = &filter.direct_response {
        check.at("directResponse", |check| {
            if let Some(status) = response.status_code {
                check.range("statusCode", status, 200..=599);
            }
            if let Some(headers) = &response.header {
                filters::headers(check, "header", headers);
                if !headers.remove.is_empty() {
                    check.fail_at("header.remove", "is not supported for a response that has no headers yet");
                }
            }
        });
    }
}
