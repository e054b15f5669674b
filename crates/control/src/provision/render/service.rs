//! The Service by which clients reach a data plane.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use pailou_api::envoy::envoy_proxy::{IpFamily, ServiceType};

use super::{
    super::{
        Options,
        plan::{Plan, Transport},
    },
    marks, metadata, selector,
};

/// Asks MetalLB, and load balancers that read its annotation, for addresses by value.
const ADDRESSES_ANNOTATION: &str = "metallb.io/loadBalancerIPs";

pub(super) fn service(plan: &Plan, options: &Options) -> Service {
    let requested = &plan.parameters.provider.kubernetes.envoy_service;
    let ObjectMeta { labels, annotations, .. } = marks(plan, options, &requested.labels, &requested.annotations);
    let mut metadata = ObjectMeta { labels, annotations, ..metadata(plan, options) };
    let spec = ServiceSpec {
        selector: Some(selector(plan)),
        ports: Some(plan.ports.iter().map(|(port, transport)| service_port(*port, *transport)).collect()),
        ..families(plan.parameters.ip_family)
    };
    // A Gateway's request outweighs its parameters, which are mostly its class's.
    let kind = if plan.is_within { Some(ServiceType::ClusterIp) } else { requested.kind };
    let spec = match kind.unwrap_or(ServiceType::LoadBalancer) {
        ServiceType::LoadBalancer => {
            if !plan.addresses.is_empty() {
                let annotations = metadata.annotations.get_or_insert_default();
                annotations.insert(ADDRESSES_ANNOTATION.to_owned(), plan.addresses.join(","));
            }
            balanced(plan, spec)
        }
        ServiceType::NodePort => ServiceSpec {
            type_: Some("NodePort".to_owned()),
            external_traffic_policy: requested.external_traffic_policy.clone(),
            ..spec
        },
        // Nothing of what is left is for a Service of this type, and an API server refuses it.
        ServiceType::ClusterIp => ServiceSpec { type_: Some("ClusterIP".to_owned()), ..spec },
    };
    Service { metadata, spec: Some(spec), ..Service::default() }
}

fn balanced(plan: &Plan, spec: ServiceSpec) -> ServiceSpec {
    let requested = &plan.parameters.provider.kubernetes.envoy_service;
    let sources = &requested.load_balancer_source_ranges;
    ServiceSpec {
        type_: Some("LoadBalancer".to_owned()),
        // Deprecated, and still the only way that many load balancers know.
        load_balancer_ip: plan.addresses.first().or(requested.load_balancer_ip.as_ref()).cloned(),
        load_balancer_class: requested.load_balancer_class.clone(),
        load_balancer_source_ranges: (!sources.is_empty()).then(|| sources.clone()),
        allocate_load_balancer_node_ports: requested.allocate_load_balancer_node_ports,
        external_traffic_policy: requested.external_traffic_policy.clone(),
        ..spec
    }
}

fn families(requested: Option<IpFamily>) -> ServiceSpec {
    let (policy, families) = match requested {
        None => ("PreferDualStack", None),
        Some(IpFamily::IPv4) => ("SingleStack", Some(vec!["IPv4".to_owned()])),
        Some(IpFamily::IPv6) => ("SingleStack", Some(vec!["IPv6".to_owned()])),
        Some(IpFamily::DualStack) => ("RequireDualStack", Some(vec!["IPv4".to_owned(), "IPv6".to_owned()])),
    };
    ServiceSpec { ip_family_policy: Some(policy.to_owned()), ip_families: families, ..ServiceSpec::default() }
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
