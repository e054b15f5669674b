//! Requests that telemetry is sent in: OTLP's, or those of Envoy's access log service.

use bytes::Bytes;
use pailou_ai::Pieces;
use pailou_envoy_proto::access_log::{self, EntryKind, Identifier};
use pailou_telemetry::export::{Resource, Signal};

/// Kind of a request, and the part of it that all requests of a queue have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Envelope {
    /// OTLP.
    Otlp(Signal, Resource),
    /// `StreamAccessLogs`: each batch is a message of one stream that lasts.
    AccessLogService(EntryKind, Identifier),
}

impl Envelope {
    /// The method, as gRPC has it.
    pub(crate) fn grpc_path(&self) -> &'static str {
        match self {
            Self::Otlp(signal, _) => signal.grpc_path(),
            Self::AccessLogService(..) => access_log::STREAM_PATH,
        }
    }

    /// The path over HTTP/1.1, which OTLP alone has.
    pub(crate) fn http_path(&self) -> &'static str {
        match self {
            Self::Otlp(signal, _) => signal.http_path(),
            Self::AccessLogService(..) => access_log::STREAM_PATH,
        }
    }

    /// Whether batches are messages of one stream.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::AccessLogService(..))
    }

    /// Its items, for people.
    pub(crate) fn items(&self) -> &'static str {
        match self {
            Self::Otlp(signal, _) => signal.items(),
            Self::AccessLogService(..) => "access log entries",
        }
    }

    /// The request that these items are sent in, or the message of a stream, whose first names the sender. Items are not copied.
    pub(crate) fn message(&self, items: Bytes, is_first: bool) -> Pieces {
        let mut head = Vec::new();
        match self {
            Self::Otlp(_, resource) => resource.append_head(&mut head, items.len()),
            Self::AccessLogService(kind, identifier) => {
                access_log::append_head(&mut head, is_first.then_some(identifier), *kind, items.len());
            }
        }
        Pieces::from_iter([Bytes::from(head), items])
    }
}
