//! External processing: a server that sees requests and responses, and may change them.

use serde::Deserialize;

use super::backend_settings::BackendSettings;
use crate::{
    duration::Duration,
    refs::{BackendObjectReference, BackendRef},
};

/// An external processor, and the parts of requests and responses that it gets.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtProc {
    /// One backend (deprecated in favour of `backendRefs`).
    #[serde(default)]
    pub backend_ref: Option<BackendObjectReference>,
    /// Services and Backends of the server, at most 16.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    /// Settings of connections to it.
    #[serde(default)]
    pub backend_settings: Option<BackendSettings>,
    /// Time for each of its answers; 200 ms when absent.
    #[serde(default)]
    pub message_timeout: Option<Duration>,
    /// Whether requests and responses pass where it fails, or cannot be reached.
    #[serde(default)]
    pub fail_open: bool,
    /// Parts that it gets; none when absent.
    #[serde(default)]
    pub processing_mode: Option<ProcessingMode>,
    /// Whether it only watches: nothing waits for it, and its answers count for nothing (Envoy's `observability_mode`).
    #[serde(default)]
    pub shadow_mode: bool,
    /// Metadata that it gets and writes.
    #[serde(default)]
    pub metadata: Option<ExtProcMetadata>,
    /// Status for clients where it fails; 500 when absent.
    #[serde(default)]
    pub status_on_error: Option<u16>,
}

/// Envoy's attributes that the gateway knows. Others are left out, as Envoy leaves out those that have no value.
pub const ATTRIBUTES: [&str; 19] = [
    "connection.mtls",
    "connection.requested_server_name",
    "destination.address",
    "destination.port",
    "request.host",
    "request.id",
    "request.method",
    "request.path",
    "request.protocol",
    "request.query",
    "request.referer",
    "request.scheme",
    "request.time",
    "request.url_path",
    "request.useragent",
    "response.code",
    "source.address",
    "source.port",
    "xds.route_name",
];

impl ExtProc {
    /// Whether it asks for an attribute that the gateway does not know.
    pub fn has_unknown_attribute(&self) -> bool {
        let parts = self.processing_mode.iter().flat_map(|mode| [&mode.request, &mode.response]).flatten();
        parts.flat_map(|parts| &parts.attributes).any(|name| !ATTRIBUTES.contains(&name.as_str()))
    }
}

/// Parts of requests and of responses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessingMode {
    /// Parts of requests: the headers, and what it names. None when absent.
    #[serde(default)]
    pub request: Option<ProcessingModeOptions>,
    /// Parts of responses: the headers, and what it names. None when absent.
    #[serde(default)]
    pub response: Option<ProcessingModeOptions>,
    /// Whether the server may choose other parts for a request.
    #[serde(default)]
    pub allow_mode_override: bool,
}

/// Parts beside the headers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessingModeOptions {
    /// How the body is sent; not at all when absent.
    #[serde(default)]
    pub body: Option<BodyProcessingMode>,
    /// Envoy's attributes to send, by name.
    #[serde(default)]
    pub attributes: Vec<String>,
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum BodyProcessingMode {
    /// In pieces, each of which is answered.
    Streamed,
    /// As one.
    Buffered,
    /// As one up to the buffer limit.
    BufferedPartial,
    /// In pieces, while another body comes back; with trailers. `failOpen` must be false.
    FullDuplexStreamed,
}

/// Metadata of requests, by namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtProcMetadata {
    /// Namespaces that the server gets.
    #[serde(default)]
    pub accessible_namespaces: Vec<String>,
    /// Namespaces that the server may write, at most 8.
    #[serde(default)]
    pub writable_namespaces: Vec<String>,
}
