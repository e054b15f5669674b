//! Compiling one route: its listeners, its policies, and what is said to its parents.

use std::collections::BTreeSet;

use crate::{
    attach::{self, Attachment},
    gateway::Gateways,
    ids::{GatewayId, ListenerId},
    policies::effective::{ListenerPolicies, RoutePolicies},
    resolver::Resolver,
    route::Route,
    rule_context::Findings,
    status::{Condition, Note, ParentStatus, Severity, Status, StatusBody},
    warnings::PARTIALLY_SUPPORTED,
};

/// Compiles one route.
pub(crate) struct RouteCompiler<'t, 'a> {
    pub(crate) gateways: &'t Gateways<'a>,
    pub(crate) policies: RoutePolicies<'t, 'a>,
    pub(crate) resolver: Resolver<'t, 'a>,
}

/// Parts that a listener gives to routes, by place: the compiler compiles rules once for each.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Given {
    pub(crate) policies: ListenerPolicies,
    /// A Gateway that shows a certificate to backends.
    pub(crate) identity: Option<GatewayId>,
    /// Whether pools are served without the pickers that they name, where those do not exist.
    pub(crate) replaces_pickers: bool,
}

impl RouteCompiler<'_, '_> {
    /// Notes on a route's parentRefs that concern no Gateway here.
    pub(crate) fn noted(&self, route: &Route<'_>) -> Status {
        let notes = attach::notes(self.resolver.index, self.gateways, route).into_iter();
        let notes = notes.map(|message| Note { severity: Severity::Error, message }).collect();
        Status { body: StatusBody::None, notes }
    }

    /// Parts that a listener of a Gateway gives to routes.
    pub(crate) fn given(&self, listener: ListenerId) -> Given {
        let id = listener.gateway;
        let gateway = &self.gateways[id];
        Given {
            policies: self.policies.of_listener(&self.gateways[listener].name),
            identity: gateway.identity.is_some().then_some(id),
            replaces_pickers: gateway.replaces_pickers(),
        }
    }

    /// Has backends be resolved as for the Gateway that is given.
    pub(crate) fn identify(&mut self, given: Given) {
        self.resolver.replaces_pickers = given.replaces_pickers;
        self.resolver.identity = given.identity.and_then(|gateway| self.gateways[gateway].identity.clone());
    }

    pub(crate) fn parents(&self, route: &Route<'_>, attachments: Vec<Attachment<'_>>, findings: &Findings) -> StatusBody {
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
pub(crate) fn listeners_of(attachments: &[Attachment<'_>]) -> Vec<ListenerId> {
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
pub(crate) fn gateways_of(attachments: &[Attachment<'_>]) -> Vec<GatewayId> {
    let all: BTreeSet<GatewayId> = attachments.iter().filter(|it| it.listeners.is_ok()).map(|it| it.gateway).collect();
    all.into_iter().collect()
}

fn unsupported(route: &Route<'_>, findings: &Findings) -> Option<Condition> {
    let own = route.unsupported.iter().map(|path| format!("spec.{path}"));
    let paths: Vec<_> = own.chain(findings.ignored.iter().cloned()).collect();
    (!paths.is_empty()).then(|| {
        let message = format!("the rest is served, but not acted on: {}", paths.join(", "));
        Condition::holds(PARTIALLY_SUPPORTED, "UnsupportedFields", message, route.meta.generation)
    })
}
