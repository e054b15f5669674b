//! The listener that answers on a connection: the most specific by host name.

use std::sync::Arc;

use pailou_snapshot::{Listener, PortKey, PortService, TlsListener};

use crate::{
    error::{Error, Flag},
    request_head::Head,
    runtime::Runtime,
    worker::Connection,
};

/// The listener that a request is for.
///
/// # Errors
/// 404 where none has the host; 421 where the TLS connection was made for another one (Gateway API, HTTPS listeners: a client
/// that coalesces connections must not reach a listener whose certificate it never saw), or before the listener asked its
/// clients for the certificates that it asks them for now.
pub(super) fn choose<'a>(runtime: &'a Runtime, connection: &Connection, head: &Head) -> Result<&'a Arc<Listener>, Error> {
    let port = runtime
        .port(PortKey::tcp(connection.local))
        .ok_or_else(|| Error::new(Flag::NoRoute, "nothing is served at this address any more"))?;
    match &port.service {
        PortService::Http(listeners) => listeners.get(&head.host).next().ok_or_else(nobody),
        PortService::Tls(listeners) => {
            let wanted = listeners.get(&head.host).next().ok_or_else(nobody)?.get().name();
            let tls = connection.tls.as_ref();
            let sni = tls.and_then(|tls| tls.sni.as_deref()).unwrap_or("");
            let greeted = listeners.get(sni).next().and_then(TlsListener::http);
            let listener = greeted
                .filter(|greeted| greeted.name == *wanted)
                .ok_or_else(|| Error::new(Flag::Misdirected, "this connection was made for another host"))?;
            let asked = listener.tls.as_ref().and_then(|tls| tls.client_certificates.as_ref());
            if asked.is_some() && asked != tls.and_then(|tls| tls.client_certificates.as_ref()) {
                return Err(Error::new(
                    Flag::Misdirected,
                    "this connection was made before a certificate was asked for: connect again",
                ));
            }
            Ok(listener)
        }
        PortService::Tcp(_) | PortService::Udp(_) => Err(nobody()),
    }
}

/// Takes a dot off the end of a request's host, where the listener of the host without it wants that.
pub(super) fn strip_host_dot(runtime: &Runtime, connection: &Connection, head: &mut Head) {
    let Some(host) = head.host.strip_suffix('.') else { return };
    // An IPv6 address has no dot at its end, so what follows the host is a port.
    let port = head.authority.get(head.host.len()..).unwrap_or_default();
    let (host, authority): (Box<str>, Box<str>) = (host.into(), format!("{host}{port}").into());
    let before = (std::mem::replace(&mut head.host, host), std::mem::replace(&mut head.authority, authority));
    if !choose(runtime, connection, head).is_ok_and(|listener| listener.client.strips_host_dot) {
        (head.host, head.authority) = before;
    }
}

fn nobody() -> Error {
    Error::new(Flag::NoRoute, "no listener for this host at this address")
}
