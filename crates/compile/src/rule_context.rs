//! Account of one rule while it is compiled.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    grants::Referrer,
    index::Index,
    listener::kind_name,
    policies::traffic::Traffic,
    resolver::{Load, Resolved, Resolver},
    route::Route,
    status::Problem,
};
use pailou_api::refs::{BackendObjectReference, GATEWAY_GROUP};
use pailou_snapshot::{BreakerId, BreakerKey, ClusterKey, Name, RouteKind, RouteName};

/// Input and output of compiling a rule.
pub(crate) struct RuleContext<'c, 't, 'a> {
    pub(crate) resolver: &'c mut Resolver<'t, 'a>,
    pub(crate) route: &'c Route<'c>,
    pub(crate) name: RouteName,
    pub(crate) traffic: Arc<Traffic>,
    /// Path of the rule: `spec.rules[0]`.
    pub(crate) field: String,
    pub(crate) findings: &'c mut Findings,
    /// The number of the next mirror's breaker: they count on from the backendRefs'.
    pub(crate) mirrors: u16,
}

/// Problems of a route's rules.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    /// Fields that are not acted on.
    pub(crate) ignored: BTreeSet<String>,
}

impl<'c, 't, 'a> RuleContext<'c, 't, 'a> {
    pub(crate) fn index(&self) -> &'t Index<'a> {
        self.resolver.index
    }

    /// The route's namespace.
    pub(crate) fn namespace(&self) -> &'c str {
        &self.route.meta.namespace
    }

    /// Notes a problem, once.
    pub(crate) fn problem(&mut self, problem: Problem) {
        if !self.findings.problems.contains(&problem) {
            self.findings.problems.push(problem);
        }
    }

    /// Notes a field that is not acted on.
    pub(crate) fn ignored(&mut self, field: String) {
        self.findings.ignored.insert(field);
    }

    /// Resolves a reference to a backend.
    pub(crate) fn resolve(&mut self, to: &BackendObjectReference) -> Result<Resolved, Problem> {
        let load = if self.name.kind == RouteKind::Grpc { Load::Grpc } else { Load::Http };
        self.resolver.resolve(self.referrer(), to, &self.traffic, load)
    }

    /// The route, as one that refers to others.
    fn referrer(&self) -> Referrer<'c> {
        Referrer { group: GATEWAY_GROUP, kind: kind_name(self.name.kind), namespace: self.namespace() }
    }

    /// The endpoints of an authorization server.
    pub(crate) fn authorizer(&mut self, to: &BackendObjectReference, load: Load) -> Result<ClusterKey, Problem> {
        let cluster = self.resolver.authorizer(self.referrer(), to, load)?;
        Ok(self.resolver.held(cluster))
    }

    /// The number of the next mirror's breaker.
    pub(crate) fn next_breaker(&mut self) -> u16 {
        let number = self.mirrors;
        self.mirrors = self.mirrors.saturating_add(1);
        number
    }

    /// The breaker of a backend of this rule: a pool's own, else one for the reference.
    pub(crate) fn breaker(&mut self, pool: Option<Name>, number: u16) -> BreakerId {
        let key = match pool {
            Some(pool) => BreakerKey::Pool(pool),
            None => BreakerKey::Backend { route: self.name.clone(), backend: number },
        };
        self.resolver.breaker(key)
    }
}
