//! Counters of forwarded connections and of datagrams.

use std::sync::Arc;

use pailou_config::snapshot::RouteName;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::by_route::ByRoute;
use crate::forward::Session;

/// What is counted of connections that are forwarded as they are, and of datagrams.
#[derive(Default)]
pub(crate) struct SessionMetrics {
    active: Gauge,
    unrouted: Counter,
    sessions: Family<Label, Counter>,
    bytes: Family<BytesLabel, Counter>,
    dropped: Family<ReasonLabel, Counter>,
    routes: ByRoute<Route>,
}

/// Why a datagram was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dropped {
    /// No route, or no endpoint.
    NoEndpoint,
    /// There are as many clients as the listener keeps in mind.
    Full,
    /// The system did not take it.
    Send,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    route: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BytesLabel {
    route: Arc<str>,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

const SENT: &str = "sent";
const RECEIVED: &str = "received";

/// A rule's series, looked up once.
struct Route {
    sessions: Counter,
    sent: Counter,
    received: Counter,
}

impl SessionMetrics {
    /// Registers them.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "pailou_sessions_active",
            "Forwarded connections, and clients that send datagrams, at this moment",
            self.active.clone(),
        );
        registry.register(
            "pailou_sessions",
            "Forwarded connections, and clients that sent datagrams, by rule; counted at their end",
            self.sessions.clone(),
        );
        registry.register("pailou_session_bytes", "Bytes of them to and from the backends, by rule", self.bytes.clone());
        registry.register("pailou_unrouted_sessions", "Connections that no rule took", self.unrouted.clone());
        registry.register("pailou_dropped_datagrams", "Datagrams that were not forwarded, by reason", self.dropped.clone());
    }

    /// Counts one that begins.
    pub(crate) fn opened(&self) {
        self.active.inc();
    }

    /// Counts a datagram that goes nowhere.
    pub(crate) fn dropped(&self, why: Dropped) {
        let reason = match why {
            Dropped::NoEndpoint => "no_endpoint",
            Dropped::Full => "full",
            Dropped::Send => "send",
        };
        self.dropped.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts one that has ended.
    pub(super) fn settle(&self, session: &Session) {
        self.active.dec();
        let Some(route) = &session.route else {
            self.unrouted.inc();
            return;
        };
        let route = self.route(route);
        route.sessions.inc();
        route.sent.inc_by(session.moved.sent);
        route.received.inc_by(session.moved.received);
    }

    fn route(&self, name: &RouteName) -> Arc<Route> {
        self.routes.get(name, |label| self.made(&label), |label| self.forget(label))
    }

    fn made(&self, label: &Arc<str>) -> Route {
        let bytes = |direction| self.bytes.get_or_create(&BytesLabel { route: label.clone(), direction }).clone();
        Route {
            sessions: self.sessions.get_or_create(&Label { route: label.clone() }).clone(),
            sent: bytes(SENT),
            received: bytes(RECEIVED),
        }
    }

    fn forget(&self, label: &Arc<str>) {
        self.sessions.remove(&Label { route: label.clone() });
        for direction in [SENT, RECEIVED] {
            self.bytes.remove(&BytesLabel { route: label.clone(), direction });
        }
    }
}
