//! Which of a rule's backends a request goes to.

use pailou_snapshot::{Action, BackendRef, Rule};

use super::session::Session;
use crate::{error::Error, runtime::Runtime, weighted};

/// One of a rule's backends: the one that has the session's endpoint, or else by weight. A weight of 0 ends sessions, too.
///
/// # Errors
/// 500 where the rule has no backend, or the one whose turn it is leads nowhere.
pub(super) fn choose<'a>(rule: &'a Rule, runtime: &Runtime, session: Option<&Session<'_>>) -> Result<&'a BackendRef, Error> {
    let Action::Forward(backends) = &rule.action else { return Err(Error::misconfigured("the rule has no backend")) };
    if let Some(token) = session.and_then(Session::endpoint) {
        let has_it = |backend: &&BackendRef| {
            backend.weight > 0 && backend.cluster.as_ref().is_ok_and(|id| runtime.cluster(*id).of_session(token).is_some())
        };
        if let Some(backend) = backends.iter().find(has_it) {
            return Ok(backend);
        }
    }
    let backend = weighted::choose(backends, runtime).ok_or_else(|| Error::misconfigured("the rule has no backend"))?;
    if let Err(failure) = &backend.cluster {
        return Err(Error::misconfigured(&failure.0));
    }
    Ok(backend)
}
