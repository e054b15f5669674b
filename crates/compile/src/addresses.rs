//! Addresses of Gateways: what their listeners bind, where clients reach them, and what stands in the way.

mod assigned;

use std::net::IpAddr;

use crate::status::{Condition, GatewayAddress, Problem};
use pailou_api::{Gateway, gateway::GatewayAddress as RequestedAddress};
use pailou_snapshot::Name;

use super::{
    settings::{DataPlane, Mode, OlderPolicy, Settings, Unprotected},
    warnings::PARTIALLY_SUPPORTED,
};

use assigned::Assigned;
pub use assigned::CLUSTER;

/// The addresses of one Gateway.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// Addresses that its listeners bind.
    pub(crate) bound: Vec<IpAddr>,
    /// Addresses in its status.
    pub(crate) shown: Vec<GatewayAddress>,
    /// In a cluster: whether it has what it asks for.
    pub(crate) assigned: Option<Condition>,
    /// In a cluster: that its proxies lack the NetworkPolicy which the controller's options ask for.
    pub(crate) unprotected: Option<Condition>,
}

/// Finds a Gateway's addresses. Problems are about `Accepted` where it can never be served as it asks, about `Programmed` where
/// it is not served yet, or not everywhere.
pub(crate) fn of_gateway(gateway: &Gateway, name: &Name, settings: &Settings, problems: &mut Vec<Problem>) -> Addresses {
    match settings.mode {
        Mode::Standalone => standalone(gateway, name, settings, problems),
        Mode::Cluster => cluster(gateway, name, settings, problems),
    }
}

fn standalone(gateway: &Gateway, name: &Name, settings: &Settings, problems: &mut Vec<Problem>) -> Addresses {
    let bound = match settings.gateway_addresses.get(name) {
        Some(address) => vec![*address],
        None => asked(gateway, settings, problems),
    };
    Addresses { shown: bound.iter().map(|ip| GatewayAddress::ip(*ip)).collect(), bound, ..Addresses::default() }
}

fn asked(gateway: &Gateway, settings: &Settings, problems: &mut Vec<Problem>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for asked in &gateway.spec.addresses {
        if let Some(routability) = assigned::routability(asked) {
            let message = format!("spec.addresses: there is no address of routability {routability} outside a cluster");
            problems.push(Problem::accepted("UnsupportedAddress", message));
            continue;
        }
        match (asked.kind.as_str(), value(asked)) {
            (IP_ADDRESS, "") => addresses.extend(&settings.addresses),
            (IP_ADDRESS, text) => match text.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => problems.push(no_ip(text)),
            },
            (kind, text) => problems.push(unsupported(kind, text, "only IPAddress is supported")),
        }
    }
    if gateway.spec.addresses.is_empty() {
        addresses.clone_from(&settings.addresses);
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

fn cluster(gateway: &Gateway, name: &Name, settings: &Settings, problems: &mut Vec<Problem>) -> Addresses {
    for asked in &gateway.spec.addresses {
        match (asked.kind.as_str(), value(asked)) {
            (IP_ADDRESS, text) if !text.is_empty() && text.parse::<IpAddr>().is_err() => problems.push(no_ip(text)),
            (IP_ADDRESS | HOSTNAME, _) => {}
            (kind, text) => problems.push(unsupported(kind, text, "use IPAddress or Hostname")),
        }
    }
    let plane = settings.data_planes.as_ref().and_then(|planes| planes.get(name));
    let assigned = plane.map(|plane| Assigned::new(&gateway.spec.addresses, plane)).unwrap_or_default();
    problems.extend(not_programmed(plane, &assigned));
    let condition = assigned.condition(gateway.meta.generation);
    let unprotected = plane.and_then(|plane| plane.unprotected.as_ref()).map(|it| unprotected(it, gateway.meta.generation));
    Addresses { bound: settings.addresses.clone(), shown: assigned.addresses, assigned: condition, unprotected }
}

/// Why a Gateway of a cluster cannot be reached, or not where it asks to be.
fn not_programmed(plane: Option<&DataPlane>, assigned: &Assigned) -> Vec<Problem> {
    let problem = |reason, message: String| Problem { condition: "Programmed", reason, message };
    let Some(plane) = plane else { return vec![problem(PENDING, "no proxies have been provisioned yet".to_owned())] };
    if let Some(refused) = &plane.refused {
        return vec![problem(NO_RESOURCES, format!("the API server refuses what the proxies need: {refused}"))];
    }
    let mut problems = Vec::new();
    for missing in assigned.missing.iter().filter(|missing| missing.is_exact) {
        problems.push(problem(ADDRESS_NOT_USABLE, missing.message.clone()));
    }
    if assigned.addresses.is_empty() {
        let wanted: Vec<&str> = assigned.missing.iter().filter(|it| !it.is_exact).map(|it| it.message.as_str()).collect();
        let message = match wanted.as_slice() {
            [] => "the proxies' Service has no address yet".to_owned(),
            wanted => wanted.join("; "),
        };
        problems.push(problem("AddressNotAssigned", message));
    }
    if !plane.ready {
        problems.push(problem(PENDING, "no proxy is ready yet".to_owned()));
    }
    problems
}

fn unprotected(Unprotected { why, is_forbidden, older }: &Unprotected, generation: i64) -> Condition {
    let effect = match older {
        OlderPolicy::Absent => "so all who reach their pods reach their admin endpoint",
        OlderPolicy::Stands => "so an older one stays: it may keep clients from newer listeners' ports, or admit peers of before",
        OlderPolicy::Unknown => "so unless an older one stays, all who reach their pods reach their admin endpoint",
    };
    let remedy = match is_forbidden {
        true => "let the controller list, watch, create and patch networkpolicies of networking.k8s.io",
        false => "remove the cause that it names",
    };
    let message = format!(
        "the API server refuses the NetworkPolicy of the proxies, {effect}: {why}: {remedy}, or set no --proxy-admin-peers"
    );
    Condition::holds(PARTIALLY_SUPPORTED, "NoNetworkPolicy", message, generation)
}

/// The reason of `Programmed` while proxies are on their way.
pub(crate) const PENDING: &str = "Pending";
/// The reason of `Programmed` where what proxies need cannot be had. Source: Gateway API.
const NO_RESOURCES: &str = "NoResources";
/// The reason of `Programmed` if a requested address is not to be had.
pub(crate) const ADDRESS_NOT_USABLE: &str = "AddressNotUsable";
const IP_ADDRESS: &str = "IPAddress";
const HOSTNAME: &str = "Hostname";

fn value(asked: &RequestedAddress) -> &str {
    asked.value.as_deref().unwrap_or_default()
}

fn no_ip(text: &str) -> Problem {
    Problem::accepted("UnsupportedAddress", format!("spec.addresses: {text} is no IP address"))
}

fn unsupported(kind: &str, text: &str, hint: &str) -> Problem {
    Problem::accepted("UnsupportedAddress", format!("spec.addresses: {text} is of type {kind}: {hint}"))
}
