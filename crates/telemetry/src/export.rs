//! Requests to a collector that spans are sent in, and its answers: `opentelemetry.proto.collector.trace.v1`.

use prost::Message as _;

use crate::{
    protobuf,
    span::{Attributes, SPANS_FIELD},
};

/// The service's method, as gRPC has it.
pub const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The path of OTLP over HTTP.
pub const HTTP_PATH: &str = "/v1/traces";
/// Field of the list in `ExportTraceServiceRequest`.
const RESOURCE_SPANS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SCOPE: u32 = 1;

/// The process that sends spans, encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Resource {
    /// A resource with these attributes; spans come from the library `name` of this version.
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

    /// Appends a request with these spans, as [`append_span`](crate::span::append_span) has written them.
    pub fn append_request(&self, out: &mut Vec<u8>, spans: &[u8]) {
        let of_scope = self.scope.len() + spans.len();
        let of_resource = self.resource.len() + protobuf::field_length(SCOPE_SPANS, of_scope);
        out.reserve(protobuf::field_length(RESOURCE_SPANS, of_resource));
        protobuf::header(out, RESOURCE_SPANS, of_resource);
        out.extend_from_slice(&self.resource);
        protobuf::header(out, SCOPE_SPANS, of_scope);
        out.extend_from_slice(&self.scope);
        out.extend_from_slice(spans);
    }
}

const _: () = assert!(SPANS_FIELD == 2, "spans are written as a field of ScopeSpans");

/// The collector's answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportResponse {
    /// Spans that it did not take.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// Spans that a collector did not take, which are not sent again.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartialSuccess {
    /// Their number.
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// Spans that an answer says were not taken; none where it cannot be read.
pub fn rejected_spans(answer: &[u8]) -> u64 {
    let rejected = ExportResponse::decode(answer).ok().and_then(|it| it.partial_success).map_or(0, |it| it.rejected_spans);
    u64::try_from(rejected).unwrap_or(0)
}
