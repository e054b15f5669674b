//! `rateLimit` of a BackendTrafficPolicy.

use std::collections::HashMap;

use http::{HeaderName, Method, header};
use pailou_api::envoy::rate_limit::{
    ClientSelector as SelectorSpec, RateLimit, RateLimitCostSpecifier, RateLimitHeaders, RateLimitMatchType, RateLimitMetadata,
    RateLimitMethodMatch, RateLimitPathMatch, RateLimitPathType, RateLimitRule, RateLimitSourceType, RateLimitUnit,
    RateLimitValueMatch,
};
use pailou_auth::{PathRule, PathValue};
use pailou_limits::{
    AddressSelector, ClientSelector, Cost, LimitRule, MetadataKey, RateLimits, Reach, TokenCount, ValueSelector, Window, WindowKind,
};
use pailou_snapshot::{Name, RateLimitFilter};

use crate::{headers::header_name, regexes, status::Problem};

use super::{
    super::values::{self, invalid},
    rule_identity,
};

/// Headers of which counters keep a digest.
const SECRET_HEADERS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// Namespace of what Envoy AI Gateway writes.
const AI_GATEWAY: &str = "io.envoy.ai_gateway";
/// Namespace of what ACK's telemetry plug-in writes.
const FILTER_STATE: &str = "FILTER_STATE";

/// Policies that the rules of a spec come from, in order, with how many each has.
pub(crate) type Origins<'p> = [(&'p Name, usize)];

/// Reads the limits: those of the process alone first, then those of all replicas.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(spec: &RateLimit, local: &Origins<'_>, global: &Origins<'_>) -> Result<Vec<RateLimitFilter>, Problem> {
    let mut filters = Vec::new();
    if let Some(rules) = spec.local.as_ref().map(|it| &it.rules).filter(|rules| !rules.is_empty()) {
        check_local(rules)?;
        let rules = limits("rateLimit.local", rules, local, WindowKind::First)?;
        filters.push(RateLimitFilter::new(RateLimits { rules, has_default: true }, true));
    }
    if let Some(rules) = spec.global.as_ref().map(|it| &it.rules).filter(|rules| !rules.is_empty()) {
        let rules = limits("rateLimit.global", rules, global, WindowKind::Epoch)?;
        filters.push(RateLimitFilter::new(RateLimits { rules, has_default: false }, false));
    }
    Ok(filters)
}

/// Reads the limits of a backend: of all replicas, and shared by all routes to it unless a rule says otherwise. They know nothing of the
/// client but its request.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(crate) fn of_backend(spec: &RateLimit, backend: &Name) -> Result<RateLimitFilter, Problem> {
    if spec.local.is_some() {
        return Err(invalid("rateLimit.local: a backend's limits are global"));
    }
    let specs = spec.global.as_ref().map(|it| &*it.rules).filter(|rules| !rules.is_empty());
    let specs = specs.ok_or_else(|| invalid("rateLimit.global.rules: is empty"))?;
    for (at, spec) in specs.iter().enumerate() {
        let request = spec.cost.as_ref().and_then(|cost| cost.request.as_ref()?.metadata.as_ref());
        if spec.limit.from_metadata.is_some() || request.is_some() {
            let field = if request.is_some() { "cost.request.metadata" } else { "limit.fromMetadata" };
            return Err(invalid(&format!("rateLimit.global.rules[{at}].{field}: a backend's limits have no facts of the client")));
        }
        if spec.rate_limit_headers.is_some() {
            let message = "responses do not tell of a backend's limits: remove the field";
            return Err(invalid(&format!("rateLimit.global.rules[{at}].xRateLimitHeaders: {message}")));
        }
    }
    let mut rules = limits("rateLimit.global", specs, &[(backend, specs.len())], WindowKind::Epoch)?;
    for (rule, _) in rules.iter_mut().zip(specs).filter(|(_, spec)| spec.shared.is_none()) {
        rule.reach = Reach::Policy;
    }
    Ok(RateLimitFilter::new(RateLimits { rules, has_default: false }, false))
}

/// Envoy Gateway's conditions on local limits.
fn check_local(rules: &[RateLimitRule]) -> Result<(), Problem> {
    let mut defaults = rules.iter().filter(|rule| rule.client_selectors.is_empty());
    let default = defaults.next();
    if defaults.next().is_some() {
        return Err(invalid("rateLimit.local.rules: at most one rule may have no clientSelectors"));
    }
    for (at, rule) in rules.iter().enumerate() {
        if rule.cost.as_ref().is_some_and(|cost| cost.response.is_some()) {
            return Err(invalid(&format!(
                "rateLimit.local.rules[{at}].cost.response: only global limits have a cost of responses"
            )));
        }
        if rule.limit.from_metadata.is_some() {
            return Err(invalid(&format!("rateLimit.local.rules[{at}].limit.fromMetadata: only global limits have it")));
        }
        if let Some(default) = default.filter(|default| !seconds(rule.limit.unit).is_multiple_of(seconds(default.limit.unit))) {
            let unit = default.limit.unit;
            return Err(invalid(&format!(
                "rateLimit.local.rules[{at}].limit.unit: it must be a multiple of {unit:?}, the unit of the rule without clientSelectors"
            )));
        }
    }
    Ok(())
}

fn limits(field: &str, rules: &[RateLimitRule], origins: &Origins<'_>, kind: WindowKind) -> Result<Vec<LimitRule>, Problem> {
    // Rules of equal content have counters of their own: the second is another limit.
    let mut seen: HashMap<u64, u64> = HashMap::new();
    let places = places(rules, origins);
    let mut origins = origins.iter().flat_map(|(name, count)| (0..*count).map(move |at| (*name, at)));
    let read = rules.iter().enumerate().map(|(at, spec)| {
        let field = format!("{field}.rules[{at}]");
        let (policy, place) = origins.next().ok_or_else(|| invalid(&format!("{field}: it is of no policy")))?;
        let content = rule_identity::of(policy, spec, kind);
        let ordinal = seen.entry(content).or_default();
        *ordinal += 1;
        Ok(LimitRule {
            name: format!("{policy}/rule/{place}").into(),
            id: content.wrapping_add(*ordinal),
            place: places[at],
            selectors: spec.client_selectors.iter().map(|spec| selector(&field, spec)).collect::<Result<_, _>>()?,
            limit: spec.limit.requests.into(),
            window: Window { seconds: seconds(spec.limit.unit), kind },
            limit_from: spec.limit.from_metadata.as_ref().map(key),
            request_cost: spec
                .cost
                .as_ref()
                .and_then(|cost| cost.request.as_ref())
                .map_or(Ok(Cost::Number(1)), |cost| request_cost(&field, cost))?,
            response_cost: spec
                .cost
                .as_ref()
                .and_then(|cost| cost.response.as_ref())
                .map(|cost| response_cost(&field, cost))
                .transpose()?,
            reach: if is_shared(spec) { Reach::Policy } else { Reach::RouteRule },
            is_shadow: spec.shadow_mode.unwrap_or(false),
            has_headers: spec.rate_limit_headers.map(|headers| headers != RateLimitHeaders::Off),
        })
    });
    read.collect()
}

/// Numbers of the rules among those with, or without, `shared`, as Envoy Gateway counts them: the rules of a merged parent come behind.
fn places(rules: &[RateLimitRule], origins: &Origins<'_>) -> Vec<u32> {
    let first = origins.first().map_or(0, |(_, count)| *count).min(rules.len());
    let (mut next, mut places) = ([0; 2], vec![0; rules.len()]);
    for at in (first..rules.len()).chain(0..first) {
        let number = &mut next[usize::from(is_shared(&rules[at]))];
        places[at] = *number;
        *number += 1;
    }
    places
}

fn is_shared(rule: &RateLimitRule) -> bool {
    rule.shared.unwrap_or(false)
}

/// Length of a unit: a month has 30 days, a year 365.
fn seconds(unit: RateLimitUnit) -> u64 {
    const DAY: u64 = 24 * 60 * 60;
    match unit {
        RateLimitUnit::Second => 1,
        RateLimitUnit::Minute => 60,
        RateLimitUnit::Hour => 60 * 60,
        RateLimitUnit::Day => DAY,
        RateLimitUnit::Week => 7 * DAY,
        RateLimitUnit::Month => 30 * DAY,
        RateLimitUnit::Year => 365 * DAY,
    }
}

fn key(spec: &RateLimitMetadata) -> MetadataKey {
    MetadataKey { namespace: spec.namespace.as_str().into(), key: spec.key.as_str().into() }
}

fn request_cost(field: &str, spec: &RateLimitCostSpecifier) -> Result<Cost, Problem> {
    match (&spec.metadata, spec.number) {
        (Some(metadata), _) if matches!(&*metadata.namespace, AI_GATEWAY | FILTER_STATE) => Err(invalid(&format!(
            "{field}.cost.request.metadata: {} of {} is known once the response has ended: charge it by cost.response",
            metadata.key, metadata.namespace
        ))),
        (Some(metadata), _) => Ok(Cost::Metadata(key(metadata))),
        (None, number) => Ok(Cost::Number(number.unwrap_or(1))),
    }
}

/// A cost by the keys that Envoy AI Gateway writes, which depend on the Gateway, or tokens by those of ACK's telemetry plug-in.
fn response_cost(field: &str, spec: &RateLimitCostSpecifier) -> Result<Cost, Problem> {
    let Some(RateLimitMetadata { namespace, key }) = &spec.metadata else { return Ok(Cost::Number(spec.number.unwrap_or(1))) };
    let count = match (&**namespace, &**key) {
        (AI_GATEWAY, key) => return Ok(Cost::Llm(key.into())),
        (FILTER_STATE, "wasm.gen_ai.prompt.tokens") => TokenCount::Input,
        (FILTER_STATE, "wasm.gen_ai.completion.tokens") => TokenCount::Output,
        (FILTER_STATE, "wasm.gen_ai.total.tokens") => TokenCount::Total,
        _ => {
            return Err(invalid(&format!(
                "{field}.cost.response.metadata: nothing writes {key} of {namespace}: use llm_input_token, llm_output_token or llm_total_token \
                 of io.envoy.ai_gateway, or wasm.gen_ai.prompt.tokens, wasm.gen_ai.completion.tokens or wasm.gen_ai.total.tokens of FILTER_STATE"
            )));
        }
    };
    Ok(Cost::Tokens(count))
}

fn selector(field: &str, spec: &SelectorSpec) -> Result<ClientSelector, Problem> {
    let header = |it: &RateLimitValueMatch| -> Result<_, Problem> {
        let name = header_name(&it.name)?;
        let is_secret =
            SECRET_HEADERS.contains(&name) || ["auth", "key", "token", "secret"].iter().any(|word| name.as_str().contains(word));
        let value = value(&format!("{field}.clientSelectors[].headers"), it, is_secret)?;
        Ok((name, value))
    };
    let query = |it: &RateLimitValueMatch| -> Result<_, Problem> {
        let is_secret = ["key", "token", "secret"].iter().any(|word| it.name.to_ascii_lowercase().contains(word));
        Ok((it.name.as_str().into(), value(&format!("{field}.clientSelectors[].queryParams"), it, is_secret)?))
    };
    let address = spec.source_cidr.as_ref().map(|it| {
        let range =
            it.value.parse().map_err(|error| invalid(&format!("{field}.clientSelectors[].sourceCIDR: {:?}: {error}", it.value)))?;
        let is_distinct = it.kind == RateLimitSourceType::Distinct;
        Ok(AddressSelector { range, is_inverted: it.invert, is_distinct })
    });
    let method = |it: &RateLimitMethodMatch| {
        let method = Method::from_bytes(it.value.as_str().as_bytes());
        method.map(|method| (method, it.invert)).map_err(|_| invalid(&format!("{field}.clientSelectors[].methods: no method")))
    };
    Ok(ClientSelector {
        headers: spec.headers.iter().map(header).collect::<Result<_, _>>()?,
        methods: spec.methods.iter().map(method).collect::<Result<_, _>>()?,
        path: spec.path.as_ref().map(|it| path(field, it)).transpose()?,
        address: address.transpose()?,
        query: spec.query_params.iter().map(query).collect::<Result<_, _>>()?,
    })
}

fn value(field: &str, spec: &RateLimitValueMatch, is_secret: bool) -> Result<ValueSelector, Problem> {
    let wrong = |message: &str| Err(invalid(&format!("{field}: {}: {message}", spec.name)));
    match (spec.kind, &spec.value) {
        (RateLimitMatchType::Distinct, _) if spec.invert => wrong("Distinct cannot be inverted"),
        (RateLimitMatchType::Distinct, Some(_)) => wrong("Distinct has no value"),
        (RateLimitMatchType::Distinct, None) => Ok(ValueSelector::Distinct { is_secret }),
        (_, None) => wrong("write a value"),
        (RateLimitMatchType::Exact, Some(value)) => Ok(ValueSelector::Exact(value.as_str().into(), spec.invert)),
        (RateLimitMatchType::RegularExpression, Some(value)) => {
            let regex =
                regexes::anchored(&format!("{field}: {}", spec.name), value).map_err(|problem| invalid(&problem.message))?;
            Ok(ValueSelector::Regex(regex, spec.invert))
        }
    }
}

fn path(field: &str, spec: &RateLimitPathMatch) -> Result<PathRule, Problem> {
    let field = format!("{field}.clientSelectors[].path.value");
    let value = match spec.kind {
        RateLimitPathType::Exact => PathValue::Exact(values::path(&field, &spec.value)?),
        RateLimitPathType::PathPrefix => PathValue::Prefix(values::path(&field, &spec.value)?),
        RateLimitPathType::RegularExpression => {
            PathValue::Regex(regexes::anchored(&field, &spec.value).map_err(|problem| invalid(&problem.message))?)
        }
    };
    Ok(PathRule { value, is_inverted: spec.invert })
}
