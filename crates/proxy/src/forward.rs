//! Whole connections handed on to backends: TLS by the server name asked for, passed through or ended here, and TCP.
//!
//! ```text
//! client ─▶ rule ─▶ backend, endpoint ─▶ (handshake) ─▶ dial ─▶ relay ─▶ settle
//! ```
//!
//! A failure closes the connection, before a handshake if it is known before. The client gets no answer: only its
//! own protocol would be understood.

pub(crate) mod datagrams;
mod pump;
mod session;
mod target;

pub(crate) use session::Session;

use std::{future::Future, io, net::IpAddr, sync::Arc};

use pailou_snapshot::{ConnectionListener, Forward, ListenerRef, PortKey, PortService, TlsListener};

use self::{
    pump::{End, relay},
    target::Target,
};
use crate::{
    error::{Error, Flag},
    runtime::Runtime,
    server::{Client, HandshakeError},
    session_record::Protocol,
    worker::Connection,
};

/// Serves a connection to its end, or until `stop`.
pub(crate) async fn handle(connection: &Arc<Connection>, client: Client, stop: impl Future<Output = ()> + Send) {
    let context = Arc::clone(&connection.worker.context);
    let sni = connection.tls.as_ref().and_then(|tls| tls.sni.clone());
    let protocol = if connection.tls.is_some() { Protocol::Tls } else { Protocol::Tcp };
    let mut session = Session::new(context, protocol, connection.peer, sni);
    session.local = Some(connection.destination);
    let served = tokio::select! {
        biased;
        served = serve(connection, client, &mut session) => served,
        () = stop => Err(Error::new(Flag::Stopped, "the gateway stopped")),
    };
    if let Err(error) = served {
        session.failed(error);
    }
}

async fn serve(connection: &Arc<Connection>, client: Client, session: &mut Session) -> Result<(), Error> {
    let context = &connection.worker.context;
    let runtime = context.runtime.load_full().ok_or_else(|| Error::new(Flag::NoRoute, "nothing is served yet"))?;
    let (listener, forward) = find(&runtime, connection, &client)?;
    session.listener = Some(listener.name.clone());
    session.log = context.gateway_logs.target(&listener.access_log);
    let idle = listener.client.timeouts.connection_idle;
    let forward = forward.ok_or_else(|| Error::new(Flag::NoRoute, "no route takes this server name"))?;
    session.route = Some(forward.route.clone());
    authorize(forward, connection.peer.ip())?;
    let target = Target::choose(&runtime, forward, connection.peer.ip(), session)?;
    let mut client = client.open().await.map_err(|error| {
        let cause = HandshakeError::of(&error);
        context.metrics.handshake_failed(cause.reason, false);
        Error::new(Flag::TlsHandshake, cause.detail)
    })?;
    let mut backend = target.dial(connection.ends(), &connection.worker.upstreams, session).await?;
    // Nothing of the snapshot is held by a connection that may live for days.
    drop(runtime);
    let ahead = client.take_ahead();
    let end = relay(&mut client.stream, &mut backend.io, &ahead, idle, &mut session.moved).await;
    match end {
        End::Finished => {}
        End::Idle => session.ended(Flag::StreamIdle, "no byte moved for too long".to_owned()),
        // A stream that was cut off must not look whole.
        End::Client(error) => {
            session.failed(broken(Flag::ClientGone, &error));
            backend.io.abort(&error);
        }
        End::Backend(error) => {
            session.failed(broken(Flag::UpstreamReset, &error));
            client.abort(&error);
        }
    }
    Ok(())
}

/// Closes a connection that the rules of a policy do not admit, before a handshake.
fn authorize(forward: &Forward, client: IpAddr) -> Result<(), Error> {
    match &forward.authorization {
        Some(filter) if !filter.rules.admits(client.to_canonical()) => {
            Err(Error::new(Flag::Forbidden, "no rule of the SecurityPolicy admits this address"))
        }
        _ => Ok(()),
    }
}

fn broken(flag: Flag, error: &io::Error) -> Error {
    Error::new(flag, "the connection broke").with_detail(error.to_string())
}

/// The listener, as it is now, with the rule that takes the connection.
fn find<'a>(
    runtime: &'a Runtime,
    connection: &Connection,
    client: &Client,
) -> Result<(&'a ConnectionListener, Option<&'a Arc<Forward>>), Error> {
    let gone = || Error::new(Flag::NoRoute, "the listener is not there any more");
    let port = runtime.port(PortKey::tcp(connection.local)).ok_or_else(gone)?;
    let name = connection.tls.as_ref().and_then(|tls| tls.sni.as_deref()).unwrap_or("");
    let listener = match &port.service {
        PortService::Tls(listeners) => match listeners.get(name).next() {
            Some(TlsListener::Connections(listener)) => listener,
            Some(TlsListener::Http(_)) | None => return Err(gone()),
        },
        PortService::Tcp(listener) => listener,
        PortService::Http(_) | PortService::Udp(_) => return Err(gone()),
    };
    // A listener that has just come to end TLS, or to pass it through, is another one.
    if ListenerRef::Connections(listener).tls().is_some() != client.ends_tls() {
        return Err(gone());
    }
    Ok((listener, listener.routes.get(name).next()))
}
