//! The access log that a request goes to, and what that keeps of it.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, header, request::Parts};
use pailou_snapshot::{ClientPolicy, Listener, ListenerAccessLog, PortKey};

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
    set(log, connection, (&head.authority, &head.parts), record);
}

/// Chooses the log of a request that is refused for its head: that of the connection. A host that is not valid is not kept.
pub(super) fn refused(connection: &Connection, parts: &Parts, record: &mut RequestRecord) {
    let runtime = connection.worker.context.runtime.load();
    let Some(runtime) = runtime.as_ref() else { return };
    let log = gateway_logs::of_connection(runtime.snapshot(), PortKey::tcp(connection.local), connection.server_name());
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|host| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)));
    set(log, connection, (host.unwrap_or_default(), parts), record);
}

fn set(log: Option<&ListenerAccessLog>, connection: &Connection, head: (&str, &Parts), record: &mut RequestRecord) {
    let Some(log) = log else { return };
    record.log_target = match connection.worker.context.gateway_logs.target(log) {
        LogTarget::Process => LogTarget::Process,
        LogTarget::Off => LogTarget::Off,
        LogTarget::Own(logs) => LogTarget::Own(Box::new(notes(logs, connection, head))),
    };
}

fn notes(logs: Arc<RunningLogs>, connection: &Connection, (authority, parts): (&str, &Parts)) -> LogNotes {
    let tls = connection.tls.as_ref();
    let origin = Origin {
        local: connection.destination,
        server_name: tls.and_then(|tls| tls.sni.clone()),
        is_mutual_tls: tls.is_some_and(|tls| tls.presented.is_some()),
        scheme: if tls.is_some() { "https" } else { "http" },
    };
    LogNotes::new(logs, origin, (authority, parts.uri.query()), &parts.headers)
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
