//! Settings of the compiler.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use crate::{session_key_source::SessionKeySource, status::GatewayAddress};
use pailou_snapshot::{LimitService, LimitStore, Name};

/// The `controllerName` of GatewayClasses that are this gateway's own.
pub const CONTROLLER_NAME: &str = "pailou.dev/gateway-controller";

/// The `controllerName` of Envoy Gateway, whose classes are answered to.
pub const ENVOY_GATEWAY_CONTROLLER: &str = "gateway.envoyproxy.io/gatewayclass-controller";

/// In a cluster: the TCP port of each proxy's admin endpoint.
pub const ADMIN_PORT: u16 = 15000;

/// Settings of the compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Values of `controllerName` that are answered to; the first stands in statuses where no GatewayClass gives one.
    pub controllers: Vec<String>,
    /// GatewayClasses that exist without an object.
    pub classes: Vec<String>,
    /// Addresses to bind. Standalone: for Gateways that ask for none. In a cluster: for every Gateway, whose own addresses
    /// are its Service's.
    pub addresses: Vec<IpAddr>,
    /// Standalone: addresses given to single Gateways, over what they ask for.
    pub gateway_addresses: BTreeMap<Name, IpAddr>,
    /// Standalone: the TCP address of the process's admin endpoint, which no listener gets. In a cluster it is [`ADMIN_PORT`] of every address.
    pub admin: Option<SocketAddr>,
    /// In a cluster: what is known of the proxies of each Gateway. A Gateway without an entry has none yet. `None` as long as nobody
    /// knows: what is compiled then says of Gateways what may be wrong.
    pub data_planes: Option<BTreeMap<Name, DataPlane>>,
    /// In a cluster: the bundle of Gateway API of each of its CustomResourceDefinitions, by the definition's name; `None` for
    /// one that does not name it. No condition mentions bundles if there are none.
    pub bundles: BTreeMap<String, Option<String>>,
    /// Store of global limits, over that of an EnvoyGateway.
    pub limit_store: Option<Arc<LimitStore>>,
    /// Rate limit service, over the store and over that of an EnvoyGateway.
    pub limit_service: Option<Arc<LimitService>>,
    /// Source of the key that sessions are kept with.
    pub session_key: SessionKeySource,
    /// Source of the objects.
    pub mode: Mode,
}

/// Source of the objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// From files: nobody makes EndpointSlices, so a Service without any is served from Pods by its selector. All Gateways are
    /// served by one process, so that each port has one holder.
    #[default]
    Standalone,
    /// From a cluster, which makes EndpointSlices. Every Gateway has proxies, and so ports, of its own.
    Cluster,
}

/// State of a Gateway's proxies, from the provisioner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataPlane {
    /// Addresses for clients, from their Service.
    pub addresses: Vec<GatewayAddress>,
    /// Further addresses for clients within the cluster: the Service's ClusterIPs.
    pub within: Vec<GatewayAddress>,
    /// Why other addresses could not be had, in words for people: it follows an address, "is not …".
    pub others: String,
    /// Whether a proxy is ready.
    pub ready: bool,
    /// The API server's refusal of an object that they need, in words for people.
    pub refused: Option<String>,
    /// The API server's refusal of the NetworkPolicy that protects them.
    pub unprotected: Option<Unprotected>,
}

/// The API server's refusal of a data plane's NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unprotected {
    /// The refusal in words for people.
    pub why: String,
    /// Whether a permission may be missing (403).
    pub is_forbidden: bool,
    /// State of the policy in the cluster.
    pub older: OlderPolicy,
}

/// State of a NetworkPolicy of which the API server refuses the newest form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OlderPolicy {
    /// It is not there.
    Absent,
    /// It is there in an older form.
    Stands,
    /// The controller cannot list it.
    Unknown,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            controllers: vec![CONTROLLER_NAME.to_owned(), ENVOY_GATEWAY_CONTROLLER.to_owned()],
            classes: vec!["ack-gateway".to_owned(), "pailou".to_owned()],
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            gateway_addresses: BTreeMap::new(),
            admin: None,
            data_planes: Some(BTreeMap::new()),
            bundles: BTreeMap::new(),
            limit_store: None,
            limit_service: None,
            session_key: SessionKeySource::default(),
            mode: Mode::Standalone,
        }
    }
}

impl Settings {
    /// In a cluster: every class has an object, and a proxy binds every address of its pod.
    pub fn cluster() -> Self {
        Self {
            classes: Vec::new(),
            addresses: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            mode: Mode::Cluster,
            ..Self::default()
        }
    }

    /// The controller that statuses name where no GatewayClass does.
    pub(crate) fn controller(&self) -> &str {
        self.controllers.first().map_or(CONTROLLER_NAME, String::as_str)
    }
}
