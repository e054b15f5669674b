//! Opening a connection: permit, name, transport, TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use pailou_snapshot::Address;
use socket2::TcpKeepalive;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    Destination, FailureKind,
    io::{Counted, Io, Transport},
};
use crate::{dns::Dns, proxy_protocol, tcp_keepalive, tls::MaybeTls};

/// How long an address has the field to itself before the next is tried beside it (RFC 8305, Connection Attempt Delay).
const HEAD_START: Duration = Duration::from_millis(250);

/// Opens a connection that is counted already.
pub(super) async fn open(
    dns: &Dns,
    destination: &Destination<'_>,
    counted: Counted,
) -> Result<(Io, Option<SocketAddr>), FailureKind> {
    timeout(destination.connect_timeout, establish(dns, destination, counted))
        .await
        .unwrap_or_else(|_| Err(FailureKind::ConnectTimeout(destination.address.clone())))
}

async fn establish(dns: &Dns, destination: &Destination<'_>, counted: Counted) -> Result<(Io, Option<SocketAddr>), FailureKind> {
    let address = destination.address;
    let no_connection = |error| FailureKind::Connect { address: address.clone(), error };
    let permits = |socket: &SocketAddr| destination.local_addresses.permits(socket.ip());
    let local = || FailureKind::LocalAddress(address.clone());
    let (mut transport, remote) = match address {
        Address::Socket(socket) if !permits(socket) => return Err(local()),
        Address::Socket(socket) => (tcp(*socket, destination).await.map_err(no_connection)?, Some(*socket)),
        Address::Dns { host, port } => {
            let mut addresses = dns.resolve(host, *port, destination.dns).await?;
            // Those that are dialled: a name may lead elsewhere each time.
            addresses.retain(permits);
            if addresses.is_empty() {
                return Err(local());
            }
            let (transport, remote) = first_of(addresses, destination).await.map_err(no_connection)?;
            (transport, Some(remote))
        }
        Address::Unix(path) => (UnixStream::connect(path).await.map(Transport::Unix).map_err(no_connection)?, None),
    };
    if let Some(header) = destination.proxy_protocol {
        transport.write_all(&proxy_protocol::header(header.version, header.ends)).await.map_err(no_connection)?;
    }
    let stream = match destination.tls {
        None => MaybeTls::Clear(transport),
        Some(tls) => {
            let connector = TlsConnector::from(Arc::clone(&tls.config));
            let stream = connector.connect(tls.server_name.clone(), transport).await;
            let stream = stream.map_err(|error| FailureKind::Tls { address: address.clone(), error })?;
            MaybeTls::Tls(Box::new(stream.into()))
        }
    };
    Ok((Io::new(stream, counted), remote))
}

async fn tcp(address: SocketAddr, destination: &Destination<'_>) -> io::Result<Transport> {
    let stream = TcpStream::connect(address).await?;
    tune(&stream, destination.tcp_keepalive)?;
    Ok(Transport::Tcp(stream))
}

fn tune(stream: &TcpStream, keepalive: Option<Duration>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(idle) = keepalive {
        tcp_keepalive::set(stream, &TcpKeepalive::new().with_time(idle));
    }
    Ok(())
}

/// The first of several addresses that answers: each is tried when the one before has failed or is slow.
async fn first_of(addresses: Vec<SocketAddr>, destination: &Destination<'_>) -> io::Result<(Transport, SocketAddr)> {
    if let [address] = addresses[..] {
        return Ok((tcp(address, destination).await?, address));
    }
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            attempts.spawn(async move { TcpStream::connect(address).await.map(|stream| (stream, address)) });
        }
        let finished = if waiting.len() > 0 {
            timeout(HEAD_START, attempts.join_next()).await.ok().flatten()
        } else {
            attempts.join_next().await
        };
        match finished {
            Some(Ok(Ok((stream, address)))) => {
                tune(&stream, destination.tcp_keepalive)?;
                return Ok((Transport::Tcp(stream), address));
            }
            Some(Ok(Err(error))) => last_error = error,
            Some(Err(error)) => last_error = io::Error::other(error),
            None => {}
        }
        if attempts.is_empty() && waiting.len() == 0 {
            return Err(last_error);
        }
    }
}
