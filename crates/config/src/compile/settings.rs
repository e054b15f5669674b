//! What the compiler is told beside the objects.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use crate::snapshot::Name;

/// The `controllerName` of GatewayClasses that are this gateway's own.
pub const CONTROLLER_NAME: &str = "pailou.dev/gateway-controller";

/// The `controllerName` of Envoy Gateway, whose classes are answered to.
pub const ENVOY_GATEWAY_CONTROLLER: &str = "gateway.envoyproxy.io/gatewayclass-controller";

/// What the compiler is told beside the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Values of `controllerName` that are answered to; the first stands in statuses where no GatewayClass gives one.
    pub controllers: Vec<String>,
    /// GatewayClasses that exist without an object.
    pub classes: Vec<String>,
    /// Addresses of Gateways that ask for none.
    pub addresses: Vec<IpAddr>,
    /// Addresses given to single Gateways, over what they ask for.
    pub gateway_addresses: BTreeMap<Name, IpAddr>,
    /// Where the objects come from.
    pub mode: Mode,
}

/// Where the objects come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// From files: nobody makes EndpointSlices, so a Service without any is served from Pods by its selector.
    #[default]
    Standalone,
    /// From a cluster, which makes EndpointSlices.
    Cluster,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            controllers: vec![CONTROLLER_NAME.to_owned(), ENVOY_GATEWAY_CONTROLLER.to_owned()],
            classes: vec!["ack-gateway".to_owned(), "pailou".to_owned()],
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            gateway_addresses: BTreeMap::new(),
            mode: Mode::Standalone,
        }
    }
}

impl Settings {
    /// The controller that statuses name where no GatewayClass does.
    pub(crate) fn controller(&self) -> &str {
        self.controllers.first().map_or(CONTROLLER_NAME, String::as_str)
    }
}
