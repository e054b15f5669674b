//! The Service by which clients reach a data plane.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    super::{
        Options,
        plan::{Plan, Transport},
    },
    metadata, selector,
};

/// Asks MetalLB, and load balancers that read its annotation, for addresses by value.
const ADDRESSES_ANNOTATION: &str = "metallb.io/loadBalancerIPs";

pub(super) fn service(plan: &Plan, options: &Options) -> Service {
    let mut metadata = metadata(plan, options);
    if !plan.addresses.is_empty() {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(ADDRESSES_ANNOTATION.to_owned(), plan.addresses.join(","));
    }
    let spec = ServiceSpec {
        type_: Some("LoadBalancer".to_owned()),
        selector: Some(selector(plan)),
        // Deprecated, and still the only way that many load balancers know.
        load_balancer_ip: plan.addresses.first().cloned(),
        ip_family_policy: Some("PreferDualStack".to_owned()),
        ports: Some(plan.ports.iter().map(|(port, transport)| service_port(*port, *transport)).collect()),
        ..ServiceSpec::default()
    };
    Service { metadata, spec: Some(spec), ..Service::default() }
}

fn service_port(port: u16, transport: Transport) -> ServicePort {
    let (name, protocol) = match transport {
        Transport::Tcp => (format!("tcp-{port}"), "TCP"),
        Transport::Udp => (format!("udp-{port}"), "UDP"),
    };
    ServicePort {
        name: Some(name),
        port: port.into(),
        target_port: Some(IntOrString::Int(port.into())),
        protocol: Some(protocol.to_owned()),
        ..ServicePort::default()
    }
}
