//! Pod.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;

use crate::meta::Resource;

/// Core Pod.
pub type Pod = Resource<PodSpec>;

/// The part of a Pod's spec and status that a gateway needs. [`Meta::deletion_timestamp`](crate::Meta::deletion_timestamp)
/// shows whether it is terminating.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSpec {
    /// `status.podIPs`, the first first.
    pub ips: Vec<IpAddr>,
    /// Whether the Ready condition is True. A Pod without any conditions and phase, as one writes
    /// them by hand where there is no cluster, counts as ready.
    pub ready: bool,
    /// The node it runs on.
    pub node: Option<String>,
    /// Its containers' ports.
    pub ports: Vec<ContainerPort>,
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPort {
    /// Name; may be empty.
    pub name: String,
    /// Number.
    pub port: u16,
    /// `TCP` (the default), `UDP` or `SCTP`.
    pub protocol: String,
}

impl From<api::Pod> for PodSpec {
    fn from(pod: api::Pod) -> PodSpec {
        let status = pod.status.unwrap_or_default();
        let (node, containers) = match pod.spec {
            Some(spec) => (spec.node_name, spec.containers),
            None => (None, Vec::new()),
        };
        PodSpec {
            ips: addresses(&status),
            ready: is_ready(&status),
            node,
            ports: containers.into_iter().flat_map(|container| container.ports.unwrap_or_default()).filter_map(port).collect(),
        }
    }
}

fn addresses(status: &api::PodStatus) -> Vec<IpAddr> {
    let listed = status.pod_ips.iter().flatten().map(|entry| entry.ip.as_str());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in status.pod_ip.as_deref().into_iter().chain(listed).filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn is_ready(status: &api::PodStatus) -> bool {
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    match (ready, status.phase.as_deref()) {
        (Some(condition), _) => condition.status == "True",
        (None, None | Some("Running")) => true,
        (None, Some(_)) => false,
    }
}

fn port(port: api::ContainerPort) -> Option<ContainerPort> {
    Some(ContainerPort {
        name: port.name.unwrap_or_default(),
        port: u16::try_from(port.container_port).ok().filter(|number| *number > 0)?,
        protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
    })
}
