//! EnvoyProxy `telemetry.accessLog`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::telemetry::TelemetryHeader;
use crate::{refs::BackendRef, unsupported::Unsupported};

/// Access logs of proxies.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProxyAccessLog {
    /// There is none.
    pub disable: bool,
    /// The logs; one on standard output when empty.
    pub settings: Vec<AccessLogSetting>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AccessLogSetting {
    /// Form of lines; Envoy Gateway's when absent.
    #[serde(default)]
    pub format: Option<AccessLogFormat>,
    /// Conditions in CEL of which one has to hold.
    #[serde(default)]
    pub matches: Vec<String>,
    /// Receivers.
    #[serde(default)]
    pub sinks: Vec<AccessLogSink>,
    /// Events that it has a line for.
    #[serde(rename = "type", default)]
    pub kind: Option<AccessLogType>,
}

/// Events that a log has a line for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum AccessLogType {
    /// Connections of clients.
    Listener,
    /// Requests.
    Route,
    /// Attempts at backends.
    Upstream,
}

/// Form of lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AccessLogFormat {
    /// `Text` or `JSON`; absent where it shows.
    #[serde(rename = "type")]
    pub kind: Option<AccessLogFormatType>,
    /// A text with command operators.
    pub text: Option<String>,
    /// Members, whose values have command operators.
    pub json: Option<BTreeMap<String, String>>,
}

/// Kind of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum AccessLogFormatType {
    /// A text.
    Text,
    /// An object.
    #[serde(rename = "JSON")]
    Json,
}

/// A receiver.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLogSink {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: AccessLogSinkType,
    /// Envoy's access log service.
    #[serde(default)]
    pub als: Option<AccessLogServiceSink>,
    /// A file.
    #[serde(default)]
    pub file: Option<FileSink>,
    /// A collector of OpenTelemetry.
    #[serde(default)]
    pub open_telemetry: Option<OpenTelemetrySink>,
}

/// Kind of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum AccessLogSinkType {
    /// Envoy's access log service.
    #[serde(rename = "ALS")]
    Als,
    /// A file.
    File,
    /// A collector of OpenTelemetry.
    OpenTelemetry,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FileSink {
    /// Its path, or `/dev/stdout`.
    pub path: String,
}

/// A server of Envoy's access log service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLogServiceSink {
    /// Services and Backends.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    /// Settings of connections to it.
    #[serde(default)]
    pub backend_settings: Option<Unsupported>,
    /// The log's name; `NAME.NAMESPACE` of the Gateway when absent.
    #[serde(default)]
    pub log_name: Option<String>,
    /// Kind of entries.
    #[serde(rename = "type", default)]
    pub kind: AccessLogServiceType,
    /// Headers in entries.
    #[serde(default)]
    pub http: Option<AccessLogServiceHeaders>,
}

/// Kind of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum AccessLogServiceType {
    /// Of requests.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// Of connections.
    #[serde(rename = "TCP")]
    Tcp,
}

/// Headers in entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogServiceHeaders {
    /// Of requests.
    pub request_headers: Vec<String>,
    /// Of responses.
    pub response_headers: Vec<String>,
    /// Trailers of responses.
    pub response_trailers: Vec<String>,
}

/// A collector of OpenTelemetry.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTelemetrySink {
    /// Services and Backends.
    pub backend_refs: Vec<BackendRef>,
    /// Settings of connections to it.
    pub backend_settings: Option<Unsupported>,
    /// Its host (deprecated in favour of `backendRefs`).
    pub host: Option<Unsupported>,
    /// Its port, which the CustomResourceDefinition fills in.
    pub port: Option<i32>,
    /// Attributes of the gateway (deprecated in favour of `resourceAttributes`).
    pub resources: BTreeMap<String, String>,
    /// Attributes of the gateway.
    pub resource_attributes: BTreeMap<String, String>,
    /// Headers of requests to it.
    pub headers: Vec<TelemetryHeader>,
}

impl ProxyAccessLog {
    /// Its receivers' backends.
    pub fn backend_refs(&self) -> impl Iterator<Item = &BackendRef> {
        let sinks = self.settings.iter().flat_map(|setting| &setting.sinks);
        sinks.flat_map(|sink| {
            let als = sink.als.iter().flat_map(|als| &als.backend_refs);
            als.chain(sink.open_telemetry.iter().flat_map(|otel| &otel.backend_refs))
        })
    }

    /// Whether a receiver has a field that `is_set` finds.
    pub(crate) fn any_sink(&self, is_set: impl Fn(&AccessLogSink) -> bool) -> bool {
        self.settings.iter().flat_map(|setting| &setting.sinks).any(is_set)
    }
}
