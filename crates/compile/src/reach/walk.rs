//! The walk from a Gateway along references.

use std::{collections::HashSet, ptr};

use crate::{ids::GatewayId, index::Index, limit_backend, session_key_source::SESSION_KEY_SECRET};
use pailou_api::{
    Kind, Meta,
    envoy::ENVOY_GROUP,
    references::{Reference, References, Referent, Referrer},
    refs::{FromNamespaces, GATEWAY_GROUP},
};

use super::{
    lead::Lead,
    policies::{Policy, Subject},
    routes::AnyRoute,
    shared::Shared,
};

/// Objects found so far.
pub(super) struct Walk<'r, 'a> {
    pub(super) index: &'r Index<'a>,
    pub(super) shared: &'r Shared<'a>,
    pub(super) found: NeededObjects,
    /// Backends of routes, which the walk itself does not add.
    pub(super) leads: Vec<Lead<'a>>,
    /// InferencePools whose Pods and models are in.
    pub(super) pools: NeededObjects,
}

/// Objects of one store, identified by the address of their metadata: keys would cost many constructions and comparisons.
#[derive(Default)]
pub(super) struct NeededObjects(HashSet<usize>);

/// Address of an object's metadata, fixed while the store is borrowed.
pub(super) fn address(object: &Meta) -> usize {
    ptr::from_ref(object).addr()
}

impl NeededObjects {
    /// Puts an object in; false if it was there.
    pub(super) fn insert(&mut self, object: &Meta) -> bool {
        self.0.insert(address(object))
    }

    /// The addresses of all, in no order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }
}

impl<'r, 'a> Walk<'r, 'a> {
    pub(super) fn new(index: &'r Index<'a>, shared: &'r Shared<'a>) -> Self {
        Self { index, shared, found: NeededObjects::default(), leads: Vec::new(), pools: NeededObjects::default() }
    }

    /// Adds the needs of a Gateway by itself, without routes.
    pub(super) fn gateway(&mut self, gateway: GatewayId) {
        let index = self.index;
        let state = &self.shared.gateways[gateway];
        let object = state.object;
        self.insert(&object.meta);
        self.follow(object);
        let mut subjects = vec![Subject { kind: "Gateway", meta: &object.meta }];
        let by_labels = object.spec.allowed_listeners.namespaces.from == FromNamespaces::Selector;
        for set in state.sets.iter().filter(|set| set.is_allowed).map(|set| set.object) {
            if by_labels {
                self.namespace(&set.meta.namespace);
            }
            self.insert(&set.meta);
            self.follow(set);
            subjects.push(Subject { kind: "ListenerSet", meta: &set.meta });
        }
        self.policies(&subjects);
        std::mem::take(&mut self.leads).into_iter().for_each(|lead| self.backend(lead));
        // Any proxy may have limits to count.
        for object in limit_backend::objects(index) {
            self.insert(object);
        }
        // Which model an adapter is of holds for every Gateway.
        for map in index.adapter_maps.iter() {
            self.insert(&map.meta);
        }
    }

    /// Adds the needs of a route, without those of its backends.
    pub(super) fn route(&mut self, route: AnyRoute<'a>) {
        let (kind, meta) = route.identity();
        self.insert(meta);
        self.follow(&route);
        self.policies(&[Subject { kind, meta }]);
    }

    /// The namespace of a route, where a Gateway looks at its labels.
    pub(super) fn namespace_of(&mut self, route: AnyRoute<'_>, gateway: GatewayId) {
        if self.shared.by_labels[gateway] {
            self.namespace(&route.identity().1.namespace);
        }
    }

    fn policies(&mut self, subjects: &[Subject<'_>]) {
        for policy in self.shared.policies.on(subjects) {
            self.policy(policy);
        }
        let shared = self.shared;
        for (policy, selector, subject) in shared.policies.across(subjects) {
            let own = policy.meta.namespace.as_str();
            let namespace = subject.meta.namespace.as_str();
            let by_labels = selector.namespaces.as_ref().is_some_and(|it| it.from == FromNamespaces::Selector);
            if by_labels {
                self.namespace(namespace);
            }
            let from = Referrer { group: ENVOY_GROUP, kind: policy.kind, namespace: own };
            let to = Referent { group: GATEWAY_GROUP, kind: subject.kind, namespace, name: &subject.meta.name };
            if self.granted(from, to) {
                self.policy(policy);
            }
        }
    }

    fn policy(&mut self, policy: Policy<'a>) {
        self.insert(policy.meta);
        self.follow(policy.references);
        let namespace = self.shared.settings.session_key.namespace.as_deref().filter(|_| policy.needs_session_key);
        if let Some(secret) = namespace.and_then(|namespace| self.index.secrets.get(namespace, SESSION_KEY_SECRET)) {
            self.insert(&secret.meta);
        }
    }

    /// Puts an object in; false if it was there.
    pub(super) fn insert(&mut self, object: &Meta) -> bool {
        self.found.insert(object)
    }

    /// Follows every reference of an object that may be followed. Backends are put among the leads.
    pub(super) fn follow(&mut self, object: &(impl References + ?Sized)) {
        object.references(&mut |reference| {
            if self.permitted(reference) {
                self.referent(reference);
            }
        });
    }

    fn referent(&mut self, Reference { kind, to, .. }: Reference<'_>) {
        let (index, Referent { namespace, name, .. }) = (self.index, to);
        let found = match kind {
            Kind::Secret => index.secrets.get(namespace, name).map(|it| &it.meta),
            Kind::ConfigMap => index.config_maps.get(namespace, name).map(|it| &it.meta),
            Kind::ClusterTrustBundle => index.trust_bundles.get(namespace, name).map(|it| &it.meta),
            Kind::EnvoyProxy => index.proxies.get(namespace, name).map(|it| {
                self.follow(it);
                &it.meta
            }),
            Kind::GatewayConfig => index.gateway_configs.get(namespace, name).map(|it| &it.meta),
            Kind::GatewayClass => index.classes.get(namespace, name).map(|it| {
                self.follow(it);
                &it.meta
            }),
            Kind::EnvoyHttpRouteFilter => index.route_filters.get(namespace, name).map(|it| {
                self.follow(it);
                &it.meta
            }),
            _ => {
                self.leads.extend(Lead::find(index, kind, to));
                None
            }
        };
        found.map(|it| self.insert(it));
    }

    /// Whether a reference may be followed; the grants that say so are needed too.
    fn permitted(&mut self, Reference { from, to, .. }: Reference<'_>) -> bool {
        self.granted(from, to)
    }

    fn granted(&mut self, from: Referrer<'_>, to: Referent<'_>) -> bool {
        if from.namespace == to.namespace || to.namespace.is_empty() {
            return true;
        }
        let mut permitted = false;
        for grant in self.index.granting(from, to) {
            self.found.insert(&grant.meta);
            permitted = true;
        }
        permitted
    }

    fn namespace(&mut self, name: &str) {
        if let Some(namespace) = self.index.namespaces.get("", name) {
            self.insert(&namespace.meta);
        }
    }
}
