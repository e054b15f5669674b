//! Requests to a collector that spans, log records and metrics are sent in, and its answers: `opentelemetry.proto.collector`.

use prost::Message as _;

use crate::{attributes::Attributes, protobuf, span::ITEMS_FIELD};

/// Kind of telemetry. Requests of all have the same shape: a resource, a scope, and items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// The service's method, as gRPC has it.
    pub fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// The path of OTLP over HTTP.
    pub fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Logs => "/v1/logs",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// Its items, for people.
    pub fn items(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Logs => "log records",
            Self::Metrics => "metrics",
        }
    }
}

/// Field of the list in `ExportTraceServiceRequest`, and in those of logs and metrics.
const RESOURCE_ITEMS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_ITEMS: u32 = 2;
const SCOPE: u32 = 1;

/// The process that sends telemetry, encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Resource {
    /// A resource with these attributes; items come from the library `name` of this version.
    pub fn new<'a>(attributes: impl IntoIterator<Item = (&'a str, &'a str)>, name: &str, version: &str) -> Self {
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        protobuf::nested_field(&mut resource, RESOURCE, |out| {
            let mut all = Attributes::new(out, 1);
            attributes.into_iter().for_each(|(key, value)| all.text(key, value));
        });
        protobuf::nested_field(&mut scope, SCOPE, |out| {
            protobuf::bytes_field(out, 1, name.as_bytes());
            protobuf::bytes_field(out, 2, version.as_bytes());
        });
        Self { resource, scope }
    }

    /// The same with further attributes.
    #[must_use]
    pub fn with<'a>(&self, attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut more = Vec::new();
        let mut all = Attributes::new(&mut more, 1);
        attributes.into_iter().for_each(|(key, value)| all.text(key, value));
        // The attributes that are there, without key and length of the message that holds them.
        let before = protobuf::content(&self.resource).unwrap_or_default();
        let mut resource = Vec::new();
        protobuf::nested_field(&mut resource, RESOURCE, |out| {
            out.extend_from_slice(before);
            out.extend_from_slice(&more);
        });
        Self { resource, scope: self.scope.clone() }
    }

    /// Appends a request up to its items, which follow: so many bytes, as [`append_span`](crate::span::append_span) or
    /// [`append_record`](crate::log_record::append_record) has written them.
    pub fn append_head(&self, out: &mut Vec<u8>, items_length: usize) {
        let of_scope = self.scope.len() + items_length;
        let of_resource = self.resource.len() + protobuf::field_length(SCOPE_ITEMS, of_scope);
        protobuf::header(out, RESOURCE_ITEMS, of_resource);
        out.extend_from_slice(&self.resource);
        protobuf::header(out, SCOPE_ITEMS, of_scope);
        out.extend_from_slice(&self.scope);
    }
}

const _: () = assert!(ITEMS_FIELD == 2, "items are written as a field of ScopeSpans, ScopeLogs or ScopeMetrics");

/// The collector's answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportResponse {
    /// Items that it did not take.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// Items that a collector did not take, which are not sent again.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartialSuccess {
    /// Their number.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// Items that an answer says were not taken; none where it cannot be read.
pub fn rejected_items(answer: &[u8]) -> u64 {
    let rejected = ExportResponse::decode(answer).ok().and_then(|it| it.partial_success).map_or(0, |it| it.rejected);
    u64::try_from(rejected).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_attributes_stand_beside_those_that_are_there() {
        let (a, b) = (("service.name", "edge"), ("k8s.pod.name", "edge-1"));
        let whole = Resource::new([a, b], "pailou", "1");
        assert_eq!(Resource::new([a], "pailou", "1").with([b]), whole);
        assert_eq!(Resource::new([], "pailou", "1").with([a, b]), whole);
    }
}
