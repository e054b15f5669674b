//! Rules of routes: matches, filters, backends and the policies that apply, put together.

use std::{sync::Arc, time::Duration};

use crate::status::Problem;
use pailou_api::{
    http_route::{HttpRouteRetry, HttpRouteRule, HttpRouteTimeouts},
    refs::BackendObjectReference,
};
use pailou_snapshot::{Action, BackendRef, Backends, Failure, HttpFilter, LoadBalancer, Retry, RetryTrigger, Rule, Timeouts};

use super::{
    ext_proc, external_auth,
    filter_set::FilterSet,
    filters,
    matches::{self, Match},
    oidc,
    policies::{ext_proc::Processors, http_filters, origins, security::Security, values::statuses},
    remote_documents,
    resolver::Resolved,
    route::RuleSpec,
    rule_context::RuleContext,
};

/// The matches of a rule. One that cannot be had is left out, and the route's condition says so.
pub(crate) fn rule_matches(place: usize, rule: RuleSpec<'_>, problems: &mut Vec<Problem>) -> Vec<Match> {
    let field = |at: usize| format!("spec.rules[{place}].matches[{at}]");
    let found: Vec<_> = match rule {
        RuleSpec::Http(rule) => rule.matches.iter().enumerate().map(|(at, spec)| matches::http(&field(at), spec)).collect(),
        RuleSpec::Grpc(rule) if rule.matches.is_empty() => vec![matches::grpc(&field(0), &Default::default())],
        RuleSpec::Grpc(rule) => rule.matches.iter().enumerate().map(|(at, spec)| matches::grpc(&field(at), spec)).collect(),
    };
    let mut matches = Vec::new();
    for found in found {
        match found {
            Ok(found) => matches.push(found),
            Err(problem) => problems.push(problem),
        }
    }
    matches
}

/// A rule, and what it matches beside its matches.
pub(crate) struct CompiledRule {
    pub(crate) rule: Arc<Rule>,
    pub(crate) cookies: Vec<Vec<pailou_snapshot::QueryMatch>>,
}

/// Puts a rule together. `policy` is what a broken BackendTrafficPolicy fails it with.
pub(crate) fn rule(
    context: &mut RuleContext<'_, '_, '_>,
    spec: RuleSpec<'_>,
    policy: Option<Failure>,
    (mut security, processors): (Security, &Processors),
) -> CompiledRule {
    let mut set = match spec {
        RuleSpec::Http(rule) => filters::http(context, &rule.filters),
        RuleSpec::Grpc(rule) => filters::grpc(context, &rule.filters),
    };
    let refs = backends(context, spec);
    let is_limited_by_body = |backend: &BackendRef| backend.limits.as_ref().is_some_and(|limits| limits.needs_body);
    let needs_body = refs.iter().any(|(backend, is_pool)| *is_pool || is_limited_by_body(backend));
    let refs: Vec<_> = refs.into_iter().map(|(backend, _)| backend).collect();
    set.filters.origins = origins::beside(&security.origins, &set.filters.http);
    let http = &mut set.filters.http;
    *http = http_filters::over(http, security.http_filters());
    if let Some(auth) = &security.ext_auth {
        match external_auth::of_policy(context, auth) {
            // Before the rule's own.
            Ok(found) => http.splice(..0, found.map(|it| HttpFilter::ExternalAuth(Arc::new(it)))).for_each(drop),
            Err(problem) => {
                security.closed.get_or_insert_with(|| Failure(problem.message.as_str().into()));
                context.problem(problem);
            }
        }
    }
    if let Some(policy) = &security.oidc {
        match oidc::of_rule(context, policy) {
            Ok(filter) => http.push(HttpFilter::Oidc(filter.into())),
            Err(problem) => {
                security.closed.get_or_insert_with(|| Failure(problem.message.as_str().into()));
                context.problem(problem);
            }
        }
    }
    if let Err(problem) = remote_documents::of_rule(context, &security.documents) {
        // The rule is closed, and asks nobody for a token that it could not verify.
        http.retain(|filter| !matches!(filter, HttpFilter::Jwt(_)));
        security.closed.get_or_insert_with(|| Failure(problem.message.as_str().into()));
        context.problem(problem);
    }
    http.extend_from_slice(context.traffic.http_filters());
    match ext_proc::of_rule(context, processors) {
        Ok(found) => http.extend(found.into_iter().map(|it| HttpFilter::ExtProc(it.into()))),
        Err(problem) => {
            security.closed.get_or_insert_with(|| Failure(problem.message.as_str().into()));
            context.problem(problem);
        }
    }
    http.sort_by_key(HttpFilter::rank);
    let FilterSet { filters, answer, failure, cookies } = set;
    let action = match (security.closed.or(policy).or(failure), answer) {
        (Some(failure), _) => Action::Fail(failure),
        (None, Some(answer)) => answer,
        (None, None) if refs.is_empty() => Action::Fail(Failure(format!("{} has no backendRefs", context.field).into())),
        (None, None) => Action::Forward(Backends::new(refs)),
    };
    let mut policy = context.traffic.rule().clone();
    if let RuleSpec::Http(HttpRouteRule { timeouts, retry, .. }) = spec {
        let object: Arc<str> = format!("HTTPRoute {}", context.name.name).into();
        if let Some(own) = timeouts {
            let policy = Arc::make_mut(&mut policy);
            set_timeouts(&mut policy.timeouts, own);
            policy.origins = origins::with_own(&policy.origins, "timeouts", &object);
        }
        if let Some(own) = retry {
            let policy = Arc::make_mut(&mut policy);
            policy.retry = own_retry(context, own);
            // It takes the whole field's place.
            let others: Vec<_> = policy.origins.iter().filter(|origin| origin.field != "retry").cloned().collect();
            policy.origins = origins::with_own(&others, "retry", &object);
        }
    }
    let session = super::session::session(context, spec.session());
    let rule = Rule {
        session,
        route: context.name.clone(),
        filters: filters.shared(),
        needs_body: needs_body && matches!(action, Action::Forward(_)),
        action,
        policy,
        numbered_matches: Box::default(),
    };
    CompiledRule { rule: Arc::new(rule), cookies }
}

/// The backends, and whether each is a pool.
fn backends(context: &mut RuleContext<'_, '_, '_>, spec: RuleSpec<'_>) -> Vec<(BackendRef, bool)> {
    let rule_field = context.field.clone();
    let mut refs = Vec::with_capacity(1);
    let mut take = |place: usize,
                    target: BackendObjectReference,
                    weight: u32,
                    set: &mut dyn FnMut(&mut RuleContext<'_, '_, '_>) -> FilterSet| {
        context.field = format!("{rule_field}.backendRefs[{place}]");
        let mut set = set(context);
        if set.answer.take().is_some() {
            let message =
                format!("{}.filters: a redirect or direct response belongs to the rule, not to a backendRef", context.field);
            set.fail(context, Problem::accepted("UnsupportedValue", message));
        }
        let http = std::mem::take(&mut set.filters.http);
        if http.iter().any(|filter| matches!(filter, HttpFilter::ExternalAuth(_))) {
            let message = format!("{}.filters: ExternalAuth belongs to the rule, not to a backendRef", context.field);
            set.fail(context, Problem::accepted("UnsupportedValue", message));
        }
        if http.iter().any(|filter| matches!(filter, HttpFilter::Cors(_))) {
            context.ignored(format!("{}.filters: CORS, which belongs to the rule", context.field));
        }
        if !set.cookies.is_empty() {
            context.ignored(format!("{}.filters: matches of an HTTPRouteFilter, which belong to the rule", context.field));
        }
        let resolved = context.resolve(&target);
        let Resolved { cluster, pool, fallback, limits } = match resolved {
            Ok(resolved) => resolved,
            Err(problem) => {
                let failure = Failure(problem.message.as_str().into());
                context.problem(Problem { message: format!("{}: {}", context.field, problem.message), ..problem });
                Resolved { cluster: Err(failure), pool: None, fallback: false, limits: None }
            }
        };
        let is_pool = pool.is_some();
        if is_pool && matches!(context.traffic.load_balancer(), LoadBalancer::RoundRobin | LoadBalancer::Random) {
            context.ignored(format!(
                "{}: loadBalancer, whose part an InferencePool's picker has (ConsistentHash counts)",
                context.field
            ));
        }
        let breaker = context.breaker(pool, u16::try_from(place).unwrap_or(u16::MAX));
        let cluster = set.failure.take().map_or(cluster, Err);
        refs.push((BackendRef { weight, fallback, filters: set.filters.shared(), cluster, breaker, limits }, is_pool));
    };
    match spec {
        RuleSpec::Http(rule) => {
            for (place, it) in rule.backend_refs.iter().enumerate() {
                take(place, it.target(), it.weight, &mut |context| filters::http(context, &it.filters));
            }
        }
        RuleSpec::Grpc(rule) => {
            for (place, it) in rule.backend_refs.iter().enumerate() {
                take(place, it.target(), it.weight, &mut |context| filters::grpc(context, &it.filters));
            }
        }
    }
    context.field = rule_field;
    refs
}

fn set_timeouts(timeouts: &mut Timeouts, own: &HttpRouteTimeouts) {
    if let Some(request) = own.request {
        timeouts.request = request.enabled();
    }
    if let Some(attempt) = own.backend_request {
        timeouts.attempt = attempt.enabled();
    }
}

/// The pause before a retry where the route gives none.
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

/// Retries of an HTTPRoute: refused connections always, statuses as listed.
fn own_retry(context: &mut RuleContext<'_, '_, '_>, spec: &HttpRouteRetry) -> Option<Retry> {
    let statuses = statuses(&spec.codes).unwrap_or_else(|problem| {
        let problem = Problem::accepted("UnsupportedValue", format!("{}.retry.codes: {}", context.field, problem.message));
        context.problem(problem);
        Vec::new()
    });
    let backoff = spec.backoff.map_or(DEFAULT_BACKOFF, |it| it.as_std());
    (spec.attempts > 0).then(|| Retry {
        attempts: spec.attempts,
        on: vec![RetryTrigger::ConnectFailure, RetryTrigger::RefusedStream],
        statuses,
        backoff,
        max_backoff: backoff.saturating_mul(10),
        attempts_per_priority: None,
    })
}
