//! HTTP filters of listeners and rules: a file each, with a half for requests, a half for responses, or both.
//!
//! [`HttpFilter`] says in which order they run and why. A filter that is not configured costs nothing; a rule without
//! filters costs a branch.

mod attributes;
mod authentication;
mod authorization;
mod bandwidth_limit;
mod client_place;
mod compressor;
mod consultation;
mod cors;
mod ext_proc;
mod external_auth;
mod facts;
mod fault;
mod limit_target;
mod oidc;
mod passed;
mod passing;
mod rate_limit;
mod rate_limit_service;
mod response_override;
mod stage;
mod tightest_limit;
mod uncredentialed;

use std::sync::Arc;

use http::{HeaderValue, Response, header};
use pailou_auth::Condition;
use pailou_envoy_proto::ext_proc::HeaderMutation;
use pailou_limits::Counters;
use pailou_snapshot::{AuthorizationFilter, Body, Filters, HttpFilter, Rule};
use parking_lot::Mutex;

use crate::{
    bandwidth::Delays,
    compression,
    error::{Audience, Error},
    headers,
    request_head::Head,
    request_input::RequestInput,
    response_body::ResponseBody,
    token_charges::TokenCharges,
    worker::Connection,
};
pub(crate) use authentication::ClientId;
use authentication::Identity;
pub(crate) use authorization::{Denied, needs_places, wait_for_places};
use bandwidth_limit::BandwidthState;
pub(crate) use client_place::ClientPlace;
pub(crate) use consultation::{Consultation, consult_guards, have_same_guards};
use oidc::OidcState;
use passed::PassedFilters;
pub(crate) use passing::pass;
use rate_limit::LimitState;
pub(crate) use rate_limit::{BackendRequest, charge_backend};
pub(crate) use stage::{Matched, Passage, Stage};

/// Whether an operator's condition holds for a request before its filters: who the client is, is not known yet. Those who may read receipts
/// may not guess credentials by it.
pub(crate) fn holds(condition: &Condition, stage: &Stage<'_>, head: &Head, body: &Body<'_>) -> bool {
    let (method, path, identity) = (&head.parts.method, head.parts.uri.path(), &Identity::default());
    let request = attributes::JudgedRequest { stage, head, method, path, body, identity };
    condition.holds(&uncredentialed::Uncredentialed(request))
}

/// A request that has passed its rule's filters. The gateway answers or sends on no other.
pub(crate) struct Admitted(RequestInput);

impl Admitted {
    /// The body, as the filters left it.
    pub(crate) fn into_input(self) -> RequestInput {
        self.0
    }
}

/// Origin of a response.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// A backend.
    Backend,
    /// The gateway itself, with the text that its response carries.
    Local(&'a str),
}

/// Facts of a request that the response halves need.
#[derive(Default)]
pub(crate) struct FilterState {
    /// The listener has Envoy's own headers.
    pub(crate) envoy_headers: bool,
    rule: Option<Arc<Filters>>,
    origin: Option<HeaderValue>,
    accept_encoding: Option<HeaderValue>,
    overridden: Option<Box<response_override::RequestFacts>>,
    /// Changes that authorization servers make to the response.
    mutations: Vec<HeaderMutation>,
    /// External processors of the rule.
    processing: Option<Box<ext_proc::Processing>>,
    /// The client, as far as authentication has found it.
    identity: Identity,
    /// Cookies that a login has to do with.
    oidc: OidcState,
    /// Filters that the request need not pass again.
    passed: PassedFilters,
    /// The route is to be chosen again.
    clears_route: bool,
    /// Limits that the request was charged to.
    limits: LimitState,
    /// Limit of bandwidth that it has met.
    bandwidth: Option<BandwidthState>,
    /// Rank of the filter whose reply is the response.
    replied: Option<u8>,
}

impl FilterState {
    /// The client that has authenticated.
    pub(crate) fn client_id(&self) -> Option<ClientId> {
        self.identity.client_id()
    }

    /// Notes the CORS settings of a rule, for a response that tells of the rule and is not its own.
    pub(crate) fn enter_cors(&mut self, filters: &Filters, head: &Head) {
        let http = filters.http.iter().filter(|filter| matches!(filter, HttpFilter::Cors(_))).cloned().collect();
        self.rule = Some(Arc::new(Filters { http, ..Filters::default() }));
        self.origin = head.parts.headers.get(header::ORIGIN).cloned();
    }

    /// Notes a rule's filters, before the request passes them: a filter that ends the request leaves the response to all. Those of a further
    /// rule take the place of the rule's before, but for its external processors.
    fn enter(&mut self, rule: &Rule, head: &Head, stage: &Stage<'_>) {
        let (filters, connection) = (&rule.filters, stage.connection);
        self.rule = Some(filters.clone());
        let processors = || {
            filters.http.iter().filter_map(|filter| match filter {
                HttpFilter::ExtProc(processor) => Some(processor),
                _ => None,
            })
        };
        if processors().next().is_some() {
            let processing = self.processing.get_or_insert_with(|| Box::new(ext_proc::Processing::new(stage)));
            processing.enter(processors(), head, connection, &rule.route);
        }
        for filter in &filters.http {
            match filter {
                HttpFilter::ResponseOverride(rules) => {
                    self.overridden = Some(Box::new(response_override::RequestFacts::of(rules, head, connection, &rule.route)));
                }
                HttpFilter::Cors(_) => self.origin = head.parts.headers.get(header::ORIGIN).cloned(),
                HttpFilter::Compressor(_) => self.accept_encoding = compression::accept_encoding(&head.parts.headers),
                HttpFilter::Fault(_)
                | HttpFilter::Csrf(_)
                | HttpFilter::ExternalAuth(_)
                | HttpFilter::ApiKeyAuth(_)
                | HttpFilter::BasicAuth(_)
                | HttpFilter::Oidc(_)
                | HttpFilter::Jwt(_)
                | HttpFilter::ExtProc(_)
                | HttpFilter::Authorization(_)
                | HttpFilter::RateLimit(_)
                | HttpFilter::BandwidthLimit(_) => {}
            }
        }
    }

    /// Gives back what the request was charged by limits.
    pub(crate) fn refund_limits(&mut self, counters: &Counters) {
        self.limits.refund(counters);
    }

    /// Notes that the request has passed a filter, which has found this. Gives back whether the route is to be chosen again.
    fn note_passed(&mut self, filter: &HttpFilter, identity: Identity, may_rematch: bool) -> bool {
        if may_rematch {
            self.passed.push(filter, identity.clone());
        }
        self.identity.add(identity);
        may_rematch && self.takes_route()
    }

    /// Forgets the rule where a refusal by these rules hides the model.
    fn hide_model(&mut self, rules: &AuthorizationFilter, error: &Error) {
        if authorization::hides_model(rules, error) {
            self.leave_rule();
        }
    }

    /// Forgets the rule, so that the response is as one of a request that met none.
    fn leave_rule(&mut self) {
        self.rule = None;
        self.processing = None;
        self.mutations.clear();
        self.oidc.set_cookies.clear();
    }

    /// Room that limits hold for the response.
    pub(crate) fn take_charges(&mut self) -> TokenCharges {
        self.limits.take_tokens()
    }

    /// Delays of the request's body by a limit of bandwidth, as far as it has passed.
    pub(crate) fn body_delays(&self) -> Option<Arc<Mutex<Delays>>> {
        self.bandwidth.as_ref().map(BandwidthState::request_delays)
    }

    /// Whether the route is to be chosen again; once for each time that a filter wants it.
    fn takes_route(&mut self) -> bool {
        let by_processor = self.processing.as_mut().is_some_and(|processing| processing.takes_route());
        std::mem::take(&mut self.clears_route) || by_processor
    }

    /// Whether a request's body is on its way past an external processor, which may yet refuse the request.
    pub(crate) fn may_be_refused(&self) -> bool {
        self.processing.as_ref().is_some_and(|processing| processing.has_request_body())
    }

    /// Goes on with a request until a processor refuses it.
    ///
    /// # Errors
    /// The refusal, or the error of the way on.
    pub(crate) async fn unless_refused<T>(&self, go_on: impl Future<Output = Result<T, Error>> + Unpin) -> Result<T, Error> {
        let Some(processing) = &self.processing else { return go_on.await };
        let gone_on = tokio::select! {
            biased;
            error = processing.refused() => return Err(error),
            gone_on = go_on => gone_on,
        };
        // The body may have failed for that alone.
        gone_on.map_err(|error| processing.refusal().unwrap_or(error))
    }
}

/// Passes a request through its rule's filters, in order.
///
/// # Errors
/// The response of the first filter that refuses the request.
pub(crate) async fn request_to_rule(
    rule: &Rule,
    stage: &Stage<'_>,
    head: &mut Head,
    input: RequestInput,
    state: &mut FilterState,
) -> Result<Passage<Admitted>, Error> {
    if rule.filters.http.is_empty() {
        return Ok(Passage::Continue(Admitted(input)));
    }
    let by_rule = rule.policy.timeouts.request.map(|limit| stage.started + limit);
    let deadline = stage.deadline.into_iter().chain(by_rule).min();
    let stage = &Stage { deadline, ..*stage };
    if !state.passed.is_empty() || !state.identity.is_empty() {
        state.identity = state.passed.identity(&rule.filters.http);
    }
    state.enter(rule, head, stage);
    Ok(match pass(&rule.filters.http, stage, head, input, state).await? {
        Passage::Continue(input) => Passage::Continue(Admitted(input)),
        Passage::Rematch(input) => Passage::Rematch(input),
        Passage::Reply(response) => Passage::Reply(response),
    })
}

/// Passes a response through the filters of the listener and the rule that its request met.
pub(crate) async fn response(
    state: &mut FilterState,
    connection: &Arc<Connection>,
    audience: Audience,
    response: &mut Response<ResponseBody>,
    source: Source<'_>,
) {
    if let Some(processing) = state.processing.take() {
        let id = response.headers().get(headers::REQUEST_ID).cloned();
        let passed = std::mem::take(response);
        *response = Box::pin(ext_proc::response(*processing, connection, audience, passed)).await;
        // A processor that answers in a backend's place knows nothing of it.
        if let Some(id) = id {
            response.headers_mut().entry(headers::REQUEST_ID).or_insert(id);
        }
    }
    if state.rule.is_some() || !state.mutations.is_empty() {
        pass_back(state, response, source);
    }
}

fn pass_back(state: &mut FilterState, response: &mut Response<ResponseBody>, source: Source<'_>) {
    let rule = state.rule.take();
    let filters = rule.as_ref().map_or(&[][..], |filters| &filters.http);
    for filter in filters.iter().filter(|filter| state.replied != Some(filter.rank())) {
        match filter {
            HttpFilter::ResponseOverride(rules) => {
                if let Some(facts) = &state.overridden {
                    replace(response, |response| response_override::response(rules, facts, response, source));
                }
            }
            HttpFilter::Cors(cors) => cors::response(cors, state.origin.as_ref(), response.headers_mut()),
            HttpFilter::Compressor(settings) => {
                replace(response, |response| compressor::response(settings, state.accept_encoding.as_ref(), response));
            }
            HttpFilter::BandwidthLimit(limit) => {
                if let Some(met) = &state.bandwidth {
                    replace(response, |response| bandwidth_limit::response(limit, met, response));
                }
            }
            HttpFilter::Fault(_)
            | HttpFilter::Csrf(_)
            | HttpFilter::ExternalAuth(_)
            | HttpFilter::ApiKeyAuth(_)
            | HttpFilter::BasicAuth(_)
            | HttpFilter::Oidc(_)
            | HttpFilter::Jwt(_)
            | HttpFilter::ExtProc(_)
            | HttpFilter::Authorization(_)
            | HttpFilter::RateLimit(_) => {}
        }
    }
    for line in state.oidc.set_cookies.drain(..) {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
    rate_limit::response(&state.limits, response.headers_mut());
    // Changes by the authorization servers of the listener and of the rule.
    external_auth::response(&state.mutations, response.headers_mut());
}

fn replace(response: &mut Response<ResponseBody>, with: impl FnOnce(Response<ResponseBody>) -> Response<ResponseBody>) {
    *response = with(std::mem::take(response));
}
