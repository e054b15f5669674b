//! Sockets and the listeners that share them.

use std::{fmt, net::SocketAddr, sync::Arc};

use http::HeaderName;
use pailou_limits::LlmCosts;

use super::{
    ClientPolicy, Forward, GeoSources, HostMap, HostPattern, HttpFilter, ListenerAccessLog, ListenerTracing, Name, RouteTable,
    ServerTls,
};

/// A socket to listen on, with every listener that shares it.
#[derive(Clone, Debug)]
pub struct Port {
    /// The address to bind.
    pub address: SocketAddr,
    /// The port number that the listeners ask for, which is the address's own unless the system is to choose one.
    pub number: u16,
    /// Settings that hold for the connection, before any request names its host: those of the port's first listener.
    pub client: Arc<ClientPolicy>,
    /// Its protocol, and its listeners.
    pub service: PortService,
}

/// Protocol of a port. Listeners share one only if host names tell them apart.
#[derive(Clone, Debug)]
pub enum PortService {
    /// HTTP/1.1, HTTP/2 by prior knowledge, WebSocket, in clear text. Requests go to the most specific listener by `Host`,
    /// then only to that one's routes.
    Http(HostMap<Arc<Listener>>),
    /// TLS. The most specific listener by server name answers.
    Tls(HostMap<TlsListener>),
    /// Connections, passed on as they come.
    Tcp(Arc<ConnectionListener>),
    /// Datagrams, passed on as they come.
    Udp(Arc<ConnectionListener>),
}

/// One of the listeners that share a port by server name.
#[derive(Clone, Debug)]
pub enum TlsListener {
    /// A listener of protocol HTTPS: TLS ends here, and HTTP is what is within.
    Http(Arc<Listener>),
    /// A listener of protocol TLS.
    Connections(Arc<ConnectionListener>),
}

/// One listener of a Gateway for HTTP: the root of routing.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Identity of the listener.
    pub name: ListenerName,
    /// Host names it answers for; `None` is any.
    pub hostname: Option<HostPattern>,
    /// Present exactly where the port speaks TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// How clients are treated.
    pub client: Arc<ClientPolicy>,
    /// Authorization servers that decide, in this order, whether a request may pass, before anything is matched.
    pub filters: Vec<HttpFilter>,
    /// Headers that authentication puts identities into: a client's own are removed.
    pub identity_headers: Arc<[HeaderName]>,
    /// Costs of models' responses and prices, where the Gateway has any of its own.
    pub costs: Option<Arc<LlmCosts>>,
    /// Databases of the places of addresses, if the Gateway has any.
    pub geo: Option<Arc<GeoSources>>,
    /// Traces of its requests.
    pub tracing: ListenerTracing,
    /// Access log of its requests.
    pub access_log: ListenerAccessLog,
    /// Routes of its requests.
    pub routes: RouteTable,
}

/// One listener of protocol TLS, TCP or UDP: whole connections, or a client's datagrams, go to one backend.
#[derive(Clone, Debug)]
pub struct ConnectionListener {
    /// Identity of the listener.
    pub name: ListenerName,
    /// Server names it answers for; `None` is any, and all there is to TCP and UDP.
    pub hostname: Option<HostPattern>,
    /// Settings of TLS that ends here. Absent for TLS that is passed through, for TCP and for UDP.
    pub tls: Option<Arc<ServerTls>>,
    /// How clients are treated.
    pub client: Arc<ClientPolicy>,
    /// Access log of its connections.
    pub access_log: ListenerAccessLog,
    /// Routes of connections, by the routes' own server names; TCP and UDP have one entry for any. A connection without a match is closed.
    pub routes: HostMap<Arc<Forward>>,
}

/// Key of a socket: TCP and UDP of one address do not stand in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    /// The address.
    pub address: SocketAddr,
    /// Kind of socket.
    pub transport: Transport,
}

/// Transport of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
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

impl Port {
    /// Key that tells it apart from the others of a snapshot.
    pub fn key(&self) -> PortKey {
        let transport = match self.service {
            PortService::Http(_) | PortService::Tls(_) | PortService::Tcp(_) => Transport::Tcp,
            PortService::Udp(_) => Transport::Udp,
        };
        PortKey { address: self.address, transport }
    }

    /// The listener for HTTP that answers for a host (lower case, no port): the most specific, where it is one for HTTP.
    pub fn http(&self, host: &str) -> Option<&Arc<Listener>> {
        match &self.service {
            PortService::Http(listeners) => listeners.get(host).next(),
            PortService::Tls(listeners) => listeners.get(host).next()?.http(),
            PortService::Tcp(_) | PortService::Udp(_) => None,
        }
    }

    /// The listener whose settings hold for a connection before a request names its host: that of the server name, or one for all.
    pub fn greeting(&self, server_name: Option<&str>) -> Option<ListenerRef<'_>> {
        match &self.service {
            PortService::Http(listeners) => listeners.values().next().map(ListenerRef::Http),
            PortService::Tls(listeners) => {
                let named = listeners.get(server_name.unwrap_or_default()).next();
                named.or_else(|| listeners.values().next()).map(TlsListener::get)
            }
            PortService::Tcp(listener) | PortService::Udp(listener) => Some(ListenerRef::Connections(listener)),
        }
    }

    /// Every listener, in no order.
    pub fn listeners(&self) -> Vec<ListenerRef<'_>> {
        match &self.service {
            PortService::Http(listeners) => listeners.values().map(ListenerRef::Http).collect(),
            PortService::Tls(listeners) => listeners.values().map(TlsListener::get).collect(),
            PortService::Tcp(listener) | PortService::Udp(listener) => vec![ListenerRef::Connections(listener)],
        }
    }
}

/// A listener of either sort.
#[derive(Clone, Copy, Debug)]
pub enum ListenerRef<'a> {
    /// For HTTP.
    Http(&'a Arc<Listener>),
    /// For connections or datagrams.
    Connections(&'a Arc<ConnectionListener>),
}

impl<'a> ListenerRef<'a> {
    /// Identity of the listener.
    pub fn name(self) -> &'a ListenerName {
        match self {
            Self::Http(listener) => &listener.name,
            Self::Connections(listener) => &listener.name,
        }
    }

    /// The host names it answers for.
    pub fn hostname(self) -> Option<&'a HostPattern> {
        match self {
            Self::Http(listener) => listener.hostname.as_ref(),
            Self::Connections(listener) => listener.hostname.as_ref(),
        }
    }

    /// Settings that end TLS on it.
    pub fn tls(self) -> Option<&'a Arc<ServerTls>> {
        match self {
            Self::Http(listener) => listener.tls.as_ref(),
            Self::Connections(listener) => listener.tls.as_ref(),
        }
    }

    /// Its access log.
    pub fn access_log(self) -> &'a ListenerAccessLog {
        match self {
            Self::Http(listener) => &listener.access_log,
            Self::Connections(listener) => &listener.access_log,
        }
    }

    /// How it treats clients.
    pub fn client(self) -> &'a Arc<ClientPolicy> {
        match self {
            Self::Http(listener) => &listener.client,
            Self::Connections(listener) => &listener.client,
        }
    }
}

impl TlsListener {
    /// The listener, whatever its sort.
    pub fn get(&self) -> ListenerRef<'_> {
        match self {
            Self::Http(listener) => ListenerRef::Http(listener),
            Self::Connections(listener) => ListenerRef::Connections(listener),
        }
    }

    /// The listener, where it is one for HTTP.
    pub fn http(&self) -> Option<&Arc<Listener>> {
        match self {
            Self::Http(listener) => Some(listener),
            Self::Connections(_) => None,
        }
    }
}

impl PortService {
    /// Protocol, as listeners name it, if all that share the port speak the same; `TLS` if they do not.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Http(_) => "HTTP",
            Self::Tls(listeners) if listeners.values().all(|it| it.http().is_some()) => "HTTPS",
            Self::Tls(_) => "TLS",
            Self::Tcp(_) => "TCP",
            Self::Udp(_) => "UDP",
        }
    }
}

impl Transport {
    /// As Kubernetes names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl PortKey {
    /// A TCP socket's.
    pub fn tcp(address: SocketAddr) -> Self {
        Self { address, transport: Transport::Tcp }
    }

    /// A UDP socket's.
    pub fn udp(address: SocketAddr) -> Self {
        Self { address, transport: Transport::Udp }
    }
}

/// The address alone for TCP, as everybody writes it.
impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Tcp => self.address.fmt(f),
            Transport::Udp => write!(f, "{}/udp", self.address),
        }
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.set {
            Some(set) => write!(f, "{}/{set}/{}", self.gateway, self.section),
            None => write!(f, "{}/{}", self.gateway, self.section),
        }
    }
}
