//! Statuses of gRPC on spans, by OpenTelemetry's conventions for RPC.

use pailou_telemetry::{attributes::Attributes, span::SpanKind};

use crate::gateway_log::GRPC_STATUSES;

/// Appends the status, if there is one.
pub(super) fn append(attributes: &mut Attributes<'_>, status: Option<u8>) {
    if let Some(status) = status {
        attributes.text("rpc.system", "grpc");
        attributes.number("rpc.grpc.status_code", status.into());
    }
}

/// The name of a status that makes a span an error. For a server those are its own failures; for a client, all but success.
pub(super) fn error(status: Option<u8>, kind: SpanKind) -> Option<&'static str> {
    let status = status?;
    let is_error = match kind {
        // Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
        SpanKind::Server => matches!(status, 2 | 4 | 12..=15) || status > 16,
        SpanKind::Client => status != 0,
    };
    let known = GRPC_STATUSES.get(usize::from(status)).map_or("_OTHER", |(name, _)| name);
    is_error.then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_fault_is_no_error_of_the_servers_span() {
        let both = |status| [SpanKind::Server, SpanKind::Client].map(|kind| error(Some(status), kind));
        assert_eq!(both(0), [None, None]);
        assert_eq!(both(5), [None, Some("NOT_FOUND")]);
        assert_eq!(both(14), [Some("UNAVAILABLE"), Some("UNAVAILABLE")]);
        assert_eq!(both(99), [Some("_OTHER"), Some("_OTHER")]);
        assert_eq!(error(None, SpanKind::Client), None);
    }
}
