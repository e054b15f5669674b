//! Limits of requests and tokens: those of a route's rule (BackendTrafficPolicy `rateLimit`), and those of a backend.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pailou_auth::Metadata;
use pailou_limits::{Descriptor, LimitRule, Rate, RequestFacts, StableId};
use pailou_snapshot::{Body, ListenerName, RateLimitFilter, RouteKind, RouteName};

use super::{Stage, authentication::Identity, facts::header_value};
use crate::{
    context::Context,
    error::{Audience, Error, Flag},
    limit_charge::{BackendCharge, ChargedRequest, Charges, NoCharge},
    request_head::Head,
    request_input::{ReadBody, RequestInput},
    token_charges::TokenCharges,
};

/// Outcome of a request's limits, for its response.
#[derive(Default)]
pub(super) struct LimitState {
    /// The counter with the least room left.
    tightest: Option<Tightest>,
    /// Charges of the request, by the process's own limits too.
    charges: Charges,
}

struct Tightest {
    rate: Rate,
    /// A local limit: headers without the policy's part.
    is_local: bool,
}

impl LimitState {
    /// Room that is held for the response.
    pub(super) fn take_tokens(&mut self) -> TokenCharges {
        std::mem::take(&mut self.charges.tokens)
    }
}

/// Charges a request to every limit that is for it, and holds room for its response. Gives back the body, read where a limit needs it.
///
/// # Errors
/// 429 where a limit has no room: then nothing is charged.
pub(super) async fn request(
    filter: &RateLimitFilter,
    stage: &Stage<'_>,
    head: &Head,
    mut input: RequestInput,
    identity: &Identity,
    state: &mut LimitState,
) -> Result<RequestInput, Error> {
    let context = &stage.connection.worker.context;
    if filter.needs_body {
        input = input.read(head, context, &stage.bounds).await?;
        check_body(head, input.is_understood())?;
    }
    let known = if filter.needs_body { input.known(&stage.runtime.snapshot().base_models) } else { Body::Unread };
    let selected = select(filter, stage.client, head, &known);
    if selected.is_empty() {
        return Ok(input);
    }
    let request = ChargedRequest { context, scan: input.call().and_then(ReadBody::scan), metadata: &identity.metadata };
    let target = || stage.route.map_or(0, |route| target_id(route, stage.listener));
    let LimitState { tightest, charges } = state;
    let has_headers = |rule: &LimitRule| rule.has_headers.unwrap_or(stage.rate_limit_headers);
    let charged = charges.charge(&request, selected, target, |rule, rate| {
        let is_tighter = tightest.as_ref().is_none_or(|known| rate.remaining < known.rate.remaining);
        if has_headers(rule) && is_tighter {
            *tightest = Some(Tightest { rate, is_local: filter.is_local });
        }
    });
    if let Err(error) = charged.await {
        if let NoCharge::Refused(rule, rate) = error {
            *tightest = has_headers(rule).then_some(Tightest { rate, is_local: filter.is_local });
        }
        return Err(error.into_error());
    }
    Ok(input)
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
}

/// Charges a request to the limits of a backend, and holds room for its response.
///
/// # Errors
/// 429 where a limit has no room, 500 where it cannot be counted: then nothing is charged.
pub(crate) async fn charge_backend(limits: &RateLimitFilter, request: BackendRequest<'_>) -> Result<BackendCharge, Error> {
    let BackendRequest { context, client, route, listener, head, call, is_understood, known } = request;
    if limits.needs_body {
        check_body(head, is_understood)?;
    }
    let selected = select(limits, client, head, &known);
    let (metadata, mut charges) = (Metadata::default(), Charges::default());
    let charged = ChargedRequest { context, scan: call.and_then(ReadBody::scan), metadata: &metadata };
    let target = || target_id(route, listener);
    charges.charge(&charged, selected, target, |_, _| {}).await.map_err(NoCharge::into_error)?;
    Ok(BackendCharge::new(charges, Arc::clone(context)))
}

/// Refuses a model call that limits cannot count.
fn check_body(head: &Head, is_understood: bool) -> Result<(), Error> {
    if !matches!(head.audience, Audience::Model(_)) || is_understood {
        return Ok(());
    }
    let message = "limits count this request by its model and tokens, which cannot be read in a body of this kind";
    Err(Error { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Error::new(Flag::BadRequest, message) })
}

fn select<'r>(filter: &'r RateLimitFilter, client: IpAddr, head: &Head, known: &Body<'_>) -> Vec<(&'r LimitRule, Descriptor)> {
    let header = |name: &HeaderName| header_value(&head.parts.headers, known, name);
    let uri = &head.parts.uri;
    let facts = RequestFacts { client, method: &head.parts.method, path: uri.path(), query: uri.query(), header: &header };
    filter.limits.select(&facts)
}

/// Adds to a response what is left.
pub(super) fn response(state: &LimitState, headers: &mut HeaderMap) {
    let Some(Tightest { rate, is_local }) = &state.tightest else { return };
    let limit = match is_local {
        true => rate.limit.to_string(),
        false => format!("{}, {};w={}", rate.limit, rate.limit, rate.seconds),
    };
    let values = [
        ("x-ratelimit-limit", limit),
        ("x-ratelimit-remaining", rate.remaining.to_string()),
        ("x-ratelimit-reset", rate.reset.to_string()),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// Identity of the rule of a route on a listener: by its own name where it has one, else by its place.
fn target_id(route: &RouteName, listener: &ListenerName) -> u64 {
    let kind = match route.kind {
        RouteKind::Http => "http",
        RouteKind::Grpc => "grpc",
        RouteKind::Tls => "tls",
        RouteKind::Tcp => "tcp",
        RouteKind::Udp => "udp",
    };
    let mut id = StableId::default().with(kind).with(&route.name.namespace).with(&route.name.name);
    match &route.rule_name {
        Some(name) => id.add(name),
        // No name has a slash.
        None => id = id.with("/").with(&route.rule.to_string()),
    }
    id = id.with(&listener.gateway.namespace).with(&listener.gateway.name).with(&listener.section);
    if let Some(set) = &listener.set {
        id = id.with(&set.namespace).with(&set.name);
    }
    id.finish()
}
