//! Service.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr;
use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::int_or_string::IntOrString;
use crate::meta::Resource;

/// Core Service.
pub type Service = Resource<ServiceSpec>;

/// `spec` of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceSpec {
    /// How it is exposed.
    pub kind: ServiceType,
    /// Labels of its pods; empty when endpoints are given by hand.
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its addresses; empty when headless.
    pub cluster_ips: Vec<IpAddr>,
    /// The name that an ExternalName Service stands for.
    pub external_name: Option<String>,
}

/// How a Service is exposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// Inside the cluster.
    #[default]
    ClusterIp,
    /// On every node.
    NodePort,
    /// By a load balancer.
    LoadBalancer,
    /// As an alias of another name.
    ExternalName,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; may be empty when there is one port.
    pub name: String,
    /// Number.
    pub port: u16,
    /// The pods' port, by number or by the container port's name.
    pub target_port: IntOrString,
    /// `TCP` (the default), `UDP` or `SCTP`.
    pub protocol: String,
    /// Application protocol of the port, such as `kubernetes.io/h2c`.
    pub app_protocol: Option<String>,
}

impl From<api::ServiceSpec> for ServiceSpec {
    fn from(spec: api::ServiceSpec) -> ServiceSpec {
        let addresses = spec.cluster_ips.unwrap_or_else(|| spec.cluster_ip.into_iter().collect());
        ServiceSpec {
            kind: match spec.type_.as_deref() {
                Some("ExternalName") => ServiceType::ExternalName,
                Some("NodePort") => ServiceType::NodePort,
                Some("LoadBalancer") => ServiceType::LoadBalancer,
                _ => ServiceType::ClusterIp,
            },
            selector: spec.selector.unwrap_or_default(),
            ports: spec.ports.unwrap_or_default().into_iter().filter_map(port).collect(),
            // "None" marks a headless Service and is no address.
            cluster_ips: addresses.iter().filter_map(|address| address.parse().ok()).collect(),
            external_name: spec.external_name,
        }
    }
}

fn port(port: api::ServicePort) -> Option<ServicePort> {
    let number = u16::try_from(port.port).ok().filter(|number| *number > 0)?;
    Some(ServicePort {
        name: port.name.unwrap_or_default(),
        port: number,
        target_port: match port.target_port {
            Some(intstr::IntOrString::String(name)) => IntOrString::String(name),
            Some(intstr::IntOrString::Int(target)) if target != 0 => IntOrString::Int(target),
            _ => IntOrString::Int(i32::from(number)),
        },
        protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol,
    })
}
