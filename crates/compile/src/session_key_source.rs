//! Source of the key that sessions of SecurityPolicies' `oidc` are kept with.

use std::fmt;

/// Name of the Secret with the key: Envoy Gateway's.
pub const SESSION_KEY_SECRET: &str = "envoy-oidc-hmac";
/// Key of the Secret.
pub const SESSION_KEY: &str = "hmac-secret";

/// Source of the key of sessions.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionKeySource {
    /// Namespace of the Secret [`SESSION_KEY_SECRET`], which is the controller's; `None`: the first of that name counts.
    pub namespace: Option<String>,
    /// Key where there is no Secret: random bytes.
    pub fallback: Option<[u8; 32]>,
}

impl fmt::Debug for SessionKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeySource").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
