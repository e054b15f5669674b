//! HTTPRoutes and GRPCRoutes: from objects to entries of listeners' route tables, and statuses.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    resources::{
        GrpcRoute, Hostname, HttpRoute, Meta, ObjectKey,
        grpc_route::GrpcRouteRule,
        http_route::HttpRouteRule,
        refs::{GATEWAY_GROUP, ParentReference},
    },
    snapshot::{Failure, HostPattern, RouteKind},
    status::{Condition, ParentStatus, Severity, StatusBody, Statuses},
};

use super::{
    attach::{self, Attachment},
    clusters::Clusters,
    gateway::Gateways,
    index::{Index, name_of},
    listener::kind_name,
    matches::Match,
    policies::{backend::TrafficPolicies, report::RouteGateways, security::SecurityPolicies, targets::TargetKind},
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

/// All routes, the oldest first, whatever their kind.
pub(crate) fn routes<'a>(index: &Index<'a>) -> Vec<Route<'a>> {
    let http = index.http_routes.iter().map(http_route);
    let mut routes: Vec<_> = http.chain(index.grpc_routes.iter().map(grpc_route)).collect();
    routes.sort_by(|a, b| a.meta.age_order().cmp(&b.meta.age_order()));
    routes
}

impl<'a> Route<'a> {
    /// A route for any host, without rules for requests.
    pub(super) fn head(kind: RouteKind, meta: &'a Meta, parents: &'a [ParentReference], unsupported: Vec<&'static str>) -> Self {
        Self { kind, meta, parents, hostnames: Vec::new(), rules: Vec::new(), unsupported }
    }
}

fn http_route(route: &HttpRoute) -> Route<'_> {
    Route {
        kind: RouteKind::Http,
        meta: &route.meta,
        parents: &route.spec.parent_refs,
        hostnames: patterns(&route.spec.hostnames),
        rules: route.spec.rules.iter().map(RuleSpec::Http).collect(),
        unsupported: route.spec.unsupported(),
    }
}

fn grpc_route(route: &GrpcRoute) -> Route<'_> {
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

/// What compiling routes needs and fills.
pub(crate) struct RouteCompiler<'c, 'a> {
    pub(crate) gateways: &'c mut Gateways<'a>,
    pub(crate) clusters: &'c mut Clusters<'a>,
    pub(crate) traffic: &'c mut TrafficPolicies<'a>,
    pub(crate) security: &'c SecurityPolicies<'a>,
    pub(crate) attached: RouteGateways,
    pub(crate) statuses: &'c mut Statuses,
}

/// What a listener gives to routes, by place: rules are compiled once for each.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Given {
    /// A BackendTrafficPolicy.
    pub(super) traffic: Option<usize>,
    /// A SecurityPolicy.
    pub(super) security: Option<usize>,
    /// A Gateway that shows a certificate to backends.
    identity: Option<usize>,
}

impl<'a> RouteCompiler<'_, 'a> {
    /// Compiles one route. Routes must come the oldest first.
    pub(crate) fn compile(&mut self, route: &Route<'a>) {
        let attachments = attach::attach(self.clusters.index, self.gateways, route);
        let key = ObjectKey::new(GATEWAY_GROUP, kind_name(route.kind), &route.meta.namespace, &route.meta.name);
        for message in attach::notes(self.clusters.index, self.gateways, route) {
            self.statuses.note(key.clone(), Severity::Error, message);
        }
        if attachments.is_empty() {
            return;
        }
        let mut findings = Findings::default();
        let places = route.rules.iter().enumerate();
        let matches: Vec<_> = places.map(|(place, rule)| rules::rule_matches(place, *rule, &mut findings.problems)).collect();
        let listeners: Vec<_> =
            attachments.iter().filter_map(|it| it.listeners.as_ref().ok().map(|list| (it.gateway, list))).collect();
        let mut variants: BTreeMap<Given, Vec<CompiledRule>> = BTreeMap::new();
        for (gateway, places) in &listeners {
            for place in *places {
                let given = self.given(*gateway, *place);
                variants.entry(given).or_insert_with(|| self.compile_rules(route, given, &mut findings));
            }
        }
        if variants.is_empty() {
            // Not served, and yet its references are to be judged.
            self.clusters.dry = true;
            self.compile_rules(route, Given::default(), &mut findings);
            self.clusters.dry = false;
        }
        self.insert(route, &attachments, &matches, &variants, &findings);
        self.report(key, route, attachments, &findings);
    }

    /// What a listener of a Gateway gives to routes.
    pub(super) fn given(&self, gateway: usize, listener: usize) -> Given {
        let state = &self.gateways.list[gateway];
        let name = &state.listeners[listener].name;
        Given {
            traffic: self.traffic.of_listener(name),
            security: self.security.of_listener(name),
            identity: state.identity.is_some().then_some(gateway),
        }
    }

    fn compile_rules(&mut self, route: &Route<'a>, given: Given, findings: &mut Findings) -> Vec<CompiledRule> {
        self.identify(given);
        compile_rules(self.clusters, self.traffic, self.security, route, given, findings)
    }

    /// Has connections to backends show the certificate of the Gateway that is given.
    pub(super) fn identify(&mut self, given: Given) {
        self.clusters.identity = given.identity.and_then(|gateway| self.gateways.list[gateway].identity.clone());
    }

    fn insert(
        &mut self,
        route: &Route<'a>,
        attachments: &[Attachment<'a>],
        matches: &[Vec<Match>],
        variants: &BTreeMap<Given, Vec<CompiledRule>>,
        findings: &Findings,
    ) {
        let accepted = !findings.problems.iter().any(|problem| problem.condition == "Accepted");
        let mut done: Vec<(usize, usize)> = Vec::new();
        let mut gateways = Vec::new();
        for attachment in attachments {
            let Ok(places) = &attachment.listeners else { continue };
            gateways.push(attachment.gateway);
            for place in places {
                // Two parentRefs may lead to the same listener.
                if done.contains(&(attachment.gateway, *place)) {
                    continue;
                }
                done.push((attachment.gateway, *place));
                let rules = variants.get(&self.given(attachment.gateway, *place));
                let listener = &mut self.gateways.list[attachment.gateway].listeners[*place];
                listener.attached += u32::from(accepted);
                let Some(rules) = rules else { continue };
                for host in hosts(route, listener.hostname.as_ref()) {
                    for (matches, rule) in matches.iter().zip(rules) {
                        listener.routes.insert(host, entries(matches, rule));
                    }
                }
            }
        }
        gateways.sort_unstable();
        gateways.dedup();
        self.clusters.reached(&gateways);
        self.attached.insert((TargetKind::of_route(route.kind), name_of(route.meta)), gateways);
    }

    pub(super) fn report(&mut self, key: ObjectKey, route: &Route<'_>, attachments: Vec<Attachment<'_>>, findings: &Findings) {
        let generation = route.meta.generation;
        let parents = attachments.into_iter().map(|attachment| {
            let accepted = match attachment.listeners {
                Ok(_) => Condition::summary("Accepted", &findings.problems, generation),
                Err(problem) => Condition::summary("Accepted", &[problem], generation),
            };
            let mut conditions = vec![accepted, Condition::summary("ResolvedRefs", &findings.problems, generation)];
            conditions.extend(unsupported(route, findings));
            let controller_name = self.gateways.list[attachment.gateway].controller.to_owned();
            ParentStatus { parent_ref: attachment.parent.clone(), controller_name, conditions }
        });
        let parents = parents.collect();
        self.statuses.set(key, StatusBody::Route { parents });
    }
}

fn compile_rules<'a>(
    clusters: &mut Clusters<'a>,
    traffic: &mut TrafficPolicies<'_>,
    security: &SecurityPolicies<'_>,
    route: &Route<'a>,
    given: Given,
    findings: &mut Findings,
) -> Vec<CompiledRule> {
    let rules = route.rules.iter().enumerate().map(|(place, spec)| {
        let name = rules::rule_name(route, place, spec.name());
        let (settings, failure) = match traffic.effective(given.traffic, &name) {
            Ok(settings) => (settings, None),
            Err(problem) => (Arc::default(), Some(Failure(format!("BackendTrafficPolicy: {}", problem.message).into()))),
        };
        let secured = security.effective(given.security, &name);
        let backends = match spec {
            RuleSpec::Http(rule) => rule.backend_refs.len(),
            RuleSpec::Grpc(rule) => rule.backend_refs.len(),
        };
        let mut context = RuleContext {
            clusters: &mut *clusters,
            route,
            name,
            traffic: settings,
            field: format!("spec.rules[{place}]"),
            findings: &mut *findings,
            mirrors: u16::try_from(backends).unwrap_or(u16::MAX),
        };
        rules::rule(&mut context, *spec, failure, secured)
    });
    rules.collect()
}

/// The host names under which a route's rules stand on a listener: its own, not their intersections, for it is they that are
/// compared for how specific they are.
pub(super) fn hosts<'r>(route: &'r Route<'_>, listener: Option<&HostPattern>) -> Vec<Option<&'r HostPattern>> {
    if route.hostnames.is_empty() {
        return vec![None];
    }
    let meets = |host: &&HostPattern| listener.is_none_or(|listener| listener.intersection(host).is_some());
    route.hostnames.iter().filter(meets).map(Some).collect()
}

fn entries(matches: &[Match], compiled: &CompiledRule) -> Vec<crate::snapshot::RouteMatch> {
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
