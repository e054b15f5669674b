//! SecurityPolicy `apiKeyAuth`.

use serde::Deserialize;

use crate::refs::SecretObjectReference;

/// API keys of clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyAuth {
    /// Secrets: each entry's key is a client's id, its value the client's API key.
    #[serde(default)]
    pub credential_refs: Vec<SecretObjectReference>,
    /// Parts of a request that the key may stand in, in order.
    #[serde(default)]
    pub extract_from: Vec<ExtractFrom>,
    /// Header that the backend gets the client's id in.
    #[serde(default, rename = "forwardClientIDHeader")]
    pub forward_client_id_header: Option<String>,
    /// The key is removed from the request; false by default.
    #[serde(default)]
    pub sanitize: Option<bool>,
}

/// Part of a request that a key may stand in; exactly one list is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ExtractFrom {
    /// Headers.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Query parameters.
    #[serde(default)]
    pub params: Vec<String>,
    /// Cookies.
    #[serde(default)]
    pub cookies: Vec<String>,
}
