//! Limits of requests and tokens: those of a route's rule (BackendTrafficPolicy `rateLimit`), and those of a backend.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, StatusCode};
use pailou_auth::Metadata;
use pailou_envoy_proto::{ext_proc::HeaderMutation, header_mutation};
use pailou_limits::{Counters, Descriptor, LimitRule, LlmCosts, Rate, RequestFacts};
use pailou_snapshot::{Body, ListenerName, RateLimitFilter, RouteName};

use super::{
    Stage,
    authentication::Identity,
    facts::header_value,
    limit_target,
    rate_limit_service::{self, Asker},
    tightest_limit::Tightest,
};
use crate::{
    cluster::ClusterState,
    context::Context,
    error::{Audience, Error, Flag},
    limit_charge::{BackendCharge, ChargedRequest, Charges, Halt, NoCharge},
    possible_backends::PossibleBackends,
    request_head::Head,
    request_input::{ReadBody, RequestInput},
    shared_limits::StoreBudget,
    token_charges::TokenCharges,
};

/// Outcome of a request's limits, for its response.
#[derive(Default)]
pub(super) struct LimitState {
    /// The counter with the least room left.
    pub(super) tightest: Option<Tightest>,
    /// Charges of the request, by the process's own limits too.
    pub(super) charges: Charges,
    /// Limit that has to be waited for, of the filter that comes next.
    pub(super) halt: Option<Halt>,
    /// Changes that a rate limit service makes to the response.
    pub(super) mutations: Vec<HeaderMutation>,
}

impl LimitState {
    /// Gives back what the request was charged.
    pub(super) fn refund(&mut self, counters: &Counters) {
        self.charges.refund(counters);
    }

    /// Room that is held for the response.
    pub(super) fn take_tokens(&mut self) -> TokenCharges {
        std::mem::take(&mut self.charges.tokens)
    }
}

/// Charges a request to every limit that is for it, and holds room for its response. Gives back the body, read where a limit needs it.
/// `state` is the client's identity so far, facts that are found here, and the outcome.
///
/// # Errors
/// 429 where a limit has no room: then nothing is charged.
pub(super) async fn request(
    filter: &RateLimitFilter,
    stage: &Stage<'_>,
    head: &mut Head,
    mut input: RequestInput,
    (identity, found, state): (&Identity, &mut Identity, &mut LimitState),
) -> Result<RequestInput, Error> {
    let context = &stage.connection.worker.context;
    if filter.needs_body {
        input = input.read(head, context, &stage.bounds).await?;
        check_body(head, input.is_understood())?;
    }
    let known = known_body(filter, stage, &input);
    let facts = Facts { client: stage.client, head, known: &known };
    let selected = facts.select(filter);
    if selected.is_empty() {
        return Ok(input);
    }
    let request = charged_request(stage, &input, identity);
    let halt = state.halt.take();
    if !filter.is_local
        && halt.is_none()
        && let Some(service) = context.limit_service.current()
    {
        let questions = facts.with(|facts| rate_limit_service::questions(selected, facts, stage, &head.host));
        let asked = Asker { service, stage, request }.ask(questions, head, (found, &mut *state)).await;
        asked.inspect_err(|_| state.charges.refund(&context.limits))?;
        return Ok(input);
    }
    let mut least = LeastRate::new(filter, stage);
    let charged = state.charges.charge(&request, (selected, halt), || target(stage), |rule, rate| least.note(rule, rate)).await;
    least.finish(charged, &mut state.tightest)?;
    Ok(input)
}

/// The same, if nothing has to be waited for: no body, no service, and no store. Gives back whether the request was charged; if not, `state` has
/// the limit where [`request`] goes on.
///
/// # Errors
/// The same.
pub(super) fn request_now(
    filter: &RateLimitFilter,
    stage: &Stage<'_>,
    head: &Head,
    input: &mut RequestInput,
    (identity, state): (&Identity, &mut LimitState),
) -> Result<bool, Error> {
    let context = &stage.connection.worker.context;
    if !filter.is_local && context.limit_service.current().is_some() {
        return Ok(false);
    }
    if filter.needs_body {
        if !input.read_now(head, context, &stage.bounds)? {
            return Ok(false);
        }
        check_body(head, input.is_understood())?;
    }
    let known = known_body(filter, stage, input);
    let selected = Facts { client: stage.client, head, known: &known }.select(filter);
    if selected.is_empty() {
        return Ok(true);
    }
    let request = charged_request(stage, input, identity);
    let mut least = LeastRate::new(filter, stage);
    let charged = state.charges.charge_now(&request, selected, || target(stage), |rule, rate| least.note(rule, rate));
    let (charged, halt) = charged.map_or_else(|error| (Err(error), None), |halt| (Ok(()), halt));
    state.halt = halt;
    least.finish(charged, &mut state.tightest)?;
    Ok(state.halt.is_none())
}

fn known_body<'a>(filter: &RateLimitFilter, stage: &Stage<'a>, input: &'a RequestInput) -> Body<'a> {
    if filter.needs_body { input.known(&stage.runtime.snapshot().base_models) } else { Body::Unread }
}

fn charged_request<'a>(stage: &'a Stage<'_>, input: &'a RequestInput, identity: &'a Identity) -> ChargedRequest<'a> {
    ChargedRequest {
        context: &stage.connection.worker.context,
        scan: input.call().and_then(ReadBody::scan),
        metadata: &identity.metadata,
        costs: stage.costs,
        backends: stage.rule().map_or(PossibleBackends::Unknown, |rule| PossibleBackends::Weighted(rule, stage.runtime)),
        store_budget: stage.store_budget,
    }
}

fn target(stage: &Stage<'_>) -> u64 {
    stage.route().map_or(0, |route| limit_target::id(route, stage.listener))
}

/// The counter of a filter's limits with the least room left, of those that responses tell of.
struct LeastRate {
    is_local: bool,
    /// Responses tell of a limit that does not say whether they do.
    has_headers: bool,
    rate: Option<Rate>,
}

impl LeastRate {
    fn new(filter: &RateLimitFilter, stage: &Stage<'_>) -> Self {
        Self { is_local: filter.is_local, has_headers: stage.rate_limit_headers, rate: None }
    }

    fn note(&mut self, rule: &LimitRule, rate: Rate) {
        if self.is_told(rule) && self.rate.is_none_or(|least| rate.remaining < least.remaining) {
            self.rate = Some(rate);
        }
    }

    fn is_told(&self, rule: &LimitRule) -> bool {
        rule.has_headers.unwrap_or(self.has_headers)
    }

    /// Notes the outcome for the response.
    fn finish(self, charged: Result<(), NoCharge<'_>>, tightest: &mut Option<Tightest>) -> Result<(), Error> {
        if let Some(rate) = self.rate {
            Tightest::of(rate, self.is_local).note(tightest);
        }
        charged.map_err(|error| {
            if let NoCharge::Refused(rule, rate) = error {
                *tightest = self.is_told(rule).then_some(Tightest::of(rate, self.is_local));
            }
            error.into_error()
        })
    }
}

/// A request on its way to a backend.
#[derive(Clone, Copy)]
pub(crate) struct BackendRequest<'a> {
    pub(crate) context: &'a Arc<Context>,
    pub(crate) client: IpAddr,
    pub(crate) route: &'a RouteName,
    pub(crate) listener: &'a ListenerName,
    /// Head of the client's request.
    pub(crate) head: &'a Head,
    /// The body, if it was read.
    pub(crate) call: Option<&'a ReadBody>,
    /// Whether there is no body, or one that was read and understood.
    pub(crate) is_understood: bool,
    /// The body, as conditions see it.
    pub(crate) known: Body<'a>,
    /// Costs of models' responses, and prices.
    pub(crate) costs: Option<&'a LlmCosts>,
    /// Time that the store of shared limits has.
    pub(crate) store_budget: &'a StoreBudget,
}

/// Charges a request to the limits of a backend, and holds room for its response.
///
/// # Errors
/// 429 where a limit has no room, 500 where it cannot be counted: then nothing is charged.
pub(crate) async fn charge_backend(
    limits: &RateLimitFilter,
    backend: Option<&ClusterState>,
    request: BackendRequest<'_>,
) -> Result<BackendCharge, Error> {
    let BackendRequest { context, client, route, listener, head, call, is_understood, known, costs, store_budget } = request;
    if limits.needs_body {
        check_body(head, is_understood)?;
    }
    let selected = Facts { client, head, known: &known }.select(limits);
    let metadata = Metadata::default();
    // From the start, so that charges before a wait that ends early go back.
    let mut charge = BackendCharge::new(Arc::clone(context));
    let scan = call.and_then(ReadBody::scan);
    let backends = backend.map_or(PossibleBackends::Unknown, PossibleBackends::Chosen);
    let charged = ChargedRequest { context, scan, metadata: &metadata, costs, backends, store_budget };
    let target = || limit_target::id(route, listener);
    charge.charges.charge(&charged, (selected, None), target, |_, _| {}).await.map_err(NoCharge::into_error)?;
    Ok(charge)
}

/// Refuses a model call that limits cannot count.
fn check_body(head: &Head, is_understood: bool) -> Result<(), Error> {
    if !matches!(head.audience, Audience::Model(_)) || is_understood {
        return Ok(());
    }
    let message = "limits count this request by its model and tokens, which cannot be read in a body of this kind";
    Err(Error { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Error::new(Flag::BadRequest, message) })
}

/// A request, as selectors see it.
struct Facts<'a> {
    client: IpAddr,
    head: &'a Head,
    known: &'a Body<'a>,
}

impl Facts<'_> {
    fn with<T>(&self, look: impl FnOnce(&RequestFacts<'_>) -> T) -> T {
        let (parts, known) = (&self.head.parts, self.known);
        let header = |name: &HeaderName| header_value(&parts.headers, known, name);
        let (path, query) = (parts.uri.path(), parts.uri.query());
        look(&RequestFacts { client: self.client, method: &parts.method, path, query, header: &header })
    }

    fn select<'r>(&self, filter: &'r RateLimitFilter) -> Vec<(&'r LimitRule, Descriptor)> {
        self.with(|facts| filter.limits.select(facts))
    }
}

/// Adds to a response what is left, and what a rate limit service adds.
pub(super) fn response(state: &LimitState, headers: &mut HeaderMap) {
    if let Some(tightest) = &state.tightest {
        tightest.write(headers);
    }
    state.mutations.iter().for_each(|mutation| header_mutation::apply(mutation, headers));
}
