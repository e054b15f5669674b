//! SecurityPolicy `basicAuth`.

use serde::Deserialize;

use crate::refs::SecretObjectReference;

/// Users and passwords.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// Secret with a password file under `.htpasswd`.
    pub users: SecretObjectReference,
    /// Header that the backend gets the user's name in.
    #[serde(default)]
    pub forward_username_header: Option<String>,
}
