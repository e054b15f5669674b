//! Facts of an event, as operators and conditions ask for them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use pailou_snapshot::{Address, ListenerName, RouteName};

use crate::{
    attempt_record::AttemptRecord,
    cluster::ClusterState,
    error::Flag,
    request_notes::RequestNotes,
    request_record::RequestRecord,
    server::{HandshakeFailure, Violation},
    session_record::SessionRecord,
    template,
    worker::Connection,
};

/// Facts of one event.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// Envoy's name of its kind.
    pub(super) kind: &'static str,
    /// When it began.
    pub(super) time: SystemTime,
    pub(super) duration: Duration,
    /// From its beginning to the response's head.
    pub(super) head_after: Option<Duration>,
    pub(super) request: Option<(&'a RequestRecord, &'a RequestNotes)>,
    pub(super) protocol: Option<&'static str>,
    /// The connection's other end.
    pub(super) peer: SocketAddr,
    /// The client, as the listener finds it; its port is 0 where it is behind a proxy.
    pub(super) client: SocketAddr,
    pub(super) local: Option<SocketAddr>,
    pub(super) server_name: Option<&'a str>,
    pub(super) status: Option<u16>,
    pub(super) flag: Option<Flag>,
    pub(super) detail: Option<&'a str>,
    /// Bytes from the client and to it, where they are counted: those of a connection with requests are not.
    pub(super) received: Option<u64>,
    pub(super) sent: Option<u64>,
    pub(super) attempts: Option<u32>,
    pub(super) upstream: Option<&'a Address>,
    pub(super) endpoint_name: Option<&'a str>,
    pub(super) cluster: Option<&'a ClusterState>,
    pub(super) route: Option<&'a RouteName>,
    pub(super) listener: Option<&'a ListenerName>,
    /// The response is a backend's.
    pub(super) is_of_backend: bool,
}

impl<'a> Facts<'a> {
    fn new(kind: &'static str, time: SystemTime, peer: SocketAddr) -> Self {
        Self {
            kind,
            time,
            duration: Duration::ZERO,
            head_after: None,
            request: None,
            protocol: None,
            peer,
            client: peer,
            local: None,
            server_name: None,
            status: None,
            flag: None,
            detail: None,
            received: None,
            sent: None,
            attempts: None,
            upstream: None,
            endpoint_name: None,
            cluster: None,
            route: None,
            listener: None,
            is_of_backend: false,
        }
    }

    /// Facts of a request that took `duration`.
    pub(crate) fn of_request(record: &'a RequestRecord, notes: &'a RequestNotes, duration: Duration) -> Self {
        let client = notes.client.filter(|client| *client != record.peer.ip()).map(|client| SocketAddr::new(client, 0));
        Self {
            duration,
            head_after: record.head_after,
            request: Some((record, notes)),
            protocol: Some(template::protocol(record.version)),
            client: client.unwrap_or(record.peer),
            local: Some(notes.origin.local),
            server_name: notes.origin.server_name.as_deref(),
            status: record.status.map(|status| status.as_u16()),
            flag: record.flag,
            detail: record.detail.as_deref(),
            received: Some(record.request_bytes),
            sent: Some(record.response_bytes),
            attempts: Some(record.attempts),
            upstream: notes.endpoint.as_ref().map(|endpoint| &endpoint.endpoint().address),
            endpoint_name: record.endpoint.as_deref(),
            cluster: record.cluster.as_deref(),
            route: record.rule.as_ref().map(|rule| &rule.route),
            listener: record.listener.as_ref(),
            is_of_backend: record.flag.is_none() && record.endpoint.is_some(),
            ..Self::new("DownstreamEnd", record.time, record.peer)
        }
    }

    /// Facts of an attempt of a request that took `duration`.
    pub(crate) fn of_attempt(
        record: &'a RequestRecord,
        notes: &'a RequestNotes,
        attempt: &'a AttemptRecord,
        duration: Duration,
    ) -> Self {
        let after = attempt.started.saturating_duration_since(record.started);
        let is_relayed = attempt.is_relayed;
        let rest = duration.saturating_sub(after);
        let endpoint = attempt.endpoint.endpoint();
        let flag = attempt.flag.or(if is_relayed || attempt.took.is_none() { record.flag } else { None });
        let number = record.attempt_records.iter().position(|other| other.span_id == attempt.span_id).unwrap_or_default();
        Self {
            kind: "UpstreamEnd",
            time: record.time + after,
            duration: attempt.took.filter(|_| !is_relayed).unwrap_or(rest),
            head_after: attempt.took,
            status: attempt.status.map(|status| status.as_u16()),
            flag,
            detail: record.detail.as_deref().filter(|_| flag.is_some() && flag == record.flag),
            sent: Some(if is_relayed { record.response_bytes } else { 0 }),
            attempts: u32::try_from(number + 1).ok(),
            upstream: Some(&endpoint.address),
            endpoint_name: Some(&endpoint.name),
            cluster: Some(&attempt.cluster),
            is_of_backend: flag.is_none(),
            ..Self::of_request(record, notes, duration)
        }
    }

    /// Facts of a forwarded connection, or of a client's datagrams.
    pub(crate) fn of_session(session: &'a SessionRecord) -> Self {
        Self {
            duration: session.started.elapsed(),
            protocol: Some(session.protocol.name()),
            server_name: session.sni.as_deref(),
            flag: session.flag,
            detail: session.detail.as_deref(),
            local: session.local,
            upstream: session.upstream.as_ref(),
            received: Some(session.moved.sent),
            sent: Some(session.moved.received),
            attempts: Some(session.attempts),
            endpoint_name: session.endpoint.as_deref(),
            cluster: session.cluster.as_deref(),
            route: session.route.as_ref(),
            listener: session.listener.as_ref(),
            ..Self::new("TcpConnectionEnd", session.time, session.peer)
        }
    }

    /// Facts of a client's connection that has ended.
    pub(super) fn of_connection(connection: &'a Connection, opened: Instant) -> Self {
        let duration = opened.elapsed();
        let began = SystemTime::now() - duration;
        Self {
            duration,
            local: Some(connection.destination),
            server_name: connection.server_name(),
            ..Self::new("DownstreamEnd", began, connection.peer)
        }
    }

    /// Facts of a TLS handshake that failed.
    pub(super) fn of_handshake(failure: &'a HandshakeFailure) -> Self {
        Self {
            protocol: Some("TLS"),
            server_name: failure.sni.as_deref(),
            flag: Some(Flag::TlsHandshake),
            detail: Some(&failure.cause.detail),
            local: Some(failure.local),
            ..Self::new("NotSet", SystemTime::now(), failure.peer)
        }
    }

    /// Facts of a client that did not keep to the protocol.
    pub(super) fn of_violation(connection: &'a Connection, violation: &'a Violation) -> Self {
        Self {
            protocol: Some(violation.protocol),
            status: violation.status.map(|status| status.as_u16()),
            flag: Some(Flag::BadRequest),
            detail: Some(&violation.detail),
            local: Some(connection.destination),
            server_name: connection.server_name(),
            ..Self::new("NotSet", SystemTime::now(), connection.peer)
        }
    }

    /// Origin of the response, as Envoy has it.
    pub(super) fn code_details(&self) -> Option<String> {
        match (self.flag, self.status) {
            (Some(flag), _) => Some(self.detail.map_or_else(|| flag.code().to_owned(), |detail| detail.replace(' ', "_"))),
            (None, Some(_)) if self.is_of_backend => Some("via_upstream".to_owned()),
            (None, Some(_)) => Some("direct_response".to_owned()),
            (None, None) => None,
        }
    }
}
