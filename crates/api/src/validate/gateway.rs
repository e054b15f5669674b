//! GatewayClass, Gateway and ListenerSet.

use super::{Check, filters};
use crate::gateway::{FrontendTlsConfig, GatewaySpec};
use crate::gateway_class::GatewayClassSpec;
use crate::listener::{Listener, Protocol, TlsMode};
use crate::names::is_dns_subdomain;

pub(super) fn class(check: &mut Check, class: &GatewayClassSpec) {
    let domain_and_path = class.controller_name.split_once('/');
    if !domain_and_path.is_some_and(|(domain, path)| is_dns_subdomain(domain) && !path.is_empty()) {
        check.fail_at("controllerName", "must be a domain and a path, such as \"example.com/controller\"");
    }
    if let Some(description) = &class.description {
        check.length("description", description, 0..=64);
    }
}

pub(super) fn gateway(check: &mut Check, gateway: &GatewaySpec) {
    check.length("gatewayClassName", &gateway.gateway_class_name, 1..=253);
    listeners(check, &gateway.listeners);
    check.count("addresses", gateway.addresses.len(), 0..=16);
    check.unique("addresses", &gateway.addresses, |address| {
        address.value.as_ref().filter(|value| !value.is_empty()).map(|value| format!("{} {value}", address.kind))
    });
    if let Some(infrastructure) = &gateway.infrastructure {
        check.at("infrastructure", |check| {
            check.count("labels", infrastructure.labels.len(), 0..=8);
            check.count("annotations", infrastructure.annotations.len(), 0..=16);
        });
    }
    if let Some(frontend) = gateway.tls.as_ref().and_then(|tls| tls.frontend.as_ref()) {
        check.at("tls.frontend", |check| {
            check.at("default", |check| validation(check, &frontend.fallback));
            check.count("perPort", frontend.per_port.len(), 0..=64);
            check.unique("perPort", &frontend.per_port, |entry| Some(entry.port));
            check.each("perPort", &frontend.per_port, |check, entry| check.at("tls", |check| validation(check, &entry.tls)));
        });
    }
}

fn validation(check: &mut Check, config: &FrontendTlsConfig) {
    if let Some(validation) = &config.validation {
        check.at("validation", |check| check.count("caCertificateRefs", validation.ca_certificate_refs.len(), 1..=16));
    }
}

pub(super) fn listeners(check: &mut Check, listeners: &[Listener]) {
    check.count("listeners", listeners.len(), 1..=64);
    check.unique("listeners", listeners, |listener| Some(listener.name.clone()));
    check.unique("listeners", listeners, |listener| {
        let host = listener.hostname.as_ref().map_or("", |host| host.as_str());
        Some(format!("port {}, protocol {}, hostname '{host}'", listener.port, listener.protocol.as_str()))
    });
    check.each("listeners", listeners, listener);
}

fn listener(check: &mut Check, listener: &Listener) {
    let protocol = listener.protocol.as_str();
    match (&listener.protocol, &listener.tls) {
        (Protocol::Http | Protocol::Tcp | Protocol::Udp, Some(_)) => {
            check.fail_at("tls", format!("must not be set for the protocol {protocol}: use HTTPS or TLS, or remove it"));
        }
        (Protocol::Https, Some(tls)) if tls.mode == TlsMode::Passthrough => {
            check.fail_at("tls.mode", "must be Terminate for the protocol HTTPS: use the protocol TLS to pass TLS through");
        }
        (Protocol::Tls, None) => check.fail_at("tls", "must be set for the protocol TLS"),
        _ => {}
    }
    if matches!(listener.protocol, Protocol::Tcp | Protocol::Udp) && listener.hostname.is_some() {
        check.fail_at("hostname", format!("must not be set for the protocol {protocol}, which carries no hostname"));
    }
    if let Some(tls) = &listener.tls {
        check.at("tls", |check| {
            if tls.mode == TlsMode::Terminate && tls.certificate_refs.is_empty() && tls.options.is_empty() {
                check.fail_at("certificateRefs", "must name a certificate (or set options) when the mode is Terminate");
            }
            check.count("certificateRefs", tls.certificate_refs.len(), 0..=64);
            check.count("options", tls.options.len(), 0..=16);
        });
    }
    let requests = &listener.filters.requests;
    check.count("filters.requests", requests.len(), 0..=16);
    if !requests.is_empty() && !matches!(listener.protocol, Protocol::Http | Protocol::Https) {
        check.fail_at("filters", format!("must not be set for the protocol {protocol}: only HTTP and HTTPS have requests"));
    }
    check.each("filters.requests", requests, |check, filter| {
        if let Some(auth) = &filter.external_auth {
            check.at("externalAuth", |check| filters::external_auth(check, auth));
        }
    });
    check.count("allowedRoutes.kinds", listener.allowed_routes.kinds.len(), 0..=8);
}
