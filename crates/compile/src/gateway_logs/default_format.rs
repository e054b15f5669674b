//! Form of lines where an EnvoyProxy names none: Envoy Gateway's.

use std::{path::Path, sync::Arc};

use pailou_snapshot::{AccessLog, Captured, LogFormat, LogScope, LogSink};

use super::format;

/// Members and their values.
const MEMBERS: [(&str, &str); 22] = [
    (":authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("protocol", "%PROTOCOL%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user-agent", "%REQ(USER-AGENT)%"),
    ("x-envoy-origin-path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("x-request-id", "%REQ(X-REQUEST-ID)%"),
];
/// Those that come between.
const MORE: [(&str, &str); 2] =
    [("x-envoy-upstream-service-time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"), ("x-forwarded-for", "%REQ(X-FORWARDED-FOR)%")];

/// The form.
pub(super) fn default_format(captured: &mut Captured) -> LogFormat {
    let mut members: Vec<_> = MEMBERS.into_iter().chain(MORE).collect();
    members.sort_unstable();
    // A test reads them all.
    LogFormat::Json(format::members(members, captured).unwrap_or_default())
}

/// The log of an EnvoyProxy that names none.
pub(super) fn on_standard_output(captured: &mut Captured) -> AccessLog {
    let sinks = vec![LogSink::File(Arc::from(Path::new("/dev/stdout")))];
    AccessLog { scope: LogScope::Default, matches: Vec::new(), format: default_format(captured), sinks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_all_members() {
        let LogFormat::Json(members) = default_format(&mut Captured::default()) else { panic!("it is an object") };
        assert_eq!(members.len(), 24);
        assert!(members.is_sorted_by_key(|(name, _)| name.clone()));
    }
}
