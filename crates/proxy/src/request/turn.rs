//! A retry at another backend of the rule: as Envoy Gateway, which makes one set of backendRefs that are alike. Here those that differ
//! may follow each other too, and what a backendRef does to a request is done anew.

use std::ptr;

use http::header;
use pailou_ai::Pieces;
use pailou_snapshot::{Action, BackendRef};

use super::{Chosen, attempt::Attempts, mirroring, outgoing::Outgoing, overflow, picker::Picker, target::Target, usage};
use crate::{
    error::{Error, Flag},
    headers,
    request_log::RequestLog,
    weighted::AttemptHistory,
};

/// The history of a request's attempts, where a retry may go to another backend.
pub(super) fn history<'a>(route: &Chosen<'a>) -> Option<Box<AttemptHistory<'a>>> {
    let rule = &route.entry.rule;
    let (Action::Forward(backends), Some(retry)) = (&rule.action, &rule.policy.retry) else { return None };
    let history = AttemptHistory::new(backends, retry.attempts_per_priority);
    history.has_choice().then(|| Box::new(history))
}

/// Whether the request is made anew for another backend: its backendRefs have filters of their own, or a pool's picker may have
/// changed it.
pub(super) fn differs(route: &Chosen<'_>) -> bool {
    let rule = &route.entry.rule;
    let Action::Forward(backends) = &rule.action else { return false };
    rule.needs_body || backends.iter().any(|backend| !ptr::eq(&*backend.filters, &*route.backend.filters))
}

impl<'a> Attempts<'a> {
    /// Moves on for a retry that a policy asks for: to another backend's endpoint, else to another of the same; where every
    /// endpoint was tried, the same one is tried again.
    pub(super) async fn move_on(&mut self, record: &mut RequestLog) {
        let runtime = self.route.runtime;
        let next = self.history.as_mut().and_then(|history| history.next(runtime));
        if let Some(backend) = next.filter(|next| !ptr::eq(*next, self.route.backend)) {
            match self.turn_to(backend, record).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(route = %self.route.entry.rule.route, error = %error.message, "no retry at another backend");
                }
            }
        }
        self.target.selection.advance();
    }

    /// Turns to another backend. All that can fail comes first: until then the request stays as it is.
    async fn turn_to(&mut self, backend: &'a BackendRef, record: &mut RequestLog) -> Result<(), Error> {
        let route = Chosen { backend, ..self.route };
        let rule = &route.entry.rule;
        let permit = route.runtime.breaker(backend.breaker).request(rule.policy.breaker.as_ref()).map_err(overflow)?;
        let call = self.body.call();
        let mut outgoing = match &self.original {
            None => self.outgoing.clone(),
            Some(headers) => {
                self.head.parts.headers = headers.clone();
                Outgoing::new(&route, &permit, self.head, self.connection, call.is_some())?
            }
        };
        let picker = Picker::of(route.runtime, backend);
        if picker.is_some() && !self.body.is_held() {
            return Err(Error::new(Flag::Picker, "the endpoint picker would not see the request's body"));
        }
        if self.history.as_ref().is_none_or(|history| history.tried(backend).is_empty()) {
            mirroring::copy_again(&route, &outgoing, &self.body, self.connection);
        }
        // A picker gets the body decoded, and so does the endpoint that it chooses.
        let decoded = picker.as_ref().and(call).and_then(|call| call.decoded.clone());
        if decoded.is_some() {
            outgoing.headers.remove(header::CONTENT_ENCODING);
            headers::remove_digests(&mut outgoing.headers);
        }
        let mut target = Target::aim(&route, picker, self.connection, &mut outgoing, call, record).await?;
        if let Some(history) = &self.history {
            target.selection.leave_out(history.tried(backend));
        }
        usage::ask(&route, &mut target, &mut outgoing, call);
        self.body.retarget(target.body.take().or_else(|| decoded.map(Pieces::from)));
        record.cluster = Some(target.selection.cluster().clone());
        record.target_model = target.target_model.clone();
        (self.route, self.outgoing, self.target, self.permit) = (route, outgoing, target, permit);
        Ok(())
    }
}
