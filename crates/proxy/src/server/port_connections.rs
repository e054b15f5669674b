//! Connections at ports, for metrics.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use pailou_snapshot::{PortKey, PortService};
use parking_lot::Mutex;

use super::port::BoundPort;

/// All ports that a server listens on.
#[derive(Clone)]
pub struct Ports(pub(super) Arc<Mutex<HashMap<PortKey, BoundPort>>>);

/// Connections at one port.
pub(crate) struct PortConnections {
    /// As the snapshot has it.
    pub(crate) address: SocketAddr,
    pub(crate) protocol: PortProtocol,
    /// Open now.
    pub(crate) open: u64,
    /// Accepted since the port is listened on.
    pub(crate) accepted: u64,
}

/// Protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortProtocol {
    Http,
    /// TLS; within it HTTP, or what is forwarded.
    Tls,
    Other,
}

impl Ports {
    /// Connections at each of them, by address.
    pub(crate) fn connections(&self) -> Vec<PortConnections> {
        let mut all: Vec<_> = self.0.lock().values().map(of_port).collect();
        all.sort_unstable_by_key(|it| it.address);
        all
    }
}

fn of_port(bound: &BoundPort) -> PortConnections {
    let state = bound.state();
    let settings = state.settings();
    let protocol = match settings.service {
        PortService::Http(_) => PortProtocol::Http,
        PortService::Tls(_) => PortProtocol::Tls,
        PortService::Tcp(_) | PortService::Udp(_) => PortProtocol::Other,
    };
    PortConnections { address: settings.address, protocol, open: state.open() as u64, accepted: state.accepted.load(Relaxed) }
}
