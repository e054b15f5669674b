//! A retry at another backend of the rule: as Envoy Gateway, which makes one set of backendRefs that are alike. Here those that differ
//! may follow each other too, and what a backendRef does to a request is done anew.

use std::ptr;

use http::header;
use pailou_ai::Pieces;
use pailou_snapshot::{Action, BackendRef, Body};

use super::{
    Chosen,
    attempt::Attempts,
    backend, mirroring,
    outgoing::Outgoing,
    overflow,
    picker::Picker,
    queue,
    target::{Haste, Target},
    usage,
};
use crate::{
    error::{Error, Flag},
    filter::BackendRequest,
    headers,
    limit_charge::BackendCharge,
    request_log::RequestLog,
    shared_limits::StoreBudget,
    weighted::AttemptHistory,
};

/// The history of a request's attempts, where a retry may go to another backend.
pub(super) fn history<'a>(route: &Chosen<'a>) -> Option<Box<AttemptHistory<'a>>> {
    let rule = &route.entry.rule;
    let (Action::Forward(backends), Some(retry)) = (&rule.action, &rule.policy.retry) else { return None };
    let history = AttemptHistory::new(backends, retry.attempts_per_priority);
    history.has_choice().then(|| Box::new(history))
}

/// Whether the request is made anew for another backend: its backendRefs have filters of their own or limits, or a pool's picker may have
/// changed it.
pub(super) fn differs(route: &Chosen<'_>) -> bool {
    let rule = &route.entry.rule;
    let Action::Forward(backends) = &rule.action else { return false };
    let is_other = |backend: &BackendRef| backend.limits.is_some() || !ptr::eq(&*backend.filters, &*route.backend.filters);
    rule.needs_body || backends.iter().any(is_other)
}

impl<'a> Attempts<'a> {
    /// Moves on for a retry that a policy asks for: to another backend's endpoint, else to another of the same; where every
    /// endpoint was tried, the same one is tried again.
    pub(super) async fn move_on(&mut self, record: &mut RequestLog) {
        // A retry may come long after the first attempt: the store has its time anew, once for all backends that are full.
        let store_budget = StoreBudget::default();
        while let Some(backend) = self.next_backend() {
            let error = match self.turn_to(backend, record, &store_budget).await {
                Ok(()) => return,
                Err(error) => error,
            };
            tracing::debug!(route = %self.route.entry.rule.route, error = %error.message, "no retry at another backend");
            match &mut self.history {
                // One that it has waited for in vain is not waited for again.
                Some(history) if matches!(error.flag, Flag::RateLimited | Flag::Shed) => history.note_full(backend),
                _ => break,
            }
        }
        self.target.selection.advance();
    }

    /// The backend of the next attempt, where it is another one.
    fn next_backend(&mut self) -> Option<&'a BackendRef> {
        let next = self.history.as_mut()?.next(self.route.runtime)?;
        (!ptr::eq(next, self.route.backend)).then_some(next)
    }

    /// Turns to another backend. All that can fail comes first: until then the request stays as it is.
    async fn turn_to(&mut self, backend: &'a BackendRef, record: &mut RequestLog, store_budget: &StoreBudget) -> Result<(), Error> {
        let rule = &self.route.entry.rule;
        let mut permit = queue::permit(rule, self.route.runtime, backend)?;
        let call = self.body.call();
        if let Some(headers) = &self.original {
            self.head.parts.headers = headers.clone();
        }
        let charge = backend::charge(backend, self.route.runtime, self.backend_request(store_budget)).await?;
        let counts_tokens = record.counts_tokens() || charge.as_ref().is_some_and(BackendCharge::counts_tokens);
        let route = Chosen { backend, counts_tokens, ..self.route };
        let mut outgoing = match &self.original {
            None => self.outgoing.clone(),
            Some(_) => Outgoing::new(&route, &permit, self.head, self.connection, call.is_some())?,
        };
        let picker = Picker::of(route.runtime, backend);
        if picker.is_some() && !self.body.is_held() {
            return Err(Error::new(Flag::Picker, "the endpoint picker would not see the request's body"));
        }
        let is_first = self.history.as_ref().is_none_or(|history| history.tried(backend).is_empty());
        if is_first {
            mirroring::copy_again(&route, &outgoing, &self.body, self.connection);
        }
        // A picker gets the body decoded, and so does the endpoint that it chooses.
        let decoded = picker.as_ref().and(call).and_then(|call| call.decoded.clone());
        if decoded.is_some() {
            outgoing.headers.remove(header::CONTENT_ENCODING);
            headers::remove_digests(&mut outgoing.headers);
        }
        // At a pool that it has not been to, it does not overtake those that wait.
        let haste = if is_first { Haste::MayWait } else { Haste::Now };
        let mut target = Target::aim(&route, picker, self.connection, &mut outgoing, call, record, haste).await?;
        permit.count(rule.policy.breaker.as_ref()).map_err(overflow)?;
        if let Some(history) = &self.history {
            target.selection.leave_out(history.tried(backend));
        }
        usage::ask(&route, &mut target, &mut outgoing, call);
        self.body.retarget(target.body.take().or_else(|| decoded.map(Pieces::from)));
        record.hold_for_backend(charge);
        record.cluster = Some(target.selection.cluster().clone());
        record.target_model = target.target_model.clone();
        if let Some(eviction) = &self.eviction {
            eviction.turn_to(&target.selection);
        }
        (self.route, self.outgoing, self.target, self.permit) = (route, outgoing, target, permit);
        Ok(())
    }

    /// The request, as limits of a backend count it.
    fn backend_request<'r>(&'r self, store_budget: &'r StoreBudget) -> BackendRequest<'r> {
        let Chosen { runtime, entry, listener, client, is_understood, costs, .. } = self.route;
        let call = self.body.call();
        let nothing = Body::Read { model: None, base_model: None };
        BackendRequest {
            context: &self.connection.worker.context,
            client,
            route: &entry.rule.route,
            listener,
            head: &*self.head,
            call,
            is_understood,
            known: call.map_or(nothing, |call| call.known(&runtime.snapshot().base_models)),
            costs,
            store_budget,
        }
    }
}
