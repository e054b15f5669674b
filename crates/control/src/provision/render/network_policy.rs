//! Access to a data plane's pods: everybody reaches its listeners, the controller and few others its admin endpoint.

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use pailou_compile::ADMIN_PORT;

use super::{
    super::{
        Options,
        plan::{Plan, Transport},
    },
    metadata, selector,
};

/// The NetworkPolicy that the controller's options ask for. Rules without ports, or without peers, would admit to all ports, or
/// everybody: they are left out.
pub(super) fn network_policy(plan: &Plan, options: &Options) -> Option<NetworkPolicy> {
    let peers = options.admin_peers.as_ref()?;
    let listeners = plan.ports.iter().filter(|listener| **listener != (ADMIN_PORT, Transport::Tcp));
    let listeners: Vec<_> = listeners.map(|(port, transport)| policy_port(*port, *transport)).collect();
    let clients = (!listeners.is_empty()).then_some(NetworkPolicyIngressRule { from: None, ports: Some(listeners) });
    let admin = (!peers.is_empty()).then(|| NetworkPolicyIngressRule {
        from: Some(peers.clone()),
        ports: Some(vec![policy_port(ADMIN_PORT, Transport::Tcp)]),
    });
    let spec = NetworkPolicySpec {
        pod_selector: Some(LabelSelector { match_labels: Some(selector(plan)), match_expressions: None }),
        policy_types: Some(vec!["Ingress".to_owned()]),
        ingress: Some(clients.into_iter().chain(admin).collect()),
        egress: None,
    };
    Some(NetworkPolicy { metadata: metadata(plan, options), spec: Some(spec) })
}

fn policy_port(port: u16, transport: Transport) -> NetworkPolicyPort {
    let protocol = match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    };
    NetworkPolicyPort { port: Some(IntOrString::Int(port.into())), end_port: None, protocol: Some(protocol.to_owned()) }
}
