//! The backend of a rule that a request goes to.

use std::{ptr, time::Duration};

use pailou_snapshot::{Action, BackendRef, Rule};
use smallvec::SmallVec;

use super::session::Session;
use crate::{
    error::{Error, Flag},
    filter::{BackendRequest, charge_backend},
    limit_charge::BackendCharge,
    runtime::Runtime,
    weighted,
};

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

/// The chosen backend, or where its own limits have no room another of the rule: of the same priority first, then a fallback. Gives the charge
/// to its limits, if it has any.
///
/// # Errors
/// 429 where none has room, 500 where limits cannot be counted.
pub(super) async fn with_room<'a>(
    rule: &'a Rule,
    runtime: &Runtime,
    first: &'a BackendRef,
    request: BackendRequest<'_>,
) -> Result<(&'a BackendRef, Option<BackendCharge>), Error> {
    let Action::Forward(backends) = &rule.action else { return Ok((first, None)) };
    let (mut backend, mut full, mut refusal) = (first, SmallVec::<[&BackendRef; 4]>::new(), None);
    loop {
        match charge(backend, runtime, request).await {
            Ok(charge) => return Ok((backend, charge)),
            Err(error) => refusal = Some(sooner(refusal, error)),
        }
        full.push(backend);
        let is_open = |other: &BackendRef| !full.iter().any(|full| ptr::eq(*full, other));
        match weighted::choose_other(backends, runtime, first.fallback, is_open) {
            Some(next) => {
                tracing::debug!(route = %rule.route, "a backend's limits are full; another one is asked");
                backend = next;
            }
            None => return Err(refusal.unwrap_or_else(|| Error::misconfigured("the rule has no backend"))),
        }
    }
}

/// Charges a request to a backend's own limits, if it has any.
///
/// # Errors
/// As [`with_room`].
pub(super) async fn charge(
    backend: &BackendRef,
    runtime: &Runtime,
    request: BackendRequest<'_>,
) -> Result<Option<BackendCharge>, Error> {
    let cluster = || backend.cluster.as_ref().ok().map(|cluster| &**runtime.cluster(*cluster));
    match &backend.limits {
        // Boxed: most backends have none, and would carry the room it needs.
        Some(limits) => Box::pin(charge_backend(limits, cluster(), request)).await.map(Some),
        None => Ok(None),
    }
}

/// Of two refusals the one that a client is to wait less for. One that says nothing of the client comes last.
fn sooner(before: Option<Error>, error: Error) -> Error {
    let wait = |error: &Error| match error.flag {
        Flag::RateLimited => error.retry_after.unwrap_or(Duration::MAX),
        _ => Duration::MAX,
    };
    match before {
        Some(before) if wait(&before) <= wait(&error) => before,
        _ => error,
    }
}
