//! Ports that the process which serves a Gateway has for itself: no listener gets one.

use std::net::{IpAddr, SocketAddr};

use pailou_snapshot::Transport;

use crate::status::Problem;

use super::{
    listener::ListenerState,
    ports::overlap,
    settings::{ADMIN_PORT, Mode, Settings},
};

/// Refuses listeners that ask for the port of the admin endpoint. `addresses` are those that the Gateway binds.
pub(crate) fn refuse(listeners: &mut [ListenerState<'_>], addresses: &[IpAddr], settings: &Settings) {
    for listener in listeners {
        if listener.protocol.is_some_and(|protocol| protocol.transport() == Transport::Tcp) {
            let message = message(listener.spec.port.get(), addresses, settings);
            listener.problems.extend(message.map(|message| Problem::accepted("PortUnavailable", message)));
        }
    }
}

fn message(port: u16, addresses: &[IpAddr], settings: &Settings) -> Option<String> {
    match settings.mode {
        Mode::Cluster => (port == ADMIN_PORT)
            .then(|| format!("port {port}: each proxy has its admin endpoint at TCP port {ADMIN_PORT}: choose another port")),
        Mode::Standalone => {
            let admin = settings.admin.filter(|admin| admin.port() == port)?;
            let address = addresses.iter().find(|address| overlap(**address, admin.ip()))?;
            let wanted = SocketAddr::new(*address, port);
            Some(format!(
                "port {port}: {wanted} is held by the admin endpoint at {admin}: choose another port, or move the admin endpoint \
                 with --admin"
            ))
        }
    }
}
