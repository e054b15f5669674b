//! The walk from a Gateway along references.

use std::{collections::HashSet, ptr};

use crate::{
    grants::{Referent, Referrer},
    ids::GatewayId,
    index::Index,
    parameters::Reference,
};
use pailou_api::{
    ClientTrafficPolicy, Gateway, Meta,
    core_v1::cluster_trust_bundle::CERTIFICATES_GROUP,
    envoy::{ENVOY_GROUP, body::CustomResponseBody},
    gateway::FrontendTlsConfig,
    refs::{FromNamespaces, GATEWAY_GROUP, LocalObjectReference, SecretObjectReference},
};

use super::{
    backends::Lead,
    policies::{Policy, Subject},
    routes::AnyRoute,
    shared::Shared,
};

/// What was found so far.
pub(super) struct Walk<'r, 'a> {
    pub(super) index: &'r Index<'a>,
    pub(super) shared: &'r Shared<'a>,
    pub(super) found: NeededObjects,
    /// What routes lead to, which is not in by that.
    pub(super) leads: Vec<Lead<'a>>,
    /// InferencePools whose Pods and models are in.
    pub(super) pools: NeededObjects,
}

/// Objects of one store, told apart by where their metadata is: keys would be made, and compared, many times over.
#[derive(Default)]
pub(super) struct NeededObjects(HashSet<usize>);

/// Where an object's metadata is. It stays there for as long as the store is borrowed.
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

    /// What a Gateway needs by itself, without routes.
    pub(super) fn gateway(&mut self, gateway: GatewayId) {
        let index = self.index;
        let state = &self.shared.gateways[gateway];
        let object = state.object;
        if let Some(class) = index.classes.get("", &object.spec.gateway_class_name) {
            self.insert(&class.meta);
        }
        self.insert(&object.meta);
        self.gateway_tls(object);
        let class = index.classes.get("", &object.spec.gateway_class_name);
        let parameters = [Reference::of_gateway(object), class.and_then(Reference::of_class)];
        for proxy in parameters.into_iter().flatten().filter_map(|it| it.find(index)) {
            self.insert(&proxy.meta);
        }
        for listener in &state.listeners {
            let certificates = listener.spec.tls.iter().flat_map(|tls| &tls.certificate_refs);
            certificates.for_each(|reference| self.secret(listener.owner, reference));
            for auth in listener.spec.filters.requests.iter().filter_map(|filter| filter.external_auth.as_ref()) {
                self.lead(listener.owner, &auth.backend_ref);
            }
        }
        let mut subjects = vec![Subject { kind: "Gateway", meta: &object.meta }];
        let by_labels = object.spec.allowed_listeners.namespaces.from == FromNamespaces::Selector;
        for set in state.sets.iter().filter(|set| set.is_allowed).map(|set| &set.object.meta) {
            if by_labels {
                self.namespace(&set.namespace);
            }
            self.insert(set);
            subjects.push(Subject { kind: "ListenerSet", meta: set });
        }
        self.policies(&subjects);
        std::mem::take(&mut self.leads).into_iter().for_each(|lead| self.backend(lead));
        // Which model an adapter is of holds for every Gateway.
        for map in index.adapter_maps.iter() {
            self.insert(&map.meta);
        }
    }

    /// What a route needs, but for what its backends do.
    pub(super) fn route(&mut self, route: AnyRoute<'a>) {
        let (kind, meta) = route.identity();
        self.insert(meta);
        let from = Referrer { group: GATEWAY_GROUP, kind, namespace: &meta.namespace };
        let references = route.references();
        references.backends.iter().for_each(|to| self.lead(from, to));
        references.filters.iter().for_each(|to| self.filter(&meta.namespace, to));
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
            match policy {
                Policy::Client(policy) => {
                    self.client_policy(policy);
                    self.insert(&policy.meta);
                }
                Policy::Traffic(policy) => {
                    let responses = policy.spec.response_override.iter().filter_map(|it| it.response.as_ref());
                    responses.filter_map(|it| it.body.as_ref()).for_each(|body| self.custom_body(&policy.meta.namespace, body));
                    self.insert(&policy.meta);
                }
                Policy::Other(meta) => drop(self.insert(meta)),
            }
        }
    }

    /// Puts an object in; false if it was there.
    pub(super) fn insert(&mut self, object: &Meta) -> bool {
        self.found.insert(object)
    }

    fn gateway_tls(&mut self, gateway: &Gateway) {
        let from = Referrer { group: GATEWAY_GROUP, kind: "Gateway", namespace: &gateway.meta.namespace };
        let Some(tls) = &gateway.spec.tls else { return };
        if let Some(reference) = tls.backend.as_ref().and_then(|it| it.client_certificate_ref.as_ref()) {
            self.secret(from, reference);
        }
        let Some(frontend) = &tls.frontend else { return };
        let configs = std::iter::once(&frontend.fallback).chain(frontend.per_port.iter().map(|it| &it.tls));
        for reference in configs.flat_map(|it: &FrontendTlsConfig| &it.validation).flat_map(|it| &it.ca_certificate_refs) {
            let namespace = reference.namespace.as_deref().unwrap_or(from.namespace);
            self.anchor(from, Referent { group: &reference.group, kind: &reference.kind, namespace, name: &reference.name });
        }
    }

    fn client_policy(&mut self, policy: &ClientTrafficPolicy) {
        let validation = policy.spec.tls.as_ref().and_then(|tls| tls.client_validation.as_ref());
        let from = Referrer { group: ENVOY_GROUP, kind: "ClientTrafficPolicy", namespace: &policy.meta.namespace };
        for reference in validation.into_iter().flat_map(|it| &it.ca_certificate_refs) {
            let namespace = reference.namespace.as_deref().unwrap_or(from.namespace);
            self.anchor(from, Referent { group: &reference.group, kind: &reference.kind, namespace, name: &reference.name });
        }
    }

    /// What holds authorities, perhaps of another namespace or of none.
    fn anchor(&mut self, from: Referrer<'_>, to: Referent<'_>) {
        if self.permitted(from, to.group, to.kind, to.namespace, to.name) {
            self.holder(to.namespace, to.group, to.kind, to.name);
        }
    }

    /// What holds authorities for objects of a namespace.
    pub(super) fn authorities(&mut self, namespace: &str, refs: &[LocalObjectReference]) {
        refs.iter().for_each(|it| self.holder(namespace, &it.group, &it.kind, &it.name));
    }

    /// A Secret, where it may be referred to.
    pub(super) fn secret(&mut self, from: Referrer<'_>, to: &SecretObjectReference) {
        let namespace = to.namespace.as_deref().unwrap_or(from.namespace);
        if to.kind == "Secret" && self.permitted(from, &to.group, &to.kind, namespace, &to.name) {
            self.holder(namespace, &to.group, &to.kind, &to.name);
        }
    }

    fn holder(&mut self, namespace: &str, group: &str, kind: &str, name: &str) {
        let index = self.index;
        let found = match (group, kind) {
            ("", "Secret") => index.secrets.get(namespace, name).map(|it| &it.meta),
            ("", "ConfigMap") => index.config_maps.get(namespace, name).map(|it| &it.meta),
            (CERTIFICATES_GROUP, "ClusterTrustBundle") => index.trust_bundles.get("", name).map(|it| &it.meta),
            _ => None,
        };
        found.map(|it| self.insert(it));
    }

    /// Whether a reference may be followed; the grants that say so are needed too.
    pub(super) fn permitted(&mut self, from: Referrer<'_>, group: &str, kind: &str, namespace: &str, name: &str) -> bool {
        if from.namespace == namespace {
            return true;
        }
        let to = Referent { group, kind, namespace, name };
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

    /// An HTTPRouteFilter, with what it refers to.
    fn filter(&mut self, namespace: &str, to: &LocalObjectReference) {
        let index = self.index;
        if to.group != ENVOY_GROUP || to.kind != "HTTPRouteFilter" {
            return;
        }
        let Some(filter) = index.route_filters.get(namespace, &to.name) else { return };
        self.insert(&filter.meta);
        if let Some(injection) = &filter.spec.credential_injection {
            let from = Referrer { group: ENVOY_GROUP, kind: "HTTPRouteFilter", namespace };
            self.secret(from, &injection.credential.value_ref);
        }
        if let Some(body) = filter.spec.direct_response.as_ref().and_then(|it| it.body.as_ref()) {
            self.custom_body(namespace, body);
        }
    }

    fn custom_body(&mut self, namespace: &str, body: &CustomResponseBody) {
        if let CustomResponseBody::ValueRef(reference) = body {
            // The compiler reads a ConfigMap, whatever the reference calls it.
            self.holder(namespace, "", "ConfigMap", &reference.name);
        }
    }
}
