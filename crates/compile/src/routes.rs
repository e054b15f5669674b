//! HTTPRoutes and GRPCRoutes: from objects to entries of listeners' route tables, and statuses.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use http::HeaderName;

use crate::{
    any_route::AnyRoute,
    attach,
    matches::Match,
    oidc::{self, CookieSettings},
    output::{Effect, Output, RouteCookies, RouteListener},
    policies::effective::{RoutePolicies, RulePolicies},
    resolver::Resolver,
    route::{Route, RuleSpec, rule_name},
    route_compiler::{Given, RouteCompiler, gateways_of, listeners_of},
    rule_context::{Findings, RuleContext},
    rules::{self, CompiledRule},
    status::Status,
};
use pailou_snapshot::{HttpFilter, RouteTable, Rule};

impl RouteCompiler<'_, '_> {
    pub(crate) fn compile_requests(&mut self, object: &AnyRoute, route: &Route<'_>) -> (Output, Status) {
        let attachments = attach::attach(self.resolver.index, self.gateways, route);
        let mut output = Output::nothing(object.clone());
        let mut status = self.noted(route);
        if attachments.is_empty() {
            return (output, status);
        }
        let mut findings = Findings::default();
        let places = route.rules.iter().enumerate();
        let matches: Vec<_> = places.map(|(place, rule)| rules::rule_matches(place, *rule, &mut findings.problems)).collect();
        let mut forms: BTreeMap<Given, usize> = BTreeMap::new();
        // By form.
        let mut identities: Vec<Vec<HeaderName>> = Vec::new();
        let mut cookies: Vec<HashSet<CookieSettings>> = Vec::new();
        let mut sessions: HashSet<RouteCookies> = HashSet::new();
        for listener in listeners_of(&attachments) {
            let given = self.given(listener);
            let form = *forms.entry(given).or_insert_with(|| {
                let mut rules = self.compile_rules(route, given, &mut findings);
                let specs = matches.iter().zip(route.rules.iter());
                let all = specs.zip(&mut rules).flat_map(|((matches, spec), rule)| entries(matches, *spec, rule));
                output.entries.push(RouteTable::sorted(all.collect()));
                identities.push(std::mem::take(&mut self.policies.merged_identities));
                cookies.push(std::mem::take(&mut self.resolver.cookies));
                output.entries.len() - 1
            });
            let effect = |header: &HeaderName| Effect::Identity { listener, header: header.clone() };
            output.effects.extend(identities[form].iter().map(effect));
            let hostname = self.gateways[listener].hostname.as_ref();
            sessions.extend(cookies[form].iter().map(|settings| oidc::route_cookies(settings, route, hostname)));
            output.places.push(RouteListener { listener, form });
        }
        output.effects.extend(sessions.into_iter().map(|cookies| Effect::Sessions(cookies.into())));
        if forms.is_empty() {
            // Not served, and yet its references are to be judged.
            self.resolver.is_dry = true;
            self.compile_rules(route, Given::default(), &mut findings);
        }
        if !findings.problems.iter().any(|problem| problem.condition == "Accepted") {
            output.count();
        }
        output.gateways = gateways_of(&attachments);
        status.body = self.parents(route, attachments, &findings);
        (output, status)
    }

    fn compile_rules(&mut self, route: &Route<'_>, given: Given, findings: &mut Findings) -> Vec<CompiledRule> {
        self.identify(given);
        compile_rules(&mut self.resolver, &mut self.policies, route, given, findings)
    }
}

fn compile_rules(
    resolver: &mut Resolver<'_, '_>,
    policies: &mut RoutePolicies<'_, '_>,
    route: &Route<'_>,
    given: Given,
    findings: &mut Findings,
) -> Vec<CompiledRule> {
    let rules = route.rules.iter().enumerate().map(|(place, spec)| {
        let name = rule_name(route, place, spec.name());
        let RulePolicies { traffic, security, processors, failure } = policies.of_rule(resolver.index, given.policies, &name);
        let backends = match spec {
            RuleSpec::Http(rule) => rule.backend_refs.len(),
            RuleSpec::Grpc(rule) => rule.backend_refs.len(),
        };
        let mut context = RuleContext {
            resolver: &mut *resolver,
            route,
            name,
            traffic,
            field: format!("spec.rules[{place}]"),
            findings: &mut *findings,
            mirrors: u16::try_from(backends).unwrap_or(u16::MAX),
        };
        rules::rule(&mut context, *spec, failure, (security, &processors))
    });
    rules.collect()
}

fn entries(matches: &[Match], spec: RuleSpec<'_>, compiled: &mut CompiledRule) -> Vec<pailou_snapshot::RouteMatch> {
    let with_cookies: Vec<Match>;
    let all = match compiled.cookies.is_empty() {
        true => matches,
        false => {
            let each = matches.iter().flat_map(|it| compiled.cookies.iter().map(|cookies| it.with_cookies(cookies)));
            with_cookies = each.collect();
            &with_cookies
        }
    };
    let names_none = matches!(spec, RuleSpec::Grpc(rule) if rule.matches.is_empty()) && compiled.cookies.is_empty();
    if !names_none && has_global_limits(&compiled.rule) {
        Arc::make_mut(&mut compiled.rule).numbered_matches = all.iter().map(Match::numbered).collect();
    }
    all.iter().map(|it| it.entry(&compiled.rule)).collect()
}

fn has_global_limits(rule: &Rule) -> bool {
    rule.filters.http.iter().any(|filter| matches!(filter, HttpFilter::RateLimit(limits) if !limits.is_local))
}
