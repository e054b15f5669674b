//! Lines of a Gateway's own access logs: at the end of a request, an attempt, a forwarded connection, or a client that gets to none.

mod condition;
mod facts;
mod flags;
mod line;
mod operator;
mod record;
mod service_entry;

use std::{cell::RefCell, sync::Arc};

use pailou_snapshot::{AccessLog, LogFormat, LogScope, PortKey};

pub(crate) use self::{facts::Facts, line::text_of, operator::GRPC_STATUSES};
use crate::{
    access_log::AccessLog as ProcessLog,
    context::Context,
    gateway_logs::{self, LogTarget, LoggedRequest, RunningLogs, RunningSink},
    request_record::RequestRecord,
    server::{HandshakeFailure, Violation},
    session_record::SessionRecord,
    worker::Connection,
};

thread_local! {
    /// The line that is written now.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Room for a line that a thread keeps, in bytes.
const MAX_KEPT: usize = 64 << 10;

/// Kind of an event that logs may have a line for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventKind {
    /// A request or a forwarded connection.
    Route,
    /// An attempt at a backend.
    Upstream,
    /// A client's connection that ended.
    Connection,
    /// A client that got to no request: its TLS handshake failed, or it sent what is none.
    Failure,
}

impl EventKind {
    fn is_in(self, scope: LogScope) -> bool {
        match scope {
            LogScope::Default => matches!(self, Self::Route | Self::Failure),
            LogScope::Route => self == Self::Route,
            LogScope::Listener => matches!(self, Self::Connection | Self::Failure),
            LogScope::Upstream => self == Self::Upstream,
        }
    }
}

/// Writes the lines of a request that took `duration`, and of its attempts.
pub(crate) fn write_request(record: &RequestRecord, logged: &LoggedRequest, duration: std::time::Duration) {
    let LoggedRequest { logs, notes } = logged;
    if notes.wants_attempts() {
        for attempt in &record.attempt_records {
            write(logs, EventKind::Upstream, &Facts::of_attempt(record, notes, attempt, duration));
        }
    }
    write(logs, EventKind::Route, &Facts::of_request(record, notes, duration));
}

/// Writes the line of a forwarded connection, or of a client's datagrams.
pub(crate) fn write_session(context: &Context, session: &SessionRecord) {
    match &session.log {
        LogTarget::Process => context.log.write_session(session),
        LogTarget::Off => {}
        LogTarget::Own(logs) => write(logs, EventKind::Route, &Facts::of_session(session)),
    }
}

/// Writes the line of a TLS handshake that failed.
pub(crate) fn write_handshake(context: &Context, failure: &HandshakeFailure) {
    let log = |log: &ProcessLog| log.write_handshake(failure);
    write_event(context, (failure.local, failure.sni.as_deref()), EventKind::Failure, log, || Facts::of_handshake(failure));
}

/// Writes the line of a client that did not keep to the protocol.
pub(crate) fn write_violation(connection: &Connection, violation: &Violation) {
    let at = (connection.local, connection.server_name());
    let log = |log: &ProcessLog| log.write_violation(connection, violation);
    write_event(&connection.worker.context, at, EventKind::Failure, log, || Facts::of_violation(connection, violation));
}

/// Writes the line of a client's connection that has ended.
pub(crate) fn write_connection(connection: &Connection, opened: std::time::Instant) {
    let context = &connection.worker.context;
    if context.gateway_logs.is_any() {
        let at = (connection.local, connection.server_name());
        write_event(context, at, EventKind::Connection, |_| {}, || Facts::of_connection(connection, opened));
    }
}

/// Writes the line of an event that no request is known of, to the log of the address that it came by.
fn write_event<'f>(
    context: &Context,
    (local, server_name): (std::net::SocketAddr, Option<&str>),
    kind: EventKind,
    to_process: impl FnOnce(&ProcessLog),
    facts: impl FnOnce() -> Facts<'f>,
) {
    let runtime = context.runtime.load();
    let log =
        runtime.as_ref().and_then(|runtime| gateway_logs::of_connection(runtime.snapshot(), PortKey::tcp(local), server_name));
    match log.map_or(LogTarget::Process, |log| context.gateway_logs.target(log)) {
        LogTarget::Process => to_process(&context.log),
        LogTarget::Off => {}
        LogTarget::Own(logs) => write(&logs, kind, &facts()),
    }
}

/// Writes the lines of an event.
fn write(logs: &Arc<RunningLogs>, kind: EventKind, facts: &Facts<'_>) {
    for (log, sinks) in logs.settings.logs.iter().zip(&logs.sinks) {
        if kind.is_in(log.scope) && condition::holds(&log.matches, facts) {
            write_log(log, sinks, logs, facts);
        }
    }
}

fn write_log(log: &AccessLog, sinks: &[RunningSink], logs: &RunningLogs, facts: &Facts<'_>) {
    let needs_line = sinks.iter().any(|sink| match sink {
        RunningSink::File(_) => true,
        RunningSink::Otlp(_) => matches!(log.format, LogFormat::Text(_)),
        RunningSink::Service(..) => false,
    });
    LINE.with_borrow_mut(|line| {
        line.clear();
        line.shrink_to(MAX_KEPT);
        if needs_line {
            line::write(line, &log.format, facts);
        }
        for sink in sinks {
            match sink {
                RunningSink::File(file) => file.append(|lines| lines.bytes.extend_from_slice(line)),
                RunningSink::Otlp(queue) => queue.append(|out| record::append(out, log, line, &logs.of_pod, facts)),
                RunningSink::Service(queue, headers) => {
                    queue.append(|out| service_entry::append(out, queue.is_tcp(), headers, facts));
                }
            }
        }
    });
}
