//! Asking another service whether a request may pass (GEP-1494, experimental).

use serde::Deserialize;

use super::names::HeaderName;
use super::refs::BackendObjectReference;

/// Who is asked, and how. What it answers in place of consent is what the client gets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAuth {
    /// How it is asked; settings of the other protocol must not be there.
    pub protocol: ExternalAuthProtocol,
    /// Who is asked.
    pub backend_ref: BackendObjectReference,
    /// Settings of `GRPC`.
    #[serde(default)]
    pub grpc: Option<GrpcAuth>,
    /// Settings of `HTTP`.
    #[serde(default)]
    pub http: Option<HttpAuth>,
    /// How much of the request's body it is told.
    #[serde(default)]
    pub forward_body: ForwardBody,
}

/// How an authorization server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ExternalAuthProtocol {
    /// By the request's own method and path; 200 is consent.
    Http,
    /// By Envoy's `ext_authz`.
    Grpc,
}

/// Settings of an authorization server that is asked by gRPC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcAuth {
    /// The request's headers that it is told, at most 64; all where there are none.
    #[serde(default)]
    pub allowed_headers: Vec<HeaderName>,
}

/// Settings of an authorization server that is asked by HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuth {
    /// What is put before the request's path, at most 1024 characters.
    #[serde(default)]
    pub path: String,
    /// The request's headers that it is told beside `Host` and `Authorization`, at most 64.
    #[serde(default)]
    pub allowed_headers: Vec<HeaderName>,
    /// The headers of its consent that the request gets, at most 64; all where there are none.
    #[serde(default)]
    pub allowed_response_headers: Vec<HeaderName>,
}

/// How much of a request's body an authorization server is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardBody {
    /// Longest body, in bytes; a longer one is refused. None is sent where this is 0.
    #[serde(default)]
    pub max_size: u32,
}
