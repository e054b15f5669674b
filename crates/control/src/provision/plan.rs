//! Plans of data planes: a pure function of the objects.

use std::collections::{BTreeMap, BTreeSet};

use pailou_api::{
    Gateway, ListenerSet,
    envoy::envoy_proxy::EnvoyProxySpec,
    gateway::GatewayAddress,
    listener::{Listener, Protocol},
    refs::GATEWAY_GROUP,
};
use pailou_compile::{
    ADMIN_PORT, CLUSTER, parameters,
    status::{ConditionStatus, StatusBody},
};
use pailou_snapshot::Name;

use super::{listed::ObjectName, names};
use crate::CompiledState;

/// One Gateway's data plane.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) gateway: Name,
    /// Namespace and name of all its objects.
    pub(crate) object_name: ObjectName,
    /// `metadata.uid`, for the owner reference.
    pub(crate) uid: String,
    /// `spec.infrastructure.labels`.
    pub(crate) labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations`.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The ports of all listeners, without the admin endpoint's, by which a Service would lead everybody there. With none there is
    /// no Service, and no data plane begins: one that is there is kept up to date.
    pub(crate) ports: BTreeSet<(u16, Transport)>,
    /// The requested IP addresses in order, without those of the Service network.
    pub(crate) addresses: Vec<String>,
    /// Only the cluster reaches it: all requested addresses are of the Service network.
    pub(crate) is_within: bool,
    /// Values of `controllerName` that the proxies answer to.
    pub(crate) controllers: Vec<String>,
    /// The Gateway's parameters, or its class's.
    pub(crate) parameters: EnvoyProxySpec,
}

impl Plan {
    /// Whether clients can reach a listener: a Service needs a port.
    pub(super) fn has_ports(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Whether parameters ask for an autoscaler: rendering then depends on the observed Deployment.
    pub(super) fn is_scaled(&self) -> bool {
        self.parameters.provider.kubernetes.envoy_hpa.is_some()
    }
}

/// Transport of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// The data planes of all Gateways that are this controller's and can be served, by name.
pub(crate) fn plans(published: &CompiledState) -> BTreeMap<Name, Plan> {
    let mut plans = BTreeMap::new();
    for gateway in published.cluster.store.all::<Gateway>() {
        // Deleted Gateways take what they own with them.
        if is_served(published, gateway) && gateway.meta.deletion_timestamp.is_none() {
            let plan = plan(published, gateway);
            plans.insert(plan.gateway.clone(), plan);
        }
    }
    plans
}

/// Whether a Gateway has a status of this controller's that accepts it, be it with listeners that are not.
fn is_served(published: &CompiledState, gateway: &Gateway) -> bool {
    let key = pailou_api::ObjectKey::new(GATEWAY_GROUP, "Gateway", &gateway.meta.namespace, &gateway.meta.name);
    let body = published.compiled.statuses.get(&key).map(|status| &status.body);
    let Some(StatusBody::Gateway(status)) = body else { return false };
    let refused = status.conditions.iter().find(|it| it.kind == "Accepted" && it.status != ConditionStatus::True);
    refused.is_none_or(|it| it.reason == "ListenersNotValid")
}

fn plan(published: &CompiledState, gateway: &Gateway) -> Plan {
    let meta = &gateway.meta;
    let infrastructure = gateway.spec.infrastructure.clone().unwrap_or_default();
    let mut ports: BTreeSet<_> = gateway.spec.listeners.iter().filter_map(port).collect();
    for set in published.cluster.store.all::<ListenerSet>().filter(|set| is_attached(published, set, gateway)) {
        ports.extend(set.spec.listeners.iter().filter_map(port));
    }
    let is_within = |it: &GatewayAddress| it.routability.as_deref() == Some(CLUSTER);
    let requested = &gateway.spec.addresses;
    let addresses = requested.iter().filter(|it| it.kind == "IPAddress" && !is_within(it));
    Plan {
        gateway: Name::new(&meta.namespace, &meta.name),
        object_name: (meta.namespace.clone(), names::data_plane(&meta.name)),
        uid: meta.uid.clone(),
        labels: infrastructure.labels,
        annotations: infrastructure.annotations,
        ports,
        addresses: addresses.filter_map(|it| it.value.clone()).filter(|value| !value.is_empty()).collect(),
        is_within: !requested.is_empty() && requested.iter().all(is_within),
        controllers: published.cluster.settings.controllers.clone(),
        parameters: parameters(&published.cluster.store, gateway),
    }
}

fn is_attached(published: &CompiledState, set: &ListenerSet, gateway: &Gateway) -> bool {
    let parent = &set.spec.parent_ref;
    let namespace = parent.namespace.as_ref().map_or(set.meta.namespace.as_str(), |it| it.as_str());
    if parent.name.as_str() != gateway.meta.name || namespace != gateway.meta.namespace {
        return false;
    }
    let key = pailou_api::ObjectKey::new(GATEWAY_GROUP, "ListenerSet", &set.meta.namespace, &set.meta.name);
    let body = published.compiled.statuses.get(&key).map(|status| &status.body);
    matches!(body, Some(StatusBody::Gateway(status)) if status.conditions.iter().any(|it| it.kind == "Accepted" && it.status == ConditionStatus::True))
}

/// The port that a listener needs. The compiler refuses a listener at the admin endpoint's.
fn port(listener: &Listener) -> Option<(u16, Transport)> {
    let port = (listener.port.get(), transport(&listener.protocol)?);
    (port != (ADMIN_PORT, Transport::Tcp)).then_some(port)
}

fn transport(protocol: &Protocol) -> Option<Transport> {
    match protocol {
        Protocol::Http | Protocol::Https | Protocol::Tls | Protocol::Tcp => Some(Transport::Tcp),
        Protocol::Udp => Some(Transport::Udp),
        _ => None,
    }
}
