//! Policies by what they target.

use std::collections::HashMap;

use crate::{index::Index, policies::policy_targets::TargetedSpec};
use pailou_api::{
    BackendTlsPolicy, LabelSelector, Meta, Resource,
    envoy::{
        ENVOY_GROUP, backend_traffic_policy::BackendTrafficPolicySpec, client_traffic_policy::ClientTrafficPolicySpec,
        recognised::EnvoyExtensionPolicySpec, security_policy::SecurityPolicySpec,
    },
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP},
    references::References,
    refs::{FromNamespaces, GATEWAY_GROUP, TargetSelector},
};

/// A target: namespace, kind, name. A policy names nothing outside of its namespace.
type Target = (String, String, String);

/// Groups of backends that a BackendTLSPolicy can target.
const TLS_GROUPS: [&str; 4] = ["", ENVOY_GROUP, INFERENCE_GROUP, INFERENCE_X_GROUP];

/// All policies.
#[derive(Default)]
pub(super) struct Policies<'a> {
    by_target: HashMap<Target, Vec<Policy<'a>>>,
    /// Those that choose their targets by labels, by namespace.
    by_labels: HashMap<&'a str, Vec<(Policy<'a>, &'a TargetSelector, LabelSelector)>>,
    /// Those that choose targets of other namespaces by labels.
    across: Vec<(Policy<'a>, &'a TargetSelector, LabelSelector)>,
    /// BackendTLSPolicies by Service or Backend.
    tls: HashMap<Target, Vec<&'a BackendTlsPolicy>>,
}

/// One of Envoy Gateway's policies.
#[derive(Clone, Copy)]
pub(super) struct Policy<'a> {
    pub(super) kind: &'static str,
    pub(super) meta: &'a Meta,
    pub(super) references: &'a dyn References,
    /// Whether it needs the key of sessions.
    pub(super) needs_session_key: bool,
}

/// Something that a policy can target.
pub(super) struct Subject<'a> {
    pub(super) kind: &'static str,
    pub(super) meta: &'a Meta,
}

impl<'a> Policies<'a> {
    /// Indexes all policies.
    pub(super) fn new(index: &Index<'a>) -> Self {
        let mut all = Self::default();
        all.add::<ClientTrafficPolicySpec>(index);
        all.add::<BackendTrafficPolicySpec>(index);
        all.add::<SecurityPolicySpec>(index);
        all.add::<EnvoyExtensionPolicySpec>(index);
        for it in index.backend_tls_policies.iter() {
            for to in it.spec.target_refs.iter().filter(|to| TLS_GROUPS.contains(&&*to.group)) {
                all.tls.entry(target(&it.meta, &to.kind, &to.name)).or_default().push(it);
            }
        }
        all
    }

    fn add<S: TargetedSpec + 'a>(&mut self, index: &Index<'a>)
    where
        Resource<S>: References,
    {
        for it in S::table(index).iter() {
            let policy = Policy { kind: S::KIND, meta: &it.meta, references: it, needs_session_key: it.spec.needs_session_key() };
            for to in it.spec.targets().iter().filter(|to| to.group == GATEWAY_GROUP) {
                self.by_target.entry(target(&it.meta, &to.kind, &to.name)).or_default().push(policy);
            }
            for selector in it.spec.selectors().iter().filter(|it| it.group == GATEWAY_GROUP) {
                let entry = (policy, selector, selector.selector());
                match &selector.namespaces {
                    Some(namespaces) if namespaces.from != FromNamespaces::Same => self.across.push(entry),
                    _ => self.by_labels.entry(&it.meta.namespace).or_default().push(entry),
                }
            }
        }
    }

    /// Envoy Gateway's policies on any of these; one may come several times.
    pub(super) fn on(&self, subjects: &[Subject<'_>]) -> Vec<Policy<'a>> {
        let mut found = Vec::new();
        if self.by_target.is_empty() && self.by_labels.is_empty() {
            return found;
        }
        for Subject { kind, meta } in subjects {
            let named = self.by_target.get(&target(meta, kind, &meta.name)).into_iter().flatten();
            let labelled = self.by_labels.get(meta.namespace.as_str()).into_iter().flatten();
            let labelled = labelled.filter(|(_, it, labels)| it.kind == *kind && labels.matches(&meta.labels));
            found.extend(named.chain(labelled.map(|(policy, ..)| policy)));
        }
        found
    }

    /// Policies that may choose any of these by labels across namespaces, with what each chose. Whether its `namespaces` and a
    /// ReferenceGrant allow it is not yet looked at.
    pub(super) fn across<'s, 'm>(
        &'s self,
        subjects: &'s [Subject<'m>],
    ) -> impl Iterator<Item = (Policy<'a>, &'a TargetSelector, &'s Subject<'m>)> {
        self.across.iter().flat_map(move |(policy, selector, labels)| {
            let chosen = subjects.iter().filter(move |it| it.kind == &*selector.kind && labels.matches(&it.meta.labels));
            chosen.map(move |subject| (*policy, *selector, subject))
        })
    }

    /// BackendTLSPolicies on a Service or Backend.
    pub(super) fn tls(&self, kind: &str, meta: &Meta) -> &[&'a BackendTlsPolicy] {
        if self.tls.is_empty() {
            return &[];
        }
        self.tls.get(&target(meta, kind, &meta.name)).map_or(&[], Vec::as_slice)
    }
}

fn target(meta: &Meta, kind: &str, name: &str) -> Target {
    (meta.namespace.clone(), kind.to_owned(), name.to_owned())
}
