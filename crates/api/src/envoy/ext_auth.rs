//! SecurityPolicy `extAuth`.

use serde::Deserialize;

use super::backend_settings::BackendSettings;
use crate::{
    duration::Duration,
    refs::{BackendObjectReference, BackendRef, LocalObjectKeyReference},
};

/// Another server's permission. Exactly one of `grpc` and `http` is set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtAuth {
    /// Server of Envoy's `ext_authz`.
    #[serde(default)]
    pub grpc: Option<GrpcExtAuth>,
    /// Server of HTTP.
    #[serde(default)]
    pub http: Option<HttpExtAuth>,
    /// The request's headers to send. Where there are none: all by gRPC; by HTTP those that are always sent.
    #[serde(default)]
    pub headers_to_ext_auth: Vec<String>,
    /// Sends the request's body, too.
    #[serde(default)]
    pub body_to_ext_auth: Option<BodyToExtAuth>,
    /// Time for a decision; 10 s when absent.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// A request passes where there is no decision. False by default.
    #[serde(default)]
    pub fail_open: Option<bool>,
    /// The route is chosen again with the headers that the server sets. False by default.
    #[serde(default)]
    pub recompute_route: Option<bool>,
    /// A server of gRPC gets the route's name and annotations. False by default.
    #[serde(default)]
    pub include_route_metadata: Option<bool>,
    /// Texts that a server of gRPC gets, by unique names.
    #[serde(default)]
    pub context_extensions: Vec<ContextExtension>,
    /// Status for clients where there is no decision, 400 to 599; 403 when absent.
    #[serde(default)]
    pub status_on_error: Option<u16>,
}

/// Server of gRPC.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcExtAuth {
    /// One backend (deprecated in favour of `backendRefs`).
    #[serde(default)]
    pub backend_ref: Option<BackendObjectReference>,
    /// Services and Backends of the server, at most 16.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    /// Settings of connections to it.
    #[serde(default)]
    pub backend_settings: Option<BackendSettings>,
}

/// Server of HTTP.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpExtAuth {
    /// One backend (deprecated in favour of `backendRefs`).
    #[serde(default)]
    pub backend_ref: Option<BackendObjectReference>,
    /// Services and Backends of the server, at most 16.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    /// Settings of connections to it.
    #[serde(default)]
    pub backend_settings: Option<BackendSettings>,
    /// Text before the request's own path.
    #[serde(default)]
    pub path: Option<String>,
    /// Path in place of the request's own. Excludes `path`.
    #[serde(default)]
    pub path_override: Option<String>,
    /// Headers of the consent that the request gets, in place of the client's own.
    #[serde(default)]
    pub headers_to_backend: Vec<String>,
}

/// The request's body, for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BodyToExtAuth {
    /// Longest body, in bytes, at least 1. A longer one is answered 413, also with `failOpen`.
    pub max_request_bytes: u32,
}

/// A text that the server gets beside the request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContextExtension {
    /// Its name.
    pub name: String,
    /// The one of the others that is set; `Value` by default.
    #[serde(default, rename = "type")]
    pub kind: ContextExtensionType,
    /// The text.
    #[serde(default)]
    pub value: Option<String>,
    /// ConfigMap or Secret that has the text.
    #[serde(default)]
    pub value_ref: Option<LocalObjectKeyReference>,
}

/// Place of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ContextExtensionType {
    /// In the policy.
    #[default]
    Value,
    /// In a ConfigMap or Secret.
    ValueRef,
}

/// The server of either kind.
#[derive(Debug, Clone, Copy)]
pub struct ExtAuthServer<'a> {
    /// The deprecated field, where `backendRefs` is empty.
    pub single: Option<&'a BackendObjectReference>,
    /// `backendRefs`.
    pub refs: &'a [BackendRef],
    /// `backendSettings`.
    pub settings: Option<&'a BackendSettings>,
}

impl ExtAuth {
    /// The servers that it names, with the field that each stands in. A valid policy has one.
    pub fn servers(&self) -> impl Iterator<Item = (&'static str, ExtAuthServer<'_>)> {
        let grpc = self.grpc.iter().map(|it| {
            let single = it.backend_ref.as_ref().filter(|_| it.backend_refs.is_empty());
            ("grpc", ExtAuthServer { single, refs: &it.backend_refs, settings: it.backend_settings.as_ref() })
        });
        let http = self.http.iter().map(|it| {
            let single = it.backend_ref.as_ref().filter(|_| it.backend_refs.is_empty());
            ("http", ExtAuthServer { single, refs: &it.backend_refs, settings: it.backend_settings.as_ref() })
        });
        grpc.chain(http)
    }

    /// Whether it names a backend itself, so that one that is merged has it from here.
    pub fn names_backends(&self) -> bool {
        self.servers().any(|(_, server)| server.single.is_some() || !server.refs.is_empty())
    }

    /// Takes the backends of another, if that names any: the deprecated single one, too.
    pub fn take_backends(&mut self, other: &Self) {
        if let (Some(own), Some(other)) = (&mut self.grpc, &other.grpc) {
            (own.backend_ref, own.backend_refs) = (other.backend_ref.clone(), other.backend_refs.clone());
        }
        if let (Some(own), Some(other)) = (&mut self.http, &other.http) {
            (own.backend_ref, own.backend_refs) = (other.backend_ref.clone(), other.backend_refs.clone());
        }
    }
}

impl ExtAuthServer<'_> {
    /// The backends with their weights; the deprecated single one has weight 1.
    pub fn weighted(&self) -> Vec<BackendRef> {
        BackendRef::of_server(self.single, self.refs)
    }
}
