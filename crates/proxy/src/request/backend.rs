//! Which of a rule's backends a request goes to.

use pailou_snapshot::{Action, BackendRef, Rule};

use crate::{error::Error, runtime::Runtime, weighted};

/// One of a rule's backends, by weight.
///
/// # Errors
/// 500 where the rule has no backend, or the one whose turn it is leads nowhere.
pub(super) fn choose<'a>(rule: &'a Rule, runtime: &Runtime) -> Result<&'a BackendRef, Error> {
    let Action::Forward(backends) = &rule.action else { return Err(Error::misconfigured("the rule has no backend")) };
    let backend = weighted::choose(backends, runtime).ok_or_else(|| Error::misconfigured("the rule has no backend"))?;
    if let Err(failure) = &backend.cluster {
        return Err(Error::misconfigured(&failure.0));
    }
    Ok(backend)
}
