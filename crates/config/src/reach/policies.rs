//! Policies by namespace, and what they target.

use std::collections::{BTreeSet, HashMap};

use crate::{
    compile::index::Index,
    resources::{
        BackendTlsPolicy, Kind, LabelSelector, Meta, ObjectKey,
        envoy::ENVOY_GROUP,
        refs::{GATEWAY_GROUP, PolicyTargetReference, TargetSelector},
    },
};

/// All policies, by their namespace: a policy targets nothing outside of it.
pub(super) struct Policies<'a> {
    envoy: HashMap<&'a str, Vec<Policy<'a>>>,
    tls: HashMap<&'a str, Vec<&'a BackendTlsPolicy>>,
}

struct Policy<'a> {
    kind: Kind,
    meta: &'a Meta,
    refs: Vec<PolicyTargetReference>,
    selectors: Vec<(&'a TargetSelector, LabelSelector)>,
}

/// Something that a policy can target.
pub(super) struct Subject<'a> {
    pub(super) kind: &'static str,
    pub(super) meta: &'a Meta,
}

impl<'a> Policies<'a> {
    /// Indexes all policies.
    pub(super) fn new(index: &Index<'a>) -> Self {
        let mut all = Self { envoy: HashMap::new(), tls: HashMap::new() };
        for it in index.client_policies.iter() {
            all.add(Kind::ClientTrafficPolicy, &it.meta, it.spec.targets(), &it.spec.target_selectors);
        }
        for it in index.traffic_policies.iter() {
            all.add(Kind::BackendTrafficPolicy, &it.meta, it.spec.targets(), &it.spec.target_selectors);
        }
        for it in index.security_policies.iter() {
            all.add(Kind::SecurityPolicy, &it.meta, it.spec.targets(), &it.spec.target_selectors);
        }
        for it in index.backend_tls_policies.iter() {
            all.tls.entry(&it.meta.namespace).or_default().push(it);
        }
        all
    }

    fn add(&mut self, kind: Kind, meta: &'a Meta, refs: Vec<PolicyTargetReference>, selectors: &'a [TargetSelector]) {
        let selectors = selectors.iter().map(|it| (it, it.selector())).collect();
        self.envoy.entry(&meta.namespace).or_default().push(Policy { kind, meta, refs, selectors });
    }

    /// Envoy Gateway's policies on any of these.
    pub(super) fn on(&self, subjects: &[Subject<'_>]) -> BTreeSet<ObjectKey> {
        let namespaces: BTreeSet<&str> = subjects.iter().map(|it| it.meta.namespace.as_str()).collect();
        let there = namespaces.into_iter().filter_map(|namespace| self.envoy.get(namespace)).flatten();
        let concerned = there.filter(|policy| subjects.iter().any(|subject| policy.targets(subject)));
        concerned.map(|it| ObjectKey::new(ENVOY_GROUP, it.kind.name(), &it.meta.namespace, &it.meta.name)).collect()
    }

    /// BackendTLSPolicies on a Service or Backend.
    pub(super) fn tls(&self, group: &str, kind: &str, meta: &Meta) -> impl Iterator<Item = &'a BackendTlsPolicy> {
        let here = self.tls.get(meta.namespace.as_str()).into_iter().flatten().copied();
        here.filter(move |policy| {
            policy.spec.target_refs.iter().any(|it| it.group == group && it.kind == kind && *it.name == *meta.name)
        })
    }
}

impl Policy<'_> {
    fn targets(&self, subject: &Subject<'_>) -> bool {
        let kind = |group: &str, kind: &str| group == GATEWAY_GROUP && kind == subject.kind;
        self.meta.namespace == subject.meta.namespace
            && (self.refs.iter().any(|it| kind(&it.group, &it.kind) && *it.name == *subject.meta.name)
                || self.selectors.iter().any(|(it, labels)| kind(&it.group, &it.kind) && labels.matches(&subject.meta.labels)))
    }
}
