//! The access log that a request goes to.

use http::{header, request::Parts};
use pailou_snapshot::{Listener, ListenerAccessLog, PortKey};

use super::notes;
use crate::{
    gateway_logs::{self, LogTarget, LoggedRequest},
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
        LogTarget::Own(logs) => {
            let notes = notes::begin(&logs.settings.captured, connection, head);
            LogTarget::Own(Box::new(LoggedRequest { logs, notes }))
        }
    };
}
