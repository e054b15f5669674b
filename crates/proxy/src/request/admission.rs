//! Admission of a request by the rule that takes it.

use http::Response;
use pailou_snapshot::{Listener, MatchOutcome, RouteMatch};

use super::{attempt_span, trace, unrouted};
use crate::{
    error::Error,
    filter::{self, Admitted, FilterState, Matched, Passage, Stage},
    request_head::Head,
    request_input::RequestInput,
    request_log::RequestLog,
    response_body::ResponseBody,
};

/// Outcome of a rule's filters.
pub(super) enum Admitting<'a> {
    /// The request goes on, by this entry of the listener's table.
    Admitted(&'a RouteMatch, Admitted),
    /// A filter answered.
    Answered(Box<Response<ResponseBody>>),
}

/// The rule that takes a request, and the body, read where matching depends on it.
pub(super) async fn find_rule<'a>(
    listener: &'a Listener,
    stage: &Stage<'_>,
    head: &Head,
    mut input: RequestInput,
    record: &mut RequestLog,
) -> Result<(&'a RouteMatch, RequestInput), Error> {
    let base_models = &stage.runtime.snapshot().base_models;
    let matching = |input: &RequestInput| listener.routes.find(&head.view(input.known(base_models)));
    let mut found = matching(&input);
    if matches!(found, MatchOutcome::NeedsBody) {
        input = input.read(head, &stage.connection.worker.context, &stage.bounds).await?;
        found = matching(&input);
    }
    record.model = input.call().and_then(|call| call.model()).map(Into::into);
    trace::mark(listener, stage, head, &input, record);
    match found {
        MatchOutcome::Rule(entry) => Ok((entry, input)),
        _ => Err(unrouted::error(listener, head, &input)),
    }
}

/// Passes a request through the filters of the rule that takes it, and where one of them has the rule chosen again, through the rest of the
/// next one's.
pub(super) async fn admit<'a>(
    (listener, mut entry): (&'a Listener, &'a RouteMatch),
    stage: &Stage<'a>,
    head: &mut Head,
    mut input: RequestInput,
    record: &mut RequestLog,
    state: &mut FilterState,
) -> Result<Admitting<'a>, Error> {
    let routes = &listener.routes;
    loop {
        attempt_span::matched(listener, &entry.rule, stage, head, record);
        // Each filter wants it once at most.
        input = match pass(Matched { routes, entry }, stage, head, input, record, state).await? {
            Passage::Continue(admitted) => return Ok(Admitting::Admitted(entry, admitted)),
            Passage::Reply(response) => return Ok(Admitting::Answered(response)),
            Passage::Rematch(input) => input,
        };
        (entry, input) = find_rule(listener, stage, head, input, record).await?;
    }
}

async fn pass<'a>(
    matched: Matched<'a>,
    stage: &Stage<'a>,
    head: &mut Head,
    input: RequestInput,
    record: &mut RequestLog,
    state: &mut FilterState,
) -> Result<Passage<Admitted>, Error> {
    let rule = &matched.entry.rule;
    record.matched(matched.entry);
    let stage = &Stage { matched: Some(matched), ..*stage };
    let passage = filter::request_to_rule(rule, stage, head, input, state).await;
    record.hold(state.take_charges());
    passage
}
