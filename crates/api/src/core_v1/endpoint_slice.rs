//! EndpointSlice.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1 as api;

use crate::meta::Resource;

/// The label that names an EndpointSlice's Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// `discovery.k8s.io/v1` EndpointSlice.
pub type EndpointSlice = Resource<EndpointSliceSpec>;

/// The contents of an EndpointSlice; its Service is named by [`SERVICE_NAME_LABEL`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSliceSpec {
    /// Endpoints with at least one IP address. Those of the address type FQDN are left out.
    pub endpoints: Vec<SliceEndpoint>,
    /// Ports; a port without a number is left out.
    pub ports: Vec<SlicePort>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its addresses; all lead to the same place, the first is used.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes new requests; unknown counts as ready.
    pub ready: bool,
    /// Whether it is going away.
    pub terminating: bool,
    /// Its zone.
    pub zone: Option<String>,
    /// The node it runs on.
    pub node: Option<String>,
}

/// One port of every endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The Service port's name; may be empty.
    pub name: String,
    /// Number.
    pub port: u16,
    /// `TCP` (the default), `UDP` or `SCTP`.
    pub protocol: String,
    /// Application protocol of the port, such as `kubernetes.io/h2c`.
    pub app_protocol: Option<String>,
}

impl From<api::EndpointSlice> for EndpointSliceSpec {
    fn from(slice: api::EndpointSlice) -> EndpointSliceSpec {
        EndpointSliceSpec {
            endpoints: slice.endpoints.unwrap_or_default().into_iter().filter_map(endpoint).collect(),
            ports: slice.ports.unwrap_or_default().into_iter().filter_map(port).collect(),
        }
    }
}

fn endpoint(endpoint: api::Endpoint) -> Option<SliceEndpoint> {
    let addresses: Vec<IpAddr> = endpoint.addresses.iter().filter_map(|address| address.parse().ok()).collect();
    if addresses.is_empty() {
        return None;
    }
    let conditions = endpoint.conditions.unwrap_or_default();
    Some(SliceEndpoint {
        addresses,
        ready: conditions.ready.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        zone: endpoint.zone,
        node: endpoint.node_name,
    })
}

fn port(port: api::EndpointPort) -> Option<SlicePort> {
    Some(SlicePort {
        name: port.name.unwrap_or_default(),
        port: port.port.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)?,
        protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol,
    })
}
