//! Targets of policies, and the winner among several policies of one target.

use std::{collections::HashMap, fmt, sync::Arc};

use pailou_api::{
    Kind, LabelSelector, Meta, Resource,
    envoy::ENVOY_GROUP,
    l4_route::ConnectionRule,
    refs::{FromNamespaces, GATEWAY_GROUP, PolicyTargetReference, TargetSelector},
};
use pailou_snapshot::{ListenerName, Name, RouteKind, RouteName};

use super::super::grants::{Referent, Referrer};
use super::super::ids::{ById, PolicyId};
use super::super::index::{Index, TrackedTable, name_of};
use super::super::wrong_kind::{self, Named};

/// Kinds that policies can target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TargetKind {
    Gateway,
    ListenerSet,
    HttpRoute,
    GrpcRoute,
    TlsRoute,
    TcpRoute,
    UdpRoute,
}

impl TargetKind {
    const ALL: [Self; 7] =
        [Self::Gateway, Self::ListenerSet, Self::HttpRoute, Self::GrpcRoute, Self::TlsRoute, Self::TcpRoute, Self::UdpRoute];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::TlsRoute => "TLSRoute",
            Self::TcpRoute => "TCPRoute",
            Self::UdpRoute => "UDPRoute",
        }
    }

    /// The kind of route that it is, if it is one.
    pub(crate) fn route(self) -> Option<RouteKind> {
        match self {
            Self::Gateway | Self::ListenerSet => None,
            Self::HttpRoute => Some(RouteKind::Http),
            Self::GrpcRoute => Some(RouteKind::Grpc),
            Self::TlsRoute => Some(RouteKind::Tls),
            Self::TcpRoute => Some(RouteKind::Tcp),
            Self::UdpRoute => Some(RouteKind::Udp),
        }
    }

    pub(crate) fn of_route(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Http => Self::HttpRoute,
            RouteKind::Grpc => Self::GrpcRoute,
            RouteKind::Tls => Self::TlsRoute,
            RouteKind::Tcp => Self::TcpRoute,
            RouteKind::Udp => Self::UdpRoute,
        }
    }
}

/// An object, or a section of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Target {
    pub(crate) kind: TargetKind,
    pub(crate) name: Name,
    pub(crate) section: Option<Arc<str>>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)?;
        self.section.as_ref().map_or(Ok(()), |section| write!(f, " section {section}"))
    }
}

/// Outcome of one target of one policy.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) target: Target,
    pub(crate) outcome: ClaimOutcome,
}

#[derive(Clone, Debug)]
pub(crate) enum ClaimOutcome {
    /// The policy applies.
    Won,
    /// An older policy applies.
    Lost(Name),
    /// There is no such object.
    NoObject,
    /// The object has no such section.
    NoSection,
}

/// The targets of all policies of a kind. Policies are in their order, the oldest first.
#[derive(Default)]
pub(crate) struct Claims {
    pub(crate) winners: HashMap<Target, PolicyId>,
    /// By policy.
    pub(crate) claims: ById<PolicyId, Vec<Claim>>,
    /// By policy: targets of kinds that it cannot have.
    pub(crate) foreign: ById<PolicyId, Vec<String>>,
}

/// A policy's targets, as it states them.
pub(crate) struct DeclaredTargets<'a> {
    pub(crate) kind: &'a str,
    pub(crate) meta: &'a Meta,
    pub(crate) refs: Vec<PolicyTargetReference>,
    pub(crate) selectors: &'a [TargetSelector],
}

impl Claims {
    /// Distributes the targets: the oldest policy wins each.
    pub(crate) fn new<'a>(
        index: &Index<'_>,
        kinds: &[TargetKind],
        policies: impl IntoIterator<Item = DeclaredTargets<'a>>,
    ) -> Self {
        let mut all = Self::default();
        let mut names = ById::default();
        for policy in policies {
            let id = names.push(name_of(policy.meta));
            let (targets, foreign) = targets(index, kinds, &policy);
            let claims = targets.into_iter().map(|target| {
                let outcome = match exists(index, &target) {
                    Existence::Whole => match *all.winners.entry(target.clone()).or_insert(id) {
                        winner if winner == id => ClaimOutcome::Won,
                        winner => ClaimOutcome::Lost(names[winner].clone()),
                    },
                    Existence::NoObject => ClaimOutcome::NoObject,
                    Existence::NoSection => ClaimOutcome::NoSection,
                };
                Claim { target, outcome }
            });
            all.claims.push(claims.collect());
            all.foreign.push(foreign);
        }
        all
    }

    /// The policy that applies to just this.
    pub(crate) fn at(&self, kind: TargetKind, name: &Name, section: Option<&Arc<str>>) -> Option<PolicyId> {
        self.winners.get(&Target { kind, name: name.clone(), section: section.cloned() }).copied()
    }

    /// The policy that applies to a listener: its own, else its ListenerSet's, else its Gateway's.
    pub(crate) fn of_listener(&self, listener: &ListenerName) -> Option<PolicyId> {
        if self.winners.is_empty() {
            return None;
        }
        let own = match &listener.set {
            Some(set) => {
                let section = self.at(TargetKind::ListenerSet, set, Some(&listener.section));
                section.or_else(|| self.at(TargetKind::ListenerSet, set, None))
            }
            None => self.at(TargetKind::Gateway, &listener.gateway, Some(&listener.section)),
        };
        own.or_else(|| self.at(TargetKind::Gateway, &listener.gateway, None))
    }

    /// The policy that applies to a rule by itself or by its route.
    pub(crate) fn of_rule(&self, rule: &RouteName) -> Option<PolicyId> {
        if self.winners.is_empty() {
            return None;
        }
        let kind = TargetKind::of_route(rule.kind);
        let own = rule.rule_name.as_ref().and_then(|name| self.at(kind, &rule.name, Some(name)));
        own.or_else(|| self.at(kind, &rule.name, None))
    }
}

pub(crate) fn targets(index: &Index<'_>, kinds: &[TargetKind], policy: &DeclaredTargets<'_>) -> (Vec<Target>, Vec<String>) {
    let namespace = policy.meta.namespace.as_str();
    let kind_of = |group: &str, kind: &str| kinds.iter().copied().find(|it| group == GATEWAY_GROUP && kind == it.name());
    let (mut targets, mut foreign) = (Vec::new(), Vec::new());
    for reference in &policy.refs {
        match kind_of(&reference.group, &reference.kind) {
            Some(kind) => targets.push(Target {
                kind,
                name: Name::new(namespace, &reference.name),
                section: reference.section_name.as_deref().map(Into::into),
            }),
            None => {
                let named = Named { group: &reference.group, kind: &reference.kind, name: &reference.name };
                foreign.push(wrong_kind::message(named, &known(kinds)));
            }
        }
    }
    for selector in policy.selectors {
        match kind_of(&selector.group, &selector.kind) {
            Some(kind) => targets.extend(selected(index, kind, policy, selector)),
            None => {
                let named = Named { group: &selector.group, kind: &selector.kind, name: "by selector" };
                foreign.push(wrong_kind::message(named, &known(kinds)));
            }
        }
    }
    targets.sort();
    targets.dedup();
    (targets, foreign)
}

/// The kinds of objects that targets of these kinds are.
fn known(kinds: &[TargetKind]) -> Vec<Kind> {
    kinds.iter().filter_map(|kind| Kind::find(GATEWAY_GROUP, kind.name())).collect()
}

/// The objects that a selector chooses. Those of other namespaces need a ReferenceGrant, as in Envoy Gateway.
fn selected(index: &Index<'_>, kind: TargetKind, policy: &DeclaredTargets<'_>, selector: &TargetSelector) -> Vec<Target> {
    let selection = Selection { index, kind, policy, selector, labels: selector.selector() };
    let names = match kind {
        TargetKind::Gateway => selection.of(&index.gateways),
        TargetKind::ListenerSet => selection.of(&index.listener_sets),
        TargetKind::HttpRoute => selection.of(&index.http_routes),
        TargetKind::GrpcRoute => selection.of(&index.grpc_routes),
        TargetKind::TlsRoute => selection.of(&index.tls_routes),
        TargetKind::TcpRoute => selection.of(&index.tcp_routes),
        TargetKind::UdpRoute => selection.of(&index.udp_routes),
    };
    names.into_iter().map(|name| Target { kind, name, section: None }).collect()
}

struct Selection<'s, 'a> {
    index: &'s Index<'a>,
    kind: TargetKind,
    policy: &'s DeclaredTargets<'s>,
    selector: &'s TargetSelector,
    labels: LabelSelector,
}

impl Selection<'_, '_> {
    fn of<S>(&self, table: &TrackedTable<'_, Resource<S>>) -> Vec<Name> {
        table.iter().filter(|object| self.has(&object.meta)).map(|object| name_of(&object.meta)).collect()
    }

    fn has(&self, object: &Meta) -> bool {
        let own = self.policy.meta.namespace.as_str();
        let namespace = object.namespace.as_str();
        if !self.labels.matches(&object.labels) || !self.has_namespace(namespace) {
            return false;
        }
        let from = Referrer { group: ENVOY_GROUP, kind: self.policy.kind, namespace: own };
        let to = Referent { group: GATEWAY_GROUP, kind: self.kind.name(), namespace, name: &object.name };
        namespace == own || self.index.is_granted(from, to)
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        let is_own = namespace == self.policy.meta.namespace;
        let Some(namespaces) = &self.selector.namespaces else { return is_own };
        match namespaces.from {
            FromNamespaces::Same => is_own,
            FromNamespaces::All => true,
            FromNamespaces::Selector => {
                let labels = self.index.namespace_labels(namespace);
                namespaces.selector.as_ref().is_some_and(|selector| selector.matches(&labels))
            }
            FromNamespaces::None => false,
        }
    }
}

enum Existence {
    Whole,
    NoObject,
    NoSection,
}

fn exists(index: &Index<'_>, target: &Target) -> Existence {
    let (namespace, name) = (&*target.name.namespace, &*target.name.name);
    let sections: Option<Vec<&str>> = match target.kind {
        TargetKind::Gateway => {
            index.gateways.get(namespace, name).map(|it| it.spec.listeners.iter().map(|listener| &*listener.name).collect())
        }
        TargetKind::ListenerSet => {
            index.listener_sets.get(namespace, name).map(|it| it.spec.listeners.iter().map(|listener| &*listener.name).collect())
        }
        TargetKind::HttpRoute => {
            index.http_routes.get(namespace, name).map(|it| it.spec.rules.iter().filter_map(|rule| rule.name.as_deref()).collect())
        }
        TargetKind::GrpcRoute => {
            index.grpc_routes.get(namespace, name).map(|it| it.spec.rules.iter().filter_map(|rule| rule.name.as_deref()).collect())
        }
        TargetKind::TlsRoute => index.tls_routes.get(namespace, name).map(|it| rule_names(&it.spec.rules)),
        TargetKind::TcpRoute => index.tcp_routes.get(namespace, name).map(|it| rule_names(&it.spec.rules)),
        TargetKind::UdpRoute => index.udp_routes.get(namespace, name).map(|it| rule_names(&it.spec.rules)),
    };
    match (sections, &target.section) {
        (None, _) => Existence::NoObject,
        (Some(sections), Some(section)) if !sections.contains(&&**section) => Existence::NoSection,
        _ => Existence::Whole,
    }
}

fn rule_names(rules: &[ConnectionRule]) -> Vec<&str> {
    rules.iter().filter_map(|rule| rule.name.as_deref()).collect()
}

impl TargetKind {
    /// Kinds that BackendTrafficPolicy and SecurityPolicy can target.
    pub(crate) const ROUTING: &'static [Self] = &Self::ALL;
    /// Kinds that ClientTrafficPolicy can target.
    pub(crate) const LISTENING: &'static [Self] = &[Self::Gateway, Self::ListenerSet];
}
