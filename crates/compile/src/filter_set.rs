//! Filters of one rule or backendRef, put together.

use crate::{rule_context::RuleContext, status::Problem};
use pailou_snapshot::{Action, Failure, Filters, HttpFilter, Rewrite};

/// Result of compiling a list of filters.
#[derive(Default)]
pub(crate) struct FilterSet {
    pub(crate) filters: Filters,
    /// An answer given in place of forwarding.
    pub(crate) answer: Option<Action>,
    /// Why the rule must answer 500, if it must.
    pub(crate) failure: Option<Failure>,
    /// Further conditions, of which one has to hold beside each match.
    pub(crate) cookies: Vec<Vec<pailou_snapshot::QueryMatch>>,
}

impl FilterSet {
    /// Puts a filter in the place of the one of its kind, if there is one.
    pub(crate) fn put(&mut self, filter: HttpFilter) {
        self.filters.http.retain(|it| it.rank() != filter.rank());
        self.filters.http.push(filter);
    }

    /// Refuses all requests, whatever else the filters do.
    pub(crate) fn fail(&mut self, context: &mut RuleContext<'_, '_, '_>, problem: Problem) {
        self.failure.get_or_insert_with(|| Failure(problem.message.as_str().into()));
        context.problem(problem);
    }
}

/// Lays a later rewrite over a former one: its fields win, and those that it leaves open stay.
pub(crate) fn lay_over(known: &mut Option<Rewrite>, more: Rewrite) {
    let known = known.get_or_insert_default();
    known.host = more.host.or(known.host.take());
    known.path = more.path.or(known.path.take());
}
