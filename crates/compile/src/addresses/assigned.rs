//! Addresses of a data plane that a Gateway has: each entry of `spec.addresses` is answered by itself.
//!
//! Source: GEP-5093.

use std::net::IpAddr;

use crate::status::{Condition, GatewayAddress};
use pailou_api::gateway::GatewayAddress as RequestedAddress;

use super::{super::settings::DataPlane, HOSTNAME, IP_ADDRESS};

/// The routability of addresses of the cluster's Service network: ClusterIPs. Source: GEP-5093.
pub const CLUSTER: &str = "Cluster";
/// Stands for any address at all, and is kept for tests of conformance.
const SENTINEL: &str = "testing.x-k8s.io/sentinel";

/// Assignment of addresses to a Gateway's requests.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    /// One for each entry that has one; without entries, all that there are.
    pub(super) addresses: Vec<GatewayAddress>,
    /// The other entries, and why they have none.
    pub(super) missing: Vec<Missing>,
}

/// An entry that has no address.
#[derive(Debug)]
pub(super) struct Missing {
    /// It asks for this very address.
    pub(super) is_exact: bool,
    /// Its request, and the obstacle.
    pub(super) message: String,
}

impl Assigned {
    /// Answers a Gateway's entries by what its data plane has.
    pub(super) fn new(asked: &[RequestedAddress], plane: &DataPlane) -> Self {
        if asked.is_empty() {
            return Self { addresses: plane.addresses.clone(), missing: Vec::new() };
        }
        let mut free = Free { given: plane.addresses.iter().collect(), within: plane.within.iter().collect() };
        let mut found: Vec<Option<GatewayAddress>> = vec![None; asked.len()];
        // Entries with a value choose before those that take any.
        for is_exact in [true, false] {
            for (entry, found) in asked.iter().zip(&mut found).filter(|(entry, _)| value(entry).is_some() == is_exact) {
                *found = free.take(entry);
            }
        }
        let missing = asked.iter().zip(&found).enumerate().filter(|(_, (_, found))| found.is_none());
        let missing = missing.map(|(place, (entry, _))| missing_of(place, entry, plane)).collect();
        Self { addresses: found.into_iter().flatten().collect(), missing }
    }

    /// The condition that says how far the wishes are met; `None` until anything is known.
    pub(super) fn condition(&self, generation: i64) -> Option<Condition> {
        if self.missing.is_empty() {
            return (!self.addresses.is_empty()).then(|| Condition::fine(ADDRESSES_ASSIGNED, generation));
        }
        let reason = if self.addresses.is_empty() { "NotAssigned" } else { "PartiallyAssigned" };
        let all: Vec<&str> = self.missing.iter().map(|it| it.message.as_str()).collect();
        Some(Condition::fails(ADDRESSES_ASSIGNED, reason, all.join("; "), generation))
    }
}

const ADDRESSES_ASSIGNED: &str = "AddressesAssigned";

/// Addresses that no entry has yet.
struct Free<'a> {
    /// Addresses of the proxies for clients.
    given: Vec<&'a GatewayAddress>,
    /// Further addresses for clients within the cluster.
    within: Vec<&'a GatewayAddress>,
}

impl Free<'_> {
    fn take(&mut self, entry: &RequestedAddress) -> Option<GatewayAddress> {
        let is_meant = |it: &&GatewayAddress| it.kind == entry.kind && value(entry).is_none_or(|value| is_same(value, &it.value));
        match routability(entry) {
            None => {
                let any = take(&mut self.given, is_meant);
                any.or_else(|| value(entry).and_then(|_| take(&mut self.within, is_meant))).cloned()
            }
            Some(CLUSTER) if entry.kind == IP_ADDRESS => {
                let is_within = |it: &&GatewayAddress| it.routability == Some(CLUSTER) && is_meant(it);
                take(&mut self.within, is_within).or_else(|| take(&mut self.given, is_within)).cloned()
            }
            Some(SENTINEL) => {
                take(&mut self.given, is_meant).map(|it| GatewayAddress { routability: Some(SENTINEL), ..it.clone() })
            }
            Some(_) => None,
        }
    }
}

fn take<'a>(from: &mut Vec<&'a GatewayAddress>, is_meant: impl Fn(&&'a GatewayAddress) -> bool) -> Option<&'a GatewayAddress> {
    let place = from.iter().position(is_meant)?;
    Some(from.remove(place))
}

fn missing_of(place: usize, entry: &RequestedAddress, plane: &DataPlane) -> Missing {
    let message = match (routability(entry), value(entry)) {
        _ if !is_known(entry) => format!("spec.addresses[{place}]: type {} is not supported", entry.kind),
        (Some(CLUSTER), _) if entry.kind != IP_ADDRESS => {
            format!("spec.addresses[{place}]: routability Cluster is an IPAddress's, not that of a {}", entry.kind)
        }
        (Some(other), _) if ![CLUSTER, SENTINEL].contains(&other) => {
            format!("spec.addresses[{place}]: routability {other} is not known: use Cluster, or leave it out")
        }
        (Some(CLUSTER), Some(address)) => {
            format!("spec.addresses: {address} is not the ClusterIP of the Gateway's Service, which the cluster chooses")
        }
        (_, Some(address)) => format!("spec.addresses: {address} {}", plane.others),
        (Some(CLUSTER), None) => format!("spec.addresses[{place}]: the Gateway's Service has no ClusterIP, or no further one"),
        (_, None) => format!("spec.addresses[{place}]: the Gateway's Service has no {}, or no further one", entry.kind),
    };
    Missing { is_exact: value(entry).is_some() && is_known(entry), message }
}

/// The requested address; `None` takes any.
fn value(asked: &RequestedAddress) -> Option<&str> {
    asked.value.as_deref().filter(|value| !value.is_empty())
}

/// From where it has to be reached; `None` takes any.
pub(super) fn routability(asked: &RequestedAddress) -> Option<&str> {
    asked.routability.as_deref().filter(|it| !it.is_empty())
}

/// Whether there are addresses of its type at all.
fn is_known(asked: &RequestedAddress) -> bool {
    [IP_ADDRESS, HOSTNAME].contains(&asked.kind.as_str())
}

fn is_same(asked: &str, given: &str) -> bool {
    asked == given || asked.parse::<IpAddr>().is_ok_and(|asked| given.parse() == Ok(asked))
}
