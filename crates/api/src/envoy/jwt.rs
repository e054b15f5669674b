//! SecurityPolicy `jwt`.

use serde::Deserialize;

use crate::{
    duration::Duration,
    envoy::backend_settings::BackendSettings,
    refs::{BackendObjectReference, BackendRef, LocalObjectReference},
};

/// JSON Web Tokens.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// A request without a token passes; one with an invalid token does not. False by default.
    #[serde(default)]
    pub optional: Option<bool>,
    /// A request with an invalid token passes, too. False by default; excludes `optional`.
    #[serde(default)]
    pub fail_open: Option<bool>,
    /// Issuers, 1 to 16. A valid token of one of them is enough.
    #[serde(default)]
    pub providers: Vec<JwtProvider>,
}

/// Issuer of tokens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtProvider {
    /// Name, 1 to 253 characters, unique in its policy.
    pub name: String,
    /// `iss` of its tokens; not compared if absent or empty.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Audiences, at most 8; not compared if empty.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Keys behind a URL.
    #[serde(default, rename = "remoteJWKS")]
    pub remote_jwks: Option<RemoteJwks>,
    /// Keys in the policy or a ConfigMap.
    #[serde(default, rename = "localJWKS")]
    pub local_jwks: Option<LocalJwks>,
    /// Headers that the backend gets claims in.
    #[serde(default)]
    pub claim_to_headers: Vec<ClaimToHeader>,
    /// The route is chosen again with those headers. Needs `claimToHeaders`.
    #[serde(default)]
    pub recompute_route: Option<bool>,
    /// Parts of a request that the token may stand in.
    #[serde(default)]
    pub extract_from: Option<JwtExtractor>,
}

/// Keys behind a URL.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteJwks {
    /// URL, `http` or `https`, 1 to 253 characters.
    pub uri: String,
    /// One server (deprecated in favour of `backendRefs`).
    #[serde(default)]
    pub backend_ref: Option<BackendObjectReference>,
    /// Servers that are asked, at most 16; the URL's host by default.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    /// Settings of connections to them.
    #[serde(default)]
    pub backend_settings: Option<BackendSettings>,
    /// Time for which keys are used; 300 s by default.
    #[serde(default)]
    pub cache_duration: Option<Duration>,
    /// Time after which a failed fetch is repeated; 1 s by default.
    #[serde(default)]
    pub failed_refetch_duration: Option<Duration>,
}

impl RemoteJwks {
    /// The servers with their weights; the deprecated single one has weight 1.
    pub fn servers(&self) -> Vec<BackendRef> {
        BackendRef::of_server(self.backend_ref.as_ref(), &self.backend_refs)
    }
}

/// Keys in the policy or a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalJwks {
    /// The one of the others that is set; `Inline` by default.
    #[serde(default, rename = "type")]
    pub kind: LocalJwksType,
    /// The key set.
    #[serde(default)]
    pub inline: Option<String>,
    /// ConfigMap with the key set under `jwks`, else in its first value.
    #[serde(default)]
    pub value_ref: Option<LocalObjectReference>,
}

/// Place of a key set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum LocalJwksType {
    /// In the policy.
    #[default]
    Inline,
    /// In a ConfigMap.
    ValueRef,
}

/// Header that the backend gets a claim in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClaimToHeader {
    /// Name of the header.
    pub header: String,
    /// Name of the claim; dots descend into objects.
    pub claim: String,
}

/// Parts of a request that a token may stand in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct JwtExtractor {
    /// Headers.
    #[serde(default)]
    pub headers: Vec<JwtHeaderExtractor>,
    /// Cookies.
    #[serde(default)]
    pub cookies: Vec<String>,
    /// Query parameters.
    #[serde(default)]
    pub params: Vec<String>,
}

/// Header that a token may stand in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtHeaderExtractor {
    /// Name of the header.
    pub name: String,
    /// Text before the token, such as `Bearer ` with its space.
    #[serde(default)]
    pub value_prefix: Option<String>,
}
