//! Login at a provider of OpenID Connect.

use std::sync::Arc;

use pailou_auth::{DocumentId, Oidc, RedirectUrl};

use super::ClusterKey;

/// Login of clients (SecurityPolicy `oidc`).
#[derive(Clone, Debug)]
pub struct OidcFilter {
    /// The policy's settings.
    pub settings: Arc<Oidc>,
    /// URL that the provider sends clients back to.
    pub redirect_url: Arc<RedirectUrl>,
    /// Document with the provider's endpoints.
    pub document: DocumentId,
    /// Clusters of the provider by weight; the hosts of its URLs if empty.
    pub backends: Box<[(u32, ClusterKey)]>,
    /// The policy's `jwt` reads the cookies with the tokens.
    pub reveals_cookies: bool,
}
