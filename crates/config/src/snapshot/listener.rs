//! Sockets and the listeners that share them.

use std::{fmt, net::SocketAddr, sync::Arc};

use super::{ClientPolicy, HostMap, HostPattern, Name, RouteTable, ServerTls};

/// A socket to listen on, with every listener that shares it.
#[derive(Clone, Debug)]
pub struct Port {
    /// The address to bind.
    pub address: SocketAddr,
    /// What is spoken on it; listeners that disagree do not share a port.
    pub protocol: PortProtocol,
    /// The listeners by host name. Requests go to the most specific, then only to that one's routes.
    pub listeners: HostMap<Arc<Listener>>,
    /// Settings that hold for the connection, before any request names its host: those of the port's first listener.
    pub client: Arc<ClientPolicy>,
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortProtocol {
    /// HTTP/1.1, HTTP/2 by prior knowledge, WebSocket.
    Http,
    /// The same within TLS; the listener is chosen by SNI.
    Https,
}

/// One listener of a Gateway: the root of routing.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Which listener it is.
    pub name: ListenerName,
    /// Host names it answers for; `None` is any.
    pub hostname: Option<HostPattern>,
    /// Present exactly where the port speaks TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// How clients are treated.
    pub client: Arc<ClientPolicy>,
    /// Where requests go.
    pub routes: RouteTable,
}

/// The name of a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerName {
    /// Its Gateway.
    pub gateway: Name,
    /// The ListenerSet that adds it to the Gateway; `None` for the Gateway's own.
    pub set: Option<Name>,
    /// The listener's name within it.
    pub section: Arc<str>,
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.set {
            Some(set) => write!(f, "{}/{set}/{}", self.gateway, self.section),
            None => write!(f, "{}/{}", self.gateway, self.section),
        }
    }
}
