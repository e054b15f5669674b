//! Which listener answers on a connection: the most specific by host name.

use std::sync::Arc;

use pailou_config::snapshot::Listener;

use super::head::Head;
use crate::{
    error::{Error, Flag},
    live::Live,
    server::Connection,
};

/// The listener that a request is for.
///
/// # Errors
/// 404 where none has the host; 421 where the TLS connection was made for another one (Gateway API, HTTPS listeners: a client
/// that coalesces connections must not reach a listener whose certificate it never saw), or before the listener asked its
/// clients for the certificates that it asks them for now.
pub(super) fn choose<'a>(live: &'a Live, connection: &Connection, head: &Head) -> Result<&'a Arc<Listener>, Error> {
    let port =
        live.port(connection.local).ok_or_else(|| Error::new(Flag::NoRoute, "nothing is served at this address any more"))?;
    let listener = port
        .listeners
        .get(&head.host)
        .next()
        .ok_or_else(|| Error::new(Flag::NoRoute, "no listener for this host at this address"))?;
    if let Some(tls) = &connection.tls {
        let greeted = port.listeners.get(tls.sni.as_deref().unwrap_or("")).next();
        if !greeted.is_some_and(|greeted| Arc::ptr_eq(greeted, listener)) {
            return Err(Error::new(Flag::Misdirected, "this connection was made for another host"));
        }
        let asked = listener.tls.as_ref().and_then(|tls| tls.client_certificates.as_ref());
        if asked.is_some() && asked != tls.client_certificates.as_ref() {
            return Err(Error::new(
                Flag::Misdirected,
                "this connection was made before a certificate was asked for: connect again",
            ));
        }
    }
    Ok(listener)
}
