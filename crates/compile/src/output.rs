//! Result of compiling one route.

use std::{collections::HashMap, sync::Arc};

use http::HeaderName;
use pailou_auth::CookieNames;
use pailou_snapshot::{CookieHosts, Forward, PolicyCookies, RemoteDocument, RouteMatch};

use super::{
    any_route::AnyRoute,
    cluster_ids::UsedIds,
    ids::{GatewayId, ListenerId, PolicyId, PoolId},
    policies::overlap::Overlap,
};

/// Result of compiling one route by itself. All that routes share comes from these alone.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) route: AnyRoute,
    /// The listeners that it is on, each once.
    pub(crate) places: Vec<RouteListener>,
    /// The Gateways that it is attached to, each once.
    pub(crate) gateways: Vec<GatewayId>,
    /// For requests: its entries in listeners' tables, in order of precedence. One list for each form that it has.
    pub(crate) entries: Vec<Arc<[RouteMatch]>>,
    /// For connections: where they go. One for each form that it has.
    pub(crate) forwards: Vec<Arc<Forward>>,
    pub(crate) used: UsedIds,
    pub(crate) effects: Vec<Effect>,
}

/// A listener that a route is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteListener {
    pub(crate) listener: ListenerId,
    /// The form that the route has there.
    pub(crate) form: usize,
}

/// Effect of a route on other objects' statuses, and on what all routes share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// A listener counts it.
    Attached(ListenerId),
    /// A BackendTLSPolicy is reached from a Gateway.
    TlsPolicy { policy: PolicyId, gateway: GatewayId },
    /// An InferencePool is reached from a Gateway.
    Pool { pool: PoolId, gateway: GatewayId },
    /// Two BackendTrafficPolicies meet.
    Traffic(Overlap),
    /// Two SecurityPolicies meet.
    Security(Overlap),
    /// Two EnvoyExtensionPolicies meet.
    Extensions(Overlap),
    /// A merged policy puts identities into a header.
    Identity { listener: ListenerId, header: HeaderName },
    /// A document is to be fetched.
    Document(Box<RemoteDocument>),
    /// Clients have sessions in cookies.
    Sessions(Box<RouteCookies>),
}

/// Cookies of sessions that clients of a route have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteCookies {
    pub(crate) names: CookieNames,
    /// The route's namespace.
    pub(crate) namespace: Arc<str>,
    /// Hosts that clients send them to.
    pub(crate) hosts: Vec<CookieHosts>,
}

/// The effects of all routes, and how many have each.
#[derive(Debug, Default)]
pub(crate) struct Effects(HashMap<Effect, u32>);

impl Output {
    /// Result of a route that is attached to nothing.
    pub(crate) fn nothing(route: AnyRoute) -> Self {
        Self {
            route,
            places: Vec::new(),
            gateways: Vec::new(),
            entries: Vec::new(),
            forwards: Vec::new(),
            used: UsedIds::default(),
            effects: Vec::new(),
        }
    }

    /// Has its listeners count it.
    pub(crate) fn count(&mut self) {
        let effect = |place: &RouteListener| Effect::Attached(place.listener);
        self.effects.extend(self.places.iter().map(effect));
    }

    /// The listeners that count it.
    pub(crate) fn counted(&self) -> impl Iterator<Item = ListenerId> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Attached(listener) => Some(*listener),
            _ => None,
        })
    }

    /// Gives back room that is left.
    pub(crate) fn shrink(&mut self) {
        self.places.shrink_to_fit();
        self.gateways.shrink_to_fit();
        self.entries.shrink_to_fit();
        self.forwards.shrink_to_fit();
        self.effects.shrink_to_fit();
        self.used.shrink();
    }
}

impl Effects {
    /// A route has come.
    pub(crate) fn add(&mut self, output: &Output) {
        output.effects.iter().for_each(|effect| *self.0.entry(effect.clone()).or_default() += 1);
    }

    /// A route is gone.
    pub(crate) fn remove(&mut self, output: &Output) {
        for effect in &output.effects {
            if let Some(count) = self.0.get_mut(effect) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(effect);
                }
            }
        }
    }

    /// Documents to fetch.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &RemoteDocument> {
        self.0.keys().filter_map(|effect| match effect {
            Effect::Document(document) => Some(&**document),
            _ => None,
        })
    }

    /// Cookies of sessions.
    pub(crate) fn session_cookies(&self) -> Option<PolicyCookies> {
        let mut all = None;
        for effect in self.0.keys() {
            if let Effect::Sessions(cookies) = effect {
                let RouteCookies { names, namespace, hosts } = &**cookies;
                all.get_or_insert_with(PolicyCookies::default).insert(names, namespace, hosts);
            }
        }
        all
    }

    /// All effects, each with how many routes have it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Effect, &u32)> {
        self.0.iter()
    }
}
