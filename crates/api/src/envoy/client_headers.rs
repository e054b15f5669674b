//! Header settings of a ClientTrafficPolicy.

use serde::Deserialize;

use super::string_match::StringMatch;
use crate::header_filter::HttpHeader;
use crate::unsupported::Unsupported;

/// Treatment of headers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientHeaders {
    /// Header names with underscores; `RejectRequest` when absent.
    #[serde(default)]
    pub with_underscores_action: Option<UnderscoresAction>,
    /// X-Request-Id; `Generate` when absent.
    #[serde(rename = "requestID", default)]
    pub request_id: Option<RequestIdAction>,
    /// Deprecated form of `requestID: PreserveOrGenerate`.
    #[serde(rename = "preserveXRequestID", default)]
    pub preserve_x_request_id: Option<bool>,
    /// Changes before routing.
    #[serde(default)]
    pub early_request_headers: Option<HeaderModifier>,
    /// Changes to responses, last of all.
    #[serde(default)]
    pub late_response_headers: Option<HeaderModifier>,
    /// Envoy's own headers.
    #[serde(default)]
    pub enable_envoy_headers: Option<bool>,
    /// Whether limits announce themselves.
    #[serde(default)]
    pub disable_rate_limit_headers: Option<bool>,
    /// X-Forwarded-Client-Cert.
    #[serde(default)]
    pub x_forwarded_client_cert: Option<XForwardedClientCert>,
    /// Normalisation of Host.
    #[serde(default)]
    pub host: Option<HostSettings>,
    /// The largest head of a request.
    #[serde(default)]
    pub max_request_header_limit: Option<Unsupported>,
}

/// Normalisation of Host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostSettings {
    /// Whether a dot at the host's end is removed before anything is matched; false when absent.
    #[serde(default)]
    pub strip_trailing_host_dot: Option<bool>,
}

/// Treatment of X-Forwarded-Client-Cert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XForwardedClientCert {
    /// Treatment of a client's header; `Sanitize` when absent.
    #[serde(default)]
    pub mode: Option<XfccMode>,
    /// Parts of the client's certificate that the gateway writes, in the modes that write.
    #[serde(default)]
    pub cert_details_to_add: Vec<XfccCertDetail>,
}

/// Treatments of a client's X-Forwarded-Client-Cert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum XfccMode {
    /// It is removed.
    Sanitize,
    /// It passes if the client has a certificate.
    ForwardOnly,
    /// It passes if the client has a certificate, which is appended.
    AppendForward,
    /// The client's certificate takes its place.
    SanitizeSet,
    /// It passes.
    AlwaysForwardOnly,
}

/// A part of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum XfccCertDetail {
    /// The subject.
    Subject,
    /// The certificate.
    Cert,
    /// The chain.
    Chain,
    /// DNS names.
    #[serde(rename = "DNS")]
    Dns,
    /// URIs.
    #[serde(rename = "URI")]
    Uri,
}

/// Treatment of a header whose name has an underscore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum UnderscoresAction {
    /// It passes.
    Allow,
    /// The request is refused with 400.
    RejectRequest,
    /// The header is dropped.
    DropHeader,
}

/// Treatment of X-Request-Id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RequestIdAction {
    /// Kept if there, else made.
    PreserveOrGenerate,
    /// Kept if there.
    Preserve,
    /// Always made anew.
    Generate,
    /// Neither made nor touched.
    Disable,
}

/// Envoy Gateway's larger form of a header filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderModifier {
    /// Replaces the field, at most 64.
    #[serde(default)]
    pub set: Vec<HttpHeader>,
    /// Appends a value, at most 64.
    #[serde(default)]
    pub add: Vec<HttpHeader>,
    /// Adds the field where there is none, at most 64.
    #[serde(default)]
    pub add_if_absent: Vec<HttpHeader>,
    /// Deletes the field, at most 64 names.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Deletes the fields whose names match, at most 64.
    #[serde(default)]
    pub remove_on_match: Vec<StringMatch>,
}
