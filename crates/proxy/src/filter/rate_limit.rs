//! Limits of requests and tokens (BackendTrafficPolicy `rateLimit`).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use pailou_limits::{
    Admission, Charge, Cost, ExpectedCost, LimitRule, MetadataKey, Rate, Reach, RequestFacts, StableId, TokenCount, Tokens, Window,
};
use pailou_snapshot::{Body, RateLimitFilter, RouteKind};
use serde_json::Value;

use super::{Stage, authentication::Identity, facts::header_value};
use crate::{
    error::{Audience, Error, Flag},
    request_head::Head,
    request_input::RequestInput,
    shared_limits,
    token_charges::TokenCharges,
    wall_clock::unix_seconds,
};

/// Bytes of a prompt that make a token, where nobody has counted: English text in the usual vocabularies.
const BYTES_PER_TOKEN: u64 = 4;

/// Tokens that are held for an answer whose length the client does not limit, at least.
const SHORT_ANSWER: u64 = 256;

/// Outcome of a request's limits, for its response.
#[derive(Default)]
pub(super) struct LimitState {
    /// The counter with the least room left.
    tightest: Option<Tightest>,
    /// Room that is held for the response.
    pub(super) charges: TokenCharges,
    /// Charges of the request, each with the begin of its window, by the process's own limits too: they go back where a later limit refuses
    /// it.
    charged: Vec<(u64, Charge)>,
}

struct Tightest {
    rate: Rate,
    /// A local limit: headers without the policy's part.
    is_local: bool,
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
    if filter.needs_body {
        input = input.read(head, &stage.connection.worker.context, &stage.bounds).await?;
        if matches!(head.audience, Audience::Model(_)) && !input.is_understood() {
            let message = "limits count this request by its model and tokens, which cannot be read in a body of this kind";
            return Err(Error { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Error::new(Flag::BadRequest, message) });
        }
    }
    let selected = {
        let known = if filter.needs_body { input.known(&stage.runtime.snapshot().base_models) } else { Body::Unread };
        let header = |name: &http::HeaderName| header_value(&head.parts.headers, &known, name);
        let facts = RequestFacts {
            client: stage.client,
            method: &head.parts.method,
            path: head.parts.uri.path(),
            query: head.parts.uri.query(),
            header: &header,
        };
        filter.limits.select(&facts)
    };
    if selected.is_empty() {
        return Ok(input);
    }
    let counters = &stage.connection.worker.context.limits;
    let now = unix_seconds();
    let prompt = prompt_tokens(&input);
    let (mut held, mut deadline, mut target) = (Vec::new(), None, None);
    for (rule, descriptor) in selected {
        let (limit, window) = limit(rule, identity);
        let expected = rule.response_cost.as_ref().map(|cost| expected(cost, &input, prompt, identity));
        let mut charge = Charge {
            name: rule.name.clone(),
            rule: (rule.id, if rule.reach == Reach::Policy { 0 } else { *target.get_or_insert_with(|| target_id(stage)) }),
            descriptor,
            window,
            limit,
            cost: request_cost(&rule.request_cost, identity),
            expected,
            is_shadow: rule.is_shadow,
        };
        if let Some(ExpectedCost::Known(expected)) = charge.expected
            && expected > prompt
        {
            let certain = if rule.response_cost == Some(Cost::Tokens(TokenCount::Total)) { prompt } else { 0 };
            let output = (expected - certain).min(counters.plausible_cost(&charge));
            charge.expected = Some(ExpectedCost::Known(certain.saturating_add(output)));
        }
        let admission =
            shared_limits::admit(&stage.connection.worker.context, now, &charge, &mut deadline).await.inspect_err(|_| {
                state.charged.drain(..).for_each(|(begin, charge)| counters.refund(begin, &charge));
            })?;
        match admission {
            Admission::Admitted { rate, begin, reservation, is_over } => {
                if is_over {
                    stage.connection.worker.context.metrics.shadowed_limits.inc();
                }
                state.note(rule, rate, filter.is_local, stage.rate_limit_headers);
                held.extend(reservation.zip(rule.response_cost.clone()));
                state.charged.push((begin, charge));
            }
            Admission::Refused(rate) => {
                state.charged.drain(..).for_each(|(begin, charge)| counters.refund(begin, &charge));
                state.tightest = None;
                state.note(rule, rate, filter.is_local, stage.rate_limit_headers);
                return Err(refused(rule, rate));
            }
        }
    }
    state.charges.extend(prompt, held.into_iter());
    Ok(input)
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

impl LimitState {
    fn note(&mut self, rule: &LimitRule, rate: Rate, is_local: bool, has_headers: bool) {
        let is_tighter = self.tightest.as_ref().is_none_or(|known| rate.remaining < known.rate.remaining);
        if rule.has_headers.unwrap_or(has_headers) && is_tighter {
            self.tightest = Some(Tightest { rate, is_local });
        }
    }
}

fn refused(rule: &LimitRule, rate: Rate) -> Error {
    let message = match rate.limit {
        0 => "this request is not allowed at this time".to_owned(),
        _ => format!("rate limit exceeded; try again in {} s", rate.reset.max(1)),
    };
    Error::new(Flag::RateLimited, message)
        .with_code("rate_limit_exceeded")
        .with_retry_after(Duration::from_secs(rate.reset.max(1)))
        .with_detail(format!("limit {}: {} in {} s", rule.name, rate.limit, rate.seconds))
}

/// Identity of the rule of a route on a listener: by its own name where it has one, else by its place.
fn target_id(stage: &Stage<'_>) -> u64 {
    let Some(route) = stage.route else { return 0 };
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
    let listener = stage.listener;
    id = id.with(&listener.gateway.namespace).with(&listener.gateway.name).with(&listener.section);
    if let Some(set) = &listener.set {
        id = id.with(&set.namespace).with(&set.name);
    }
    id.finish()
}

/// The rule's limit, or the client's own: `{requests_per_unit, unit}` among its facts.
fn limit(rule: &LimitRule, identity: &Identity) -> (u64, Window) {
    let own = rule.limit_from.as_ref().and_then(|key| find(identity, key));
    let requests = own.and_then(|value| value.get("requests_per_unit")?.as_u64());
    let unit = own.and_then(|value| seconds(value.get("unit")?.as_str()?));
    match (requests, unit) {
        (Some(requests), Some(seconds)) => (requests, Window { seconds, ..rule.window }),
        _ => (rule.limit, rule.window),
    }
}

fn seconds(unit: &str) -> Option<u64> {
    const DAY: u64 = 24 * 60 * 60;
    Some(match &*unit.to_ascii_uppercase() {
        "SECOND" => 1,
        "MINUTE" => 60,
        "HOUR" => 60 * 60,
        "DAY" => DAY,
        "WEEK" => 7 * DAY,
        "MONTH" => 30 * DAY,
        "YEAR" => 365 * DAY,
        _ => return None,
    })
}

fn find<'i>(identity: &'i Identity, key: &MetadataKey) -> Option<&'i Value> {
    identity.metadata.find(&key.namespace, &key.key)
}

fn request_cost(cost: &Cost, identity: &Identity) -> u64 {
    match cost {
        Cost::Number(number) => *number,
        Cost::Metadata(key) => find(identity, key).and_then(Value::as_u64).unwrap_or(0),
        // Nothing is known of a response yet.
        Cost::Tokens(_) => 0,
    }
}

/// Cost to expect of a response.
fn expected(cost: &Cost, input: &RequestInput, prompt: u64, identity: &Identity) -> ExpectedCost {
    let count = match cost {
        Cost::Tokens(count) => *count,
        other => return ExpectedCost::Known(request_cost(other, identity)),
    };
    let scan = input.call().and_then(|call| call.scan.as_ref()?.as_ref().ok());
    let Some(scan) = scan else { return ExpectedCost::Known(0) };
    let of = |output: u64| count.of(Tokens { input: prompt, output, total: prompt.saturating_add(output) });
    match (count, scan.max_output) {
        (TokenCount::Input, _) => ExpectedCost::Known(prompt),
        (_, Some(output)) => ExpectedCost::Known(of(output)),
        (_, None) => ExpectedCost::Learned(of(SHORT_ANSWER)),
    }
}

/// Tokens of a prompt, estimated by its length; 0 for a body that is no model call.
fn prompt_tokens(input: &RequestInput) -> u64 {
    let scan = input.call().and_then(|call| call.scan.as_ref()?.as_ref().ok());
    scan.map_or(0, |scan| scan.content_bytes.div_ceil(BYTES_PER_TOKEN))
}
