//! Which of a rule's backends a request goes to.

use pailou_config::snapshot::{Action, BackendRef, Backends, Rule};

use super::misconfigured;
use crate::{cluster::Census, error::Error, live::Live};

/// One of a rule's backends, by weight. Fallbacks get what the others are not healthy enough for (Envoy's priority levels).
///
/// # Errors
/// 500 where the rule has no backend, or the one whose turn it is leads nowhere.
pub(super) fn choose<'a>(rule: &'a Rule, live: &Live) -> Result<&'a BackendRef, Error> {
    let Action::Forward(backends) = &rule.action else { return Err(misconfigured("the rule has no backend")) };
    let fallback = match (backends.total(false), backends.total(true)) {
        (_, 0) => false,
        (0, _) => true,
        _ => spills_over(backends, live),
    };
    let backend = match backends.total(fallback) {
        0 => None,
        total => backends.at(fallback, fastrand::u64(..total)),
    };
    let backend = backend.ok_or_else(|| misconfigured("the rule has no backend"))?;
    if let Err(failure) = &backend.cluster {
        return Err(misconfigured(&failure.0));
    }
    Ok(backend)
}

/// Whether this request is one of those that the backends which are no fallback do not get.
fn spills_over(backends: &Backends, live: &Live) -> bool {
    let census = |fallback| {
        let level = backends.iter().filter(|backend| backend.fallback == fallback && backend.weight > 0);
        let census = level.map(|backend| match &backend.cluster {
            Ok(id) => live.cluster(*id).census(),
            // Its share is answered 500, not handed to others.
            Err(_) => Census::WHOLE,
        });
        census.fold(Census::default(), |sum, census| sum + census)
    };
    let [primary, fallback] = crate::cluster::shares([census(false), census(true)]);
    match primary.saturating_add(fallback) {
        0 => false,
        total => fastrand::u32(..total) >= primary,
    }
}
