//! Which of a rule's backends a request goes to.

use pailou_snapshot::{Action, BackendRef, Rule};

use super::misconfigured;
use crate::{choice, error::Error, live::Live};

/// One of a rule's backends, by weight.
///
/// # Errors
/// 500 where the rule has no backend, or the one whose turn it is leads nowhere.
pub(super) fn choose<'a>(rule: &'a Rule, live: &Live) -> Result<&'a BackendRef, Error> {
    let Action::Forward(backends) = &rule.action else { return Err(misconfigured("the rule has no backend")) };
    let backend = choice::by_weight(backends, live).ok_or_else(|| misconfigured("the rule has no backend"))?;
    if let Err(failure) = &backend.cluster {
        return Err(misconfigured(&failure.0));
    }
    Ok(backend)
}
