//! Asking another service whether a request may pass (GEP-1494, experimental).

use serde::Deserialize;

use super::names::HeaderName;
use super::refs::BackendObjectReference;

/// The authorization server, and its protocol. If it does not consent, the client gets its answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAuth {
    /// Protocol; settings of the other protocol must be absent.
    pub protocol: ExternalAuthProtocol,
    /// The server.
    pub backend_ref: BackendObjectReference,
    /// Settings of `GRPC`.
    #[serde(default)]
    pub grpc: Option<GrpcAuth>,
    /// Settings of `HTTP`.
    #[serde(default)]
    pub http: Option<HttpAuth>,
    /// Part of the request's body to send.
    #[serde(default)]
    pub forward_body: ForwardBody,
}

/// Protocol of an authorization server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ExternalAuthProtocol {
    /// By the request's own method and path; 200 is consent.
    Http,
    /// By Envoy's `ext_authz`.
    Grpc,
}

/// Settings of an authorization server by gRPC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcAuth {
    /// The request's headers to send, at most 64; all if there are none.
    #[serde(default)]
    pub allowed_headers: Vec<HeaderName>,
}

/// Settings of an authorization server by HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuth {
    /// Prefix of the request's path, at most 1024 characters.
    #[serde(default)]
    pub path: String,
    /// The request's headers to send beside `Host` and `Authorization`, at most 64.
    #[serde(default)]
    pub allowed_headers: Vec<HeaderName>,
    /// The headers of its consent that the request gets, at most 64; all where there are none.
    #[serde(default)]
    pub allowed_response_headers: Vec<HeaderName>,
}

/// Part of a request's body to send to an authorization server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardBody {
    /// Longest body, in bytes; a longer one is refused. None is sent where this is 0.
    #[serde(default)]
    pub max_size: u32,
}
