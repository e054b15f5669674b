//! BackendTrafficPolicy: the settings of a policy, and of one merged with its parent.

use std::{collections::BTreeSet, sync::Arc};

use pailou_api::{
    BackendTrafficPolicy, Resource,
    envoy::{
        backend_traffic_policy::BackendTrafficPolicySpec,
        merge::{MergeOver, MergeType},
    },
    refs::{PolicyTargetReference, TargetSelector},
};

use pailou_limits::{Cost, LimitRule, LlmCosts};
use pailou_snapshot::{HttpFilter, Name};

use crate::{
    ids::{GatewayId, ListenerId},
    index::{Index, TrackedTable},
    status::Problem,
};

use super::{
    ancestors::Reach,
    deprecated,
    http_filters::Sources,
    origins,
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
        let name = Name::new(&policy.meta.namespace, &policy.meta.name);
        let [local, global] = limits(&policy.spec).map(|count| [(&name, count)]);
        let sources = Sources { namespace: &policy.meta.namespace, local: &local, global: &global };
        Ok(Arc::new(Traffic::new(index, &policy.spec, &sources)?.set_by(origins::of_policies([policy]))))
    }

    fn read_merged(
        index: &Index<'_>,
        policy: &BackendTrafficPolicy,
        parent: &BackendTrafficPolicy,
        merge_type: MergeType,
    ) -> Result<Self::Settings, Problem> {
        let owner = if policy.spec.response_override.is_empty() { parent } else { policy };
        let [name, parent_name] = [policy, parent].map(|it| Name::new(&it.meta.namespace, &it.meta.name));
        let [local, global] = [0, 1].map(|at| match (limits(&policy.spec)[at], limits(&parent.spec)[at]) {
            // Rules that are merged stand behind the parent's; others take their place.
            (own, theirs) if own == 0 || merge_type == MergeType::StrategicMerge => [(&parent_name, theirs), (&name, own)],
            (own, _) => [(&parent_name, 0), (&name, own)],
        });
        let sources = Sources { namespace: &owner.meta.namespace, local: &local, global: &global };
        let merged = Traffic::new(index, &policy.spec.over(&parent.spec, merge_type), &sources)?;
        Ok(Arc::new(merged.set_by(origins::of_policies([parent, policy]))))
    }

    fn problems_on(settings: &Self::Settings, reach: &Reach<'_, '_>, listeners: &[ListenerId]) -> Vec<Problem> {
        let gateways: BTreeSet<GatewayId> = listeners.iter().map(|listener| listener.gateway).collect();
        let rules = settings.http_filters().iter().filter_map(|filter| match filter {
            HttpFilter::RateLimit(filter) => Some(&filter.limits.rules),
            _ => None,
        });
        let keys = rules.flatten().filter_map(|rule| match &rule.response_cost {
            Some(Cost::Llm(key)) => Some((rule, key)),
            _ => None,
        });
        let problem = |(rule, key): (&LimitRule, &Arc<str>)| {
            let on = |gateway: &GatewayId| {
                let state = &reach.gateways[*gateway];
                let error = LlmCosts::find(state.costs.costs.as_deref(), key).err()?;
                let effect = if rule.is_shadow { "it counts nothing there" } else { "its requests are answered 500 there" };
                let message = format!("limit {} on Gateway {}: cost.response.metadata: {error}; {effect}", rule.name, state.name);
                Some(Problem::accepted("Invalid", message))
            };
            gateways.iter().filter_map(on).collect::<Vec<_>>()
        };
        keys.flat_map(problem).collect()
    }

    fn deprecated(&self) -> Vec<(&'static str, &'static str)> {
        deprecated::of_traffic(self)
    }

    fn unenforced(policy: &BackendTrafficPolicy, reach: &Reach<'_, '_>) -> Vec<&'static str> {
        unenforced::of_traffic(policy, reach.has_limit_store)
    }
}

/// How many rules `rateLimit.local` and `rateLimit.global` have.
fn limits(spec: &BackendTrafficPolicySpec) -> [usize; 2] {
    let limit = spec.rate_limit.as_ref();
    [limit.and_then(|it| it.local.as_ref()), limit.and_then(|it| it.global.as_ref())].map(|it| it.map_or(0, |it| it.rules.len()))
}
