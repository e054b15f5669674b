//! The key of sessions (SecurityPolicy `oidc`) where no Secret has one.

use pailou_api::{Secret, SecurityPolicy};
use pailou_compile::{SESSION_KEY, SESSION_KEY_SECRET, SessionKeySource, store::Store};
use ring::rand::{SecureRandom, SystemRandom};

use crate::source::{Level, Problem};

/// A key for the life of this process.
pub(crate) fn of_process() -> SessionKeySource {
    let mut key = [0; 32];
    // Without random bytes there is no key, and a policy that needs one is refused.
    let fallback = SystemRandom::new().fill(&mut key).is_ok().then_some(key);
    SessionKeySource { namespace: None, fallback }
}

/// Warns of sessions that end with the process.
pub(crate) fn problem(objects: &Store) -> Option<Problem> {
    let has_oidc = objects.all::<SecurityPolicy>().any(|policy| policy.spec.oidc.is_some());
    if !has_oidc || objects.all::<Secret>().any(|secret| secret.meta.name == SESSION_KEY_SECRET) {
        return None;
    }
    let message = format!(
        "there is no Secret {SESSION_KEY_SECRET}, so that a restart logs everybody out: add one with 32 random bytes under {SESSION_KEY}"
    );
    Some(Problem { origin: "SecurityPolicy oidc".to_owned(), line: None, message, level: Level::Warning })
}
