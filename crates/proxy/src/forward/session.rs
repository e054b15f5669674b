//! Data of a forwarded connection, or of a client's datagrams, for log, metrics and settlement: once, on every way out.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use pailou_snapshot::{ListenerName, RouteName};

use super::pump::Moved;
use crate::{
    cluster::ClusterState,
    context::Context,
    error::{Error, Flag},
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

/// One connection from its first byte to its last, or the datagrams of one client until they cease. Settled when dropped.
pub(crate) struct Session {
    context: Arc<Context>,
    /// When it began.
    pub(crate) started: Instant,
    /// The same by the wall clock.
    pub(crate) time: SystemTime,
    /// Its protocol.
    pub(crate) protocol: Protocol,
    /// The client's address.
    pub(crate) peer: SocketAddr,
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
    /// Endpoints tried.
    pub(crate) attempts: u32,
    /// Bytes both ways.
    pub(crate) moved: Moved,
    /// Why it did not come to a good end.
    pub(crate) flag: Option<Flag>,
    /// More about why, for the operator.
    pub(crate) detail: Option<String>,
}

impl Session {
    /// A session that has just begun.
    pub(super) fn new(context: Arc<Context>, protocol: Protocol, peer: SocketAddr, sni: Option<Arc<str>>) -> Self {
        context.metrics.sessions.opened();
        Self {
            context,
            started: Instant::now(),
            time: SystemTime::now(),
            protocol,
            peer,
            sni,
            listener: None,
            route: None,
            cluster: None,
            endpoint: None,
            attempts: 0,
            moved: Moved::default(),
            flag: None,
            detail: None,
        }
    }

    /// Notes why it cannot go on.
    pub(super) fn failed(&mut self, error: Error) {
        self.ended(error.flag, error.detail.unwrap_or(error.message));
    }

    /// Notes why it did not come to a good end.
    pub(super) fn ended(&mut self, flag: Flag, detail: String) {
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

impl Drop for Session {
    fn drop(&mut self) {
        self.context.metrics.settle_session(self);
        self.context.log.write_session(self);
    }
}
