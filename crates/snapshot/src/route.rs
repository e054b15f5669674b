//! Rules: what is done with a request that a route's rule matches.

use std::{fmt, sync::Arc};

use smallvec::SmallVec;

use super::{
    ClusterId, Conditions, DirectResponse, Filters, Name, PathMatch, RateLimitFilter, Redirect, RouteMatch, RulePolicy,
    SessionPersistence, at_point,
};

/// One rule of a route, with every policy that applies to it resolved.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Identity of the rule.
    pub route: RouteName,
    /// The rule's filters.
    pub filters: Arc<Filters>,
    /// Treatment of the request.
    pub action: Action,
    /// Clocks, retries, limits.
    pub policy: Arc<RulePolicy>,
    /// Sessions of its clients.
    pub session: Option<Arc<SessionPersistence>>,
    /// Whether the request's body has to be read before a backend can be chosen: a backend is an InferencePool, or has limits by it.
    pub needs_body: bool,
    /// Its matches in the route's order, for a rule with limits that a rate limit service may count: Envoy Gateway names counters by them. Empty
    /// for all others, and where the route names no match.
    pub numbered_matches: Box<[NumberedMatch]>,
}

/// Path and further conditions of a match.
pub type NumberedMatch = (PathMatch, Option<Arc<Conditions>>);

impl Rule {
    /// Number of a match of the rule, from 0; `None` where matches are not numbered.
    pub fn number_of(&self, entry: &RouteMatch) -> Option<usize> {
        let is_same = |(path, conditions): &NumberedMatch| {
            let are_conditions_same = match (conditions, &entry.conditions) {
                (None, None) => true,
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                _ => false,
            };
            are_conditions_same && path.is_same(&entry.path)
        };
        self.numbered_matches.iter().position(is_same)
    }
}

/// Identity of a route's rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// The route's kind.
    pub kind: RouteKind,
    /// The route.
    pub name: Name,
    /// The rule's place in it, from 0.
    pub rule: u16,
    /// The rule's own name, where it has one.
    pub rule_name: Option<Arc<str>>,
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule_name {
            Some(name) => write!(f, "{}/{name}", self.name),
            None => write!(f, "{}/{}", self.name, self.rule),
        }
    }
}

/// Kinds of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// HTTPRoute.
    Http,
    /// GRPCRoute: answers in gRPC's terms.
    Grpc,
    /// TLSRoute: connections by the server name they ask for.
    Tls,
    /// TCPRoute: connections.
    Tcp,
    /// UDPRoute: datagrams.
    Udp,
}

impl RouteKind {
    /// The kind's name in Gateway API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }
}

/// Treatment of a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// It goes to one of the backends, in proportion to their weights.
    Forward(Backends),
    /// It is sent elsewhere.
    Redirect(Box<Redirect>),
    /// It is answered here.
    Respond(Arc<DirectResponse>),
    /// It cannot be served as configured: 500.
    Fail(Failure),
}

/// Why something is answered 500, in words for the operator (log, not client). Never holds a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub Arc<str>);

/// Backends with weights.
#[derive(Clone, Debug, Default)]
pub struct Backends {
    /// Most rules have one, which is held in place.
    refs: SmallVec<[BackendRef; 1]>,
    /// The sums of the weights of those that are no fallback, and of those that are.
    totals: [u64; 2],
}

impl Backends {
    /// Takes the backendRefs in the rule's order; those of weight 0 are never picked.
    pub fn new(refs: Vec<BackendRef>) -> Self {
        let refs: SmallVec<[BackendRef; 1]> = refs.into_iter().collect();
        let total = |fallback| refs.iter().filter(|it| it.fallback == fallback).map(|it| u64::from(it.weight)).sum();
        Self { totals: [total(false), total(true)], refs }
    }

    /// The sum of the weights of the backends that are, or are not, fallbacks. Both 0: nothing can be picked, and the rule
    /// answers 500.
    pub fn total(&self, fallback: bool) -> u64 {
        self.totals[usize::from(fallback)]
    }

    /// The backend at a point of those weights laid end to end; `point` below [`Backends::total`].
    pub fn at(&self, fallback: bool, point: u64) -> Option<&BackendRef> {
        at_point(self.refs.iter().filter(|backend| backend.fallback == fallback), |backend| backend.weight, point)
    }

    /// All of them, in the rule's order.
    pub fn iter(&self) -> impl Iterator<Item = &BackendRef> {
        self.refs.iter()
    }
}

/// One backend of a rule.
#[derive(Clone, Debug)]
pub struct BackendRef {
    /// Its share of the requests, against the sum of all that are, or are not, fallbacks as it is.
    pub weight: u32,
    /// Used as far as the others are not healthy (`Backend` `fallback`).
    pub fallback: bool,
    /// Filters for this backend alone, applied after the rule's.
    pub filters: Arc<Filters>,
    /// Its cluster, or why it has none (500 for its share of the requests).
    pub cluster: Result<ClusterId, Failure>,
    /// The counters of its circuit breaker.
    pub breaker: BreakerId,
    /// Limits of its own. Where they have no room, requests go to another backend of the rule.
    pub limits: Option<Arc<RateLimitFilter>>,
}

/// An index into [`super::Snapshot::breakers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerId(pub u32);

/// Scope of a circuit breaker's counters: per backendRef of each rule, and for a pool across all rules (Envoy
/// Gateway makes a cluster of each; a pool's capacity is one).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BreakerKey {
    /// A backendRef of a rule, or a mirror (whose number counts on from the backendRefs').
    Backend {
        /// The rule.
        route: RouteName,
        /// The backendRef's place in the rule.
        backend: u16,
    },
    /// An InferencePool.
    Pool(Name),
}

impl BreakerKey {
    /// The kind of the object that it belongs to.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Backend { route, .. } => route.kind.name(),
            Self::Pool(_) => "InferencePool",
        }
    }
}

impl fmt::Display for BreakerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend { route, backend } => write!(f, "{route}/{backend}"),
            Self::Pool(name) => write!(f, "pool/{name}"),
        }
    }
}
