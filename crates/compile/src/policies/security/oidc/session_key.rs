//! The key of sessions.

use std::borrow::Cow;

use crate::{
    index::Index,
    session_key_source::{SESSION_KEY, SESSION_KEY_SECRET},
    status::Problem,
};

use super::invalid;

/// The key.
///
/// # Errors
/// There is no Secret, or it has no key.
pub(super) fn find<'a>(index: &Index<'a>) -> Result<Cow<'a, [u8]>, Problem> {
    let source = index.session_key;
    let secret = match &source.namespace {
        Some(namespace) => index.secrets.get(namespace, SESSION_KEY_SECRET),
        None => index.secrets.iter().find(|secret| secret.meta.name == SESSION_KEY_SECRET),
    };
    let missing = |text: String| invalid(&format!("oidc: there is no Secret {SESSION_KEY_SECRET}{text}"));
    match (secret, &source.fallback, &source.namespace) {
        (Some(secret), ..) => {
            let key = secret.spec.data.get(SESSION_KEY).map(|key| Cow::Borrowed(key.expose()));
            let namespace = &secret.meta.namespace;
            key.ok_or_else(|| {
                invalid(&format!("oidc: Secret {SESSION_KEY_SECRET} in namespace {namespace} has no key {SESSION_KEY}"))
            })
        }
        (None, Some(fallback), _) => Ok(Cow::Owned(fallback.to_vec())),
        (None, None, Some(namespace)) => {
            Err(missing(format!(" in namespace {namespace}: the controller creates it there, and has to watch that namespace")))
        }
        (None, None, None) => Err(missing(format!(": add one with 32 random bytes under {SESSION_KEY}"))),
    }
}
