//! EnvoyExtensionPolicy: nothing that it would load into Envoy is run, so that what it guards answers nobody.

use pailou_api::{
    EnvoyExtensionPolicy, Resource,
    envoy::{merge::MergeType, recognised::EnvoyExtensionPolicySpec},
    refs::{PolicyTargetReference, TargetSelector},
};
use pailou_snapshot::{Failure, RouteName};

use crate::{
    ids::PolicyId,
    index::{Index, TrackedTable},
    status::Problem,
};

use super::{
    overlap::Overlap,
    policy_targets::{PolicyTargets, TargetedSpec},
    targets::TargetKind,
};

/// All EnvoyExtensionPolicies.
pub(crate) type ExtensionPolicies<'a> = PolicyTargets<'a, EnvoyExtensionPolicySpec>;

impl ExtensionPolicies<'_> {
    /// Why a rule on a listener with the policy `outer` must answer nobody.
    pub(crate) fn closed(
        &self,
        index: &Index<'_>,
        outer: Option<PolicyId>,
        rule: &RouteName,
        overlaps: &mut Vec<Overlap>,
    ) -> Option<Failure> {
        let (EnvoyExtensionPolicy { meta, .. }, problem) = self.effective(index, outer, rule, overlaps).err()?;
        Some(Failure(format!("EnvoyExtensionPolicy {}/{}: {}", meta.namespace, meta.name, problem.message).into()))
    }
}

impl TargetedSpec for EnvoyExtensionPolicySpec {
    const KIND: &'static str = "EnvoyExtensionPolicy";
    const TARGETS: &'static [TargetKind] = TargetKind::ROUTING;
    type Settings = ();

    fn table<'t, 'a>(index: &'t Index<'a>) -> &'t TrackedTable<'a, Resource<Self>> {
        &index.extension_policies
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

    fn read(_index: &Index<'_>, policy: &EnvoyExtensionPolicy) -> Result<(), Problem> {
        read(&policy.spec)
    }

    /// Guards everything that either of the two guards.
    fn read_merged(
        _index: &Index<'_>,
        policy: &EnvoyExtensionPolicy,
        parent: &EnvoyExtensionPolicy,
        _merge_type: MergeType,
    ) -> Result<(), Problem> {
        read(&policy.spec)?;
        read(&parent.spec)
    }

    fn unenforced(policy: &EnvoyExtensionPolicy) -> Vec<&'static str> {
        policy.spec.unsupported()
    }
}

fn read(spec: &EnvoyExtensionPolicySpec) -> Result<(), Problem> {
    let guards: Vec<_> = spec.guards().iter().map(|path| format!("spec.{path}")).collect();
    if guards.is_empty() {
        return Ok(());
    }
    let remedy = if spec.lua.is_empty() && spec.dynamic_module.is_empty() { " or failOpen is set" } else { "" };
    let message = format!(
        "{} cannot be run: the routes that the policy applies to answer 500 to everyone until it is removed{remedy}",
        guards.join(", ")
    );
    Err(Problem::accepted("Invalid", message))
}
