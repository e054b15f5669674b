//! HTTPRoutes and GRPCRoutes: from objects to entries of listeners' route tables, and statuses.

use std::collections::{BTreeMap, BTreeSet};

use crate::status::{Condition, Note, ParentStatus, Severity, Status, StatusBody};
use pailou_api::{
    GrpcRoute, Hostname, HttpRoute, Meta, grpc_route::GrpcRouteRule, http_route::HttpRouteRule, refs::ParentReference,
};
use pailou_snapshot::{HostPattern, RouteKind, RouteTable};

use super::{
    attach::{self, Attachment},
    connections,
    gateway::Gateways,
    ids::{GatewayId, ListenerId},
    matches::Match,
    order::AnyRoute,
    output::{Effect, Output, RouteListener},
    policies::effective::{ListenerPolicies, RoutePolicies, RulePolicies},
    resolver::Resolver,
    rules::{self, CompiledRule, Findings, RuleContext},
    warnings::PARTIALLY_SUPPORTED,
};

/// A route: what all kinds have, and the rules of the kinds for requests.
pub(crate) struct Route<'a> {
    pub(crate) kind: RouteKind,
    pub(crate) meta: &'a Meta,
    pub(crate) parents: &'a [ParentReference],
    pub(crate) hostnames: Vec<HostPattern>,
    pub(super) rules: Vec<RuleSpec<'a>>,
    pub(super) unsupported: Vec<&'static str>,
}

/// A rule of either kind.
#[derive(Clone, Copy)]
pub(crate) enum RuleSpec<'a> {
    Http(&'a HttpRouteRule),
    Grpc(&'a GrpcRouteRule),
}

impl RuleSpec<'_> {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Http(rule) => rule.name.as_deref(),
            Self::Grpc(rule) => rule.name.as_deref(),
        }
    }

    fn has_session(&self) -> bool {
        match self {
            Self::Http(rule) => rule.session_persistence.is_some(),
            Self::Grpc(rule) => rule.session_persistence.is_some(),
        }
    }
}

impl<'a> Route<'a> {
    /// A route for any host, without rules for requests.
    pub(super) fn head(kind: RouteKind, meta: &'a Meta, parents: &'a [ParentReference], unsupported: Vec<&'static str>) -> Self {
        Self { kind, meta, parents, hostnames: Vec::new(), rules: Vec::new(), unsupported }
    }
}

pub(crate) fn http_route(route: &HttpRoute) -> Route<'_> {
    Route {
        kind: RouteKind::Http,
        meta: &route.meta,
        parents: &route.spec.parent_refs,
        hostnames: patterns(&route.spec.hostnames),
        rules: route.spec.rules.iter().map(RuleSpec::Http).collect(),
        unsupported: route.spec.unsupported(),
    }
}

pub(crate) fn grpc_route(route: &GrpcRoute) -> Route<'_> {
    Route {
        kind: RouteKind::Grpc,
        meta: &route.meta,
        parents: &route.spec.parent_refs,
        hostnames: patterns(&route.spec.hostnames),
        rules: route.spec.rules.iter().map(RuleSpec::Grpc).collect(),
        unsupported: route.spec.unsupported(),
    }
}

pub(super) fn patterns(hostnames: &[Hostname]) -> Vec<HostPattern> {
    hostnames.iter().map(|name| HostPattern::new(name)).collect()
}

/// Compiles one route.
pub(crate) struct RouteCompiler<'t, 'a> {
    pub(crate) gateways: &'t Gateways<'a>,
    pub(crate) policies: RoutePolicies<'t, 'a>,
    pub(crate) resolver: Resolver<'t, 'a>,
}

/// Parts that a listener gives to routes, by place: the compiler compiles rules once for each.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Given {
    pub(super) policies: ListenerPolicies,
    /// A Gateway that shows a certificate to backends.
    identity: Option<GatewayId>,
}

impl RouteCompiler<'_, '_> {
    /// Compiles one route. Routes must come in their order.
    pub(crate) fn compile(mut self, route: &AnyRoute) -> (Output, Status) {
        let (mut output, status) = match route {
            AnyRoute::Http(object) => self.compile_requests(route, &http_route(object)),
            AnyRoute::Grpc(object) => self.compile_requests(route, &grpc_route(object)),
            AnyRoute::Tls(object) => self.compile_connections(route, &connections::tls_route(object)),
            AnyRoute::Tcp(object) => self.compile_connections(route, &connections::tcp_route(object)),
            AnyRoute::Udp(object) => self.compile_connections(route, &connections::udp_route(object)),
        };
        let usage = self.resolver.finish();
        for gateway in output.gateways.iter().copied() {
            output.effects.extend(usage.policies.iter().map(|policy| Effect::TlsPolicy { policy: *policy, gateway }));
            output.effects.extend(usage.pools.iter().map(|pool| Effect::Pool { pool: *pool, gateway }));
        }
        output.used = usage.ids;
        output.effects.extend(self.policies.effects);
        output.shrink();
        (output, status)
    }

    fn compile_requests(&mut self, object: &AnyRoute, route: &Route<'_>) -> (Output, Status) {
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
        for listener in listeners_of(&attachments) {
            let given = self.given(listener);
            let form = *forms.entry(given).or_insert_with(|| {
                let rules = self.compile_rules(route, given, &mut findings);
                let all = matches.iter().zip(&rules).flat_map(|(matches, rule)| entries(matches, rule));
                output.entries.push(RouteTable::sorted(all.collect()));
                output.entries.len() - 1
            });
            output.places.push(RouteListener { listener, form });
        }
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

    /// Notes on a route's parentRefs that concern no Gateway here.
    pub(super) fn noted(&self, route: &Route<'_>) -> Status {
        let notes = attach::notes(self.resolver.index, self.gateways, route).into_iter();
        let notes = notes.map(|message| Note { severity: Severity::Error, message }).collect();
        Status { body: StatusBody::None, notes }
    }

    /// Parts that a listener of a Gateway gives to routes.
    pub(super) fn given(&self, listener: ListenerId) -> Given {
        let gateway = listener.gateway;
        let name = &self.gateways[listener].name;
        Given { policies: self.policies.of_listener(name), identity: self.gateways[gateway].identity.is_some().then_some(gateway) }
    }

    fn compile_rules(&mut self, route: &Route<'_>, given: Given, findings: &mut Findings) -> Vec<CompiledRule> {
        self.identify(given);
        compile_rules(&mut self.resolver, &mut self.policies, route, given, findings)
    }

    /// Has connections to backends show the certificate of the Gateway that is given.
    pub(super) fn identify(&mut self, given: Given) {
        self.resolver.identity = given.identity.and_then(|gateway| self.gateways[gateway].identity.clone());
    }

    pub(super) fn parents(&self, route: &Route<'_>, attachments: Vec<Attachment<'_>>, findings: &Findings) -> StatusBody {
        let generation = route.meta.generation;
        let parents = attachments.into_iter().map(|attachment| {
            let accepted = match attachment.listeners {
                Ok(_) => Condition::summary("Accepted", &findings.problems, generation),
                Err(problem) => Condition::summary("Accepted", &[problem], generation),
            };
            let mut conditions = vec![accepted, Condition::summary("ResolvedRefs", &findings.problems, generation)];
            conditions.extend(unsupported(route, findings));
            let controller_name = self.gateways[attachment.gateway].controller.to_owned();
            ParentStatus { parent_ref: attachment.parent.clone(), controller_name, conditions }
        });
        StatusBody::Route { parents: parents.collect() }
    }
}

/// The listeners that a route is on, each once: two parentRefs may lead to the same one.
pub(super) fn listeners_of(attachments: &[Attachment<'_>]) -> Vec<ListenerId> {
    let mut all = Vec::new();
    for attachment in attachments {
        for listener in attachment.listeners.iter().flatten() {
            if !all.contains(listener) {
                all.push(*listener);
            }
        }
    }
    all
}

/// The Gateways that a route is attached to, each once.
pub(super) fn gateways_of(attachments: &[Attachment<'_>]) -> Vec<GatewayId> {
    let all: BTreeSet<GatewayId> = attachments.iter().filter(|it| it.listeners.is_ok()).map(|it| it.gateway).collect();
    all.into_iter().collect()
}

fn compile_rules(
    resolver: &mut Resolver<'_, '_>,
    policies: &mut RoutePolicies<'_, '_>,
    route: &Route<'_>,
    given: Given,
    findings: &mut Findings,
) -> Vec<CompiledRule> {
    let rules = route.rules.iter().enumerate().map(|(place, spec)| {
        let name = rules::rule_name(route, place, spec.name());
        let RulePolicies { traffic, security, failure } = policies.of_rule(resolver.index, given.policies, &name);
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
        rules::rule(&mut context, *spec, failure, security)
    });
    rules.collect()
}

/// The host names under which a route's rules stand on a listener: its own, not their intersections, for it is they that are
/// compared for how specific they are.
pub(super) fn hosts<'r>(hostnames: &'r [HostPattern], listener: Option<&HostPattern>) -> Vec<Option<&'r HostPattern>> {
    if hostnames.is_empty() {
        return vec![None];
    }
    let meets = |host: &&HostPattern| listener.is_none_or(|listener| listener.intersection(host).is_some());
    hostnames.iter().filter(meets).map(Some).collect()
}

fn entries(matches: &[Match], compiled: &CompiledRule) -> Vec<pailou_snapshot::RouteMatch> {
    let plain = matches.iter();
    if compiled.cookies.is_empty() {
        return plain.map(|it| it.entry(&compiled.rule)).collect();
    }
    let with_cookies = plain.flat_map(|it| compiled.cookies.iter().map(|cookies| it.with_cookies(cookies)));
    with_cookies.map(|it| it.entry(&compiled.rule)).collect()
}

fn unsupported(route: &Route<'_>, findings: &Findings) -> Option<Condition> {
    let own = route.unsupported.iter().map(|path| format!("spec.{path}"));
    let sessions = route.rules.iter().enumerate().filter(|(_, rule)| rule.has_session());
    let sessions = sessions.map(|(place, _)| format!("spec.rules[{place}].sessionPersistence"));
    let paths: Vec<_> = own.chain(sessions).chain(findings.ignored.iter().cloned()).collect();
    (!paths.is_empty()).then(|| {
        let message = format!("the rest is served, but not acted on: {}", paths.join(", "));
        Condition::holds(PARTIALLY_SUPPORTED, "UnsupportedFields", message, route.meta.generation)
    })
}
