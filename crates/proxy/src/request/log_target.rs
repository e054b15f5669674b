//! The access log that a request goes to, and what that keeps of it.

use std::{net::IpAddr, sync::Arc};

use http::HeaderMap;
use pailou_snapshot::{ClientPolicy, Listener, PortKey};

use crate::{
    gateway_logs::{self, LogTarget, RunningLogs},
    log_notes::{LogNotes, Origin},
    request_head::Head,
    request_record::RequestRecord,
    runtime::Runtime,
    worker::Connection,
};

/// Chooses the log of a request; that of the connection, where no listener has the host.
pub(super) fn begin(
    connection: &Connection,
    runtime: &Runtime,
    listener: Option<&Listener>,
    head: &Head,
    record: &mut RequestRecord,
) {
    let log = match listener {
        Some(listener) => Some(&listener.access_log),
        None => gateway_logs::of_connection(runtime.snapshot(), PortKey::tcp(connection.local), connection.server_name()),
    };
    let Some(log) = log else { return };
    record.log_target = match connection.worker.context.gateway_logs.target(log) {
        LogTarget::Process => LogTarget::Process,
        LogTarget::Off => LogTarget::Off,
        LogTarget::Own(logs) => LogTarget::Own(Box::new(notes(logs, connection, head))),
    };
}

fn notes(logs: Arc<RunningLogs>, connection: &Connection, head: &Head) -> LogNotes {
    let tls = connection.tls.as_ref();
    let origin = Origin {
        local: connection.destination,
        server_name: tls.and_then(|tls| tls.sni.clone()),
        is_mutual_tls: tls.is_some_and(|tls| tls.presented.is_some()),
        scheme: if tls.is_some() { "https" } else { "http" },
    };
    LogNotes::new(logs, origin, (&head.authority, head.parts.uri.query()), &head.parts.headers)
}

/// Keeps what the listener has made of a request's head.
pub(super) fn prepared(notes: &mut LogNotes, client: IpAddr, policy: &ClientPolicy, head: &Head) {
    notes.client = Some(client);
    notes.appends_forwarded_for = policy.appends_forwarded_for;
    notes.keep_request(&head.parts.headers);
}

/// Keeps what logs name of a response.
pub(super) fn answered(record: &mut RequestRecord, map: &HeaderMap) {
    if let Some(notes) = record.log_notes() {
        notes.keep_response(map);
    }
}
