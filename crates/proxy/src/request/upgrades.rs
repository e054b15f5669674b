//! Protocols that a rule lets connections be upgraded to (BackendTrafficPolicy `httpUpgrade`).

use pailou_snapshot::Rule;

use crate::{
    error::{Error, Flag},
    request_head::Head,
};

/// Checks that a request asks for no upgrade but to a protocol that the rule allows.
///
/// # Errors
/// 403, as Envoy answers.
pub(super) fn check(head: &Head, rule: &Rule) -> Result<(), Error> {
    let (Some(upgrade), Some(allowed)) = (&head.upgrade, &rule.policy.upgrades) else { return Ok(()) };
    if allowed.iter().any(|protocol| upgrade.as_bytes().eq_ignore_ascii_case(protocol.as_bytes())) {
        return Ok(());
    }
    Err(Error::new(Flag::Forbidden, "an upgrade to this protocol is not allowed"))
}
