//! Desired objects of each Gateway, rendered only when their input has changed: changes of the cluster are many, and few of
//! them concern a data plane.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt;
use pailou_snapshot::Name;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{observed::Deployment, plan::Plan, render::Rendered};

/// Identity of an applied object: its kind, namespace and name.
pub(super) type Key = (String, String, String);

/// Input and digests of the last rendering, by Gateway.
#[derive(Default)]
pub(super) struct Desired(BTreeMap<Name, Kept>);

struct Kept {
    plan: Plan,
    authorities: Arc<str>,
    observed: Option<Arc<Deployment>>,
    digests: Digests,
}

/// The objects of one data plane, by digests of what is to be sent.
#[derive(Clone)]
pub(super) struct Digests {
    pub(super) objects: Arc<[(Key, u64)]>,
    /// Of all of them.
    pub(super) whole: u64,
}

impl Desired {
    /// Digests of a data plane's objects, which `render` makes; `observed` is the Deployment, if they depend on it.
    pub(super) fn digests(
        &mut self,
        plan: &Plan,
        observed: Option<&Arc<Deployment>>,
        authorities: &Arc<str>,
        render: impl FnOnce() -> Vec<Rendered>,
    ) -> Digests {
        if let Some(kept) = self.0.get(&plan.gateway).filter(|it| it.is_of(plan, observed, authorities)) {
            return kept.digests.clone();
        }
        let objects: Arc<[_]> = render().iter().map(|it| (key(it), it.digest())).collect();
        let whole = objects.iter().fold(0, |all, (_, digest)| xxh3_64_with_seed(&digest.to_le_bytes(), all));
        let digests = Digests { objects, whole };
        let kept =
            Kept { plan: plan.clone(), authorities: authorities.clone(), observed: observed.cloned(), digests: digests.clone() };
        self.0.insert(plan.gateway.clone(), kept);
        digests
    }

    /// Forgets all Gateways but these.
    pub(super) fn retain(&mut self, is_planned: impl Fn(&Name) -> bool) {
        self.0.retain(|gateway, _| is_planned(gateway));
    }
}

impl Kept {
    fn is_of(&self, plan: &Plan, observed: Option<&Arc<Deployment>>, authorities: &Arc<str>) -> bool {
        let is_same = match (&self.observed, observed) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        is_same && self.authorities == *authorities && self.plan == *plan
    }
}

pub(super) fn key(rendered: &Rendered) -> Key {
    let object = &rendered.object;
    (rendered.resource.kind.clone(), object.namespace().unwrap_or_default(), object.name_any())
}
