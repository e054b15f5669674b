//! Addresses of a data plane for clients: those of its Service, by its type.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::core::v1::ServiceSpec;
use pailou_api::{EndpointSlice, core_v1::endpoint_slice::SERVICE_NAME_LABEL};
use pailou_compile::{CLUSTER, status::GatewayAddress, store::Store};

use super::{
    listed::Listed,
    observed::{Node, Service},
};

/// The most addresses that a Gateway's status takes. Source: Gateway API.
const MAX_ADDRESSES: usize = 16;

/// The routability that promises nothing. Source: GEP-5093.
const ANYWHERE: &str = "";

/// The addresses to report to clients, with their routability. Source: Envoy Gateway, `UpdateGatewayStatusProgrammedCondition`.
pub(super) fn of_service(service: &Service, nodes: &Listed<Node>, store: &Store) -> Vec<GatewayAddress> {
    let Some(spec) = &service.spec else { return of_balancer(service) };
    let mut addresses = match kind(spec) {
        "ClusterIP" => cluster_ips(spec),
        "NodePort" => of_nodes(service, spec, nodes, store),
        _ => of_balancer(service),
    };
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

/// The addresses that only those within the cluster can reach, beside those of [`of_service`].
pub(super) fn within(service: &Service) -> Vec<GatewayAddress> {
    service.spec.as_ref().filter(|spec| kind(spec) != "ClusterIP").map(cluster_ips).unwrap_or_default()
}

/// Reason why a requested address is not among them.
pub(super) fn others(service: &Service) -> String {
    match service.spec.as_ref().map_or("LoadBalancer", kind) {
        "LoadBalancer" => "the load balancer has not given it to the Gateway's Service".to_owned(),
        kind => format!("the Gateway's Service is of type {kind} and has others"),
    }
}

/// Whether a Service is reached by the addresses of nodes.
pub(super) fn are_nodes(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| kind(spec) == "NodePort")
}

/// Whether those are of the nodes alone that have an endpoint.
pub(super) fn are_nodes_with_endpoints(service: &Service) -> bool {
    are_nodes(service) && service.spec.as_ref().is_some_and(is_local)
}

fn is_local(spec: &ServiceSpec) -> bool {
    spec.external_traffic_policy.as_deref() == Some("Local")
}

fn kind(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or("ClusterIP")
}

fn ip(value: String, routability: &'static str) -> GatewayAddress {
    GatewayAddress { kind: "IPAddress", value, routability: Some(routability) }
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<GatewayAddress> {
    let all = spec.cluster_ips.iter().flatten().filter(|it| *it != "None");
    all.map(|it| ip(it.clone(), CLUSTER)).collect()
}

fn of_balancer(service: &Service) -> Vec<GatewayAddress> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|it| it.ingress.as_deref()).unwrap_or_default();
    let addresses = ingress.iter().filter_map(|it| match (&it.ip, &it.hostname) {
        (Some(address), _) => Some(ip(address.clone(), ANYWHERE)),
        (None, Some(name)) => Some(GatewayAddress::hostname(name).reached_from(ANYWHERE)),
        (None, None) => None,
    });
    addresses.collect()
}

/// The nodes' addresses of the Service's families, in order: external ones, or a node's internal ones if it has no external
/// ones. If nodes forward only to pods of their own, the result holds only nodes with a ready one.
fn of_nodes(service: &Service, spec: &ServiceSpec, nodes: &Listed<Node>, store: &Store) -> Vec<GatewayAddress> {
    let with_pods = is_local(spec).then(|| ready_nodes(service, store));
    let families = spec.ip_families.clone().unwrap_or_default();
    let is_of_families = |address: &IpAddr| families.iter().any(|family| (family == "IPv6") == address.is_ipv6());
    let nodes = nodes.iter().filter(|((_, name), _)| with_pods.as_ref().is_none_or(|it| it.contains(name.as_str())));
    let addresses: BTreeSet<IpAddr> = nodes.flat_map(|(_, node)| of_node(node)).filter(is_of_families).collect();
    addresses.into_iter().map(|address| ip(address.to_string(), ANYWHERE)).collect()
}

fn of_node(node: &Node) -> Vec<IpAddr> {
    let addresses = node.status.as_ref().map(|status| status.addresses.as_slice()).unwrap_or_default();
    let of_type = |kind: &str| -> Vec<IpAddr> {
        addresses.iter().filter(|it| it.type_ == kind).filter_map(|it| it.address.parse().ok()).collect()
    };
    let external = of_type("ExternalIP");
    if external.is_empty() { of_type("InternalIP") } else { external }
}

/// The nodes on which a Service has an endpoint that is ready.
fn ready_nodes<'s>(service: &Service, store: &'s Store) -> BTreeSet<&'s str> {
    let (namespace, name) = (service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
    let slices = store.all::<EndpointSlice>().filter(|slice| {
        Some(slice.meta.namespace.as_str()) == namespace && slice.meta.labels.get(SERVICE_NAME_LABEL).map(String::as_str) == name
    });
    slices.flat_map(|slice| &slice.spec.endpoints).filter(|it| it.ready).filter_map(|it| it.node.as_deref()).collect()
}

#[cfg(test)]
mod tests;
