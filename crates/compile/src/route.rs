//! Routes of all kinds in one form.

use crate::index::name_of;
use pailou_api::session::SessionPersistence;
use pailou_api::{
    GrpcRoute, Hostname, HttpRoute, Meta, grpc_route::GrpcRouteRule, http_route::HttpRouteRule, refs::ParentReference,
};
use pailou_snapshot::{HostPattern, RouteKind, RouteName};

/// A route: what all kinds have, and the rules of the kinds for requests.
pub(crate) struct Route<'a> {
    pub(crate) kind: RouteKind,
    pub(crate) meta: &'a Meta,
    pub(crate) parents: &'a [ParentReference],
    pub(crate) hostnames: Vec<HostPattern>,
    pub(crate) rules: Vec<RuleSpec<'a>>,
    pub(crate) unsupported: Vec<&'static str>,
}

/// A rule of either kind.
#[derive(Clone, Copy)]
pub(crate) enum RuleSpec<'a> {
    Http(&'a HttpRouteRule),
    Grpc(&'a GrpcRouteRule),
}

impl RuleSpec<'_> {
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Http(rule) => rule.name.as_deref(),
            Self::Grpc(rule) => rule.name.as_deref(),
        }
    }

    pub(crate) fn session(&self) -> Option<&SessionPersistence> {
        match self {
            Self::Http(rule) => rule.session_persistence.as_deref(),
            Self::Grpc(rule) => rule.session_persistence.as_deref(),
        }
    }
}

impl<'a> Route<'a> {
    /// A route for any host, without rules for requests.
    pub(crate) fn head(kind: RouteKind, meta: &'a Meta, parents: &'a [ParentReference], unsupported: Vec<&'static str>) -> Self {
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

pub(crate) fn patterns(hostnames: &[Hostname]) -> Vec<HostPattern> {
    hostnames.iter().map(|name| HostPattern::new(name)).collect()
}

/// The host names under which a route's rules stand on a listener: its own, not their intersections, for it is they that are
/// compared for how specific they are.
pub(crate) fn hosts<'r>(hostnames: &'r [HostPattern], listener: Option<&HostPattern>) -> Vec<Option<&'r HostPattern>> {
    if hostnames.is_empty() {
        return vec![None];
    }
    let meets = |host: &&HostPattern| listener.is_none_or(|listener| listener.intersection(host).is_some());
    hostnames.iter().filter(meets).map(Some).collect()
}

/// The name of a route's rule.
pub(crate) fn rule_name(route: &Route<'_>, place: usize, name: Option<&str>) -> RouteName {
    RouteName {
        kind: route.kind,
        name: name_of(route.meta),
        rule: u16::try_from(place).unwrap_or(u16::MAX),
        rule_name: name.map(Into::into),
    }
}
