//! Data of a forwarded connection, or of a client's datagrams, for log and metrics.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use pailou_snapshot::{Address, Endpoint, ListenerName, RouteName};

use crate::{
    cluster::ClusterState,
    error::{Error, Flag},
    gateway_logs::{LogTarget, RunningLogs},
};

/// A client's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// TLS, whoever ends it.
    Tls,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Bytes moved so far, which hold whenever the relay is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// From the client to the backend.
    pub(crate) sent: u64,
    /// From the backend to the client.
    pub(crate) received: u64,
}

/// One connection from its first byte to its last, or the datagrams of one client until they cease.
pub(crate) struct SessionRecord {
    /// When it began.
    pub(crate) started: Instant,
    /// The same by the wall clock.
    pub(crate) time: SystemTime,
    /// Its protocol.
    pub(crate) protocol: Protocol,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The address that it came in at, where it is known: that of datagrams may be any of the machine's.
    pub(crate) local: Option<SocketAddr>,
    /// The server name asked for.
    pub(crate) sni: Option<Arc<str>>,
    /// The listener that took it.
    pub(crate) listener: Option<ListenerName>,
    /// The rule that it went by.
    pub(crate) route: Option<RouteName>,
    /// The cluster that was chosen.
    pub(crate) cluster: Option<Arc<ClusterState>>,
    /// The endpoint that was tried last.
    pub(crate) endpoint: Option<Arc<str>>,
    /// That endpoint's address.
    pub(crate) upstream: Option<Address>,
    /// Endpoints tried.
    pub(crate) attempts: u32,
    /// Bytes both ways.
    pub(crate) moved: Moved,
    /// Why it did not come to a good end.
    pub(crate) flag: Option<Flag>,
    /// More about why, for the operator.
    pub(crate) detail: Option<String>,
    /// Access log of the listener.
    pub(crate) log: LogTarget<Arc<RunningLogs>>,
}

impl SessionRecord {
    /// A record of a session that has just begun.
    pub(crate) fn new(protocol: Protocol, peer: SocketAddr, sni: Option<Arc<str>>) -> Self {
        Self {
            started: Instant::now(),
            time: SystemTime::now(),
            protocol,
            peer,
            local: None,
            sni,
            listener: None,
            route: None,
            cluster: None,
            endpoint: None,
            upstream: None,
            attempts: 0,
            moved: Moved::default(),
            flag: None,
            detail: None,
            log: LogTarget::default(),
        }
    }

    /// Notes the endpoint that is tried.
    pub(crate) fn tried(&mut self, endpoint: &Endpoint) {
        self.attempts += 1;
        self.endpoint = Some(Arc::clone(&endpoint.name));
        self.upstream = Some(endpoint.address.clone());
    }

    /// Notes why it cannot go on.
    pub(crate) fn failed(&mut self, error: Error) {
        self.ended(error.flag, error.detail.unwrap_or(error.message));
    }

    /// Notes why it did not come to a good end.
    pub(crate) fn ended(&mut self, flag: Flag, detail: String) {
        self.flag = Some(flag);
        self.detail = Some(detail);
    }
}

impl Protocol {
    /// Its name, as listeners have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}
