//! BackendTrafficPolicy: the settings of a policy, and of one merged with its parent.

use std::sync::Arc;

use pailou_api::{
    BackendTrafficPolicy, Resource,
    envoy::{
        backend_traffic_policy::BackendTrafficPolicySpec,
        merge::{MergeOver, MergeType},
    },
    refs::{PolicyTargetReference, TargetSelector},
};

use crate::{
    index::{Index, TrackedTable},
    status::Problem,
};

use super::{
    policy_targets::{PolicyTargets, TargetedSpec},
    targets::TargetKind,
    traffic::Traffic,
    unenforced,
};

/// All BackendTrafficPolicies.
pub(crate) type TrafficPolicies<'a> = PolicyTargets<'a, BackendTrafficPolicySpec>;

impl TargetedSpec for BackendTrafficPolicySpec {
    const KIND: &'static str = "BackendTrafficPolicy";
    const TARGETS: &'static [TargetKind] = TargetKind::ROUTING;
    const IF_INVALID: &'static str = "; every route that the policy applies to answers 500 until it is put right";
    type Settings = Arc<Traffic>;

    fn table<'t, 'a>(index: &'t Index<'a>) -> &'t TrackedTable<'a, Resource<Self>> {
        &index.traffic_policies
    }

    fn targets(&self) -> Vec<PolicyTargetReference> {
        self.targets()
    }

    fn selectors(&self) -> &[TargetSelector] {
        &self.target_selectors
    }

    fn merge_type(&self) -> Option<MergeType> {
        self.merge_type
    }

    fn read(index: &Index<'_>, policy: &BackendTrafficPolicy) -> Result<Self::Settings, Problem> {
        Traffic::new(index, &policy.spec, &policy.meta.namespace).map(Arc::new)
    }

    fn read_merged(
        index: &Index<'_>,
        policy: &BackendTrafficPolicy,
        parent: &BackendTrafficPolicy,
        merge_type: MergeType,
    ) -> Result<Self::Settings, Problem> {
        let owner = if policy.spec.response_override.is_empty() { parent } else { policy };
        Traffic::new(index, &policy.spec.over(&parent.spec, merge_type), &owner.meta.namespace).map(Arc::new)
    }

    fn unenforced(policy: &BackendTrafficPolicy) -> Vec<&'static str> {
        unenforced::of_traffic(policy)
    }
}
