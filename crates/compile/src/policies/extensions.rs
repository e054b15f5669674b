//! EnvoyExtensionPolicy: external processors are run; nothing that it would load into Envoy is, so that what that guards answers nobody.

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
    ancestors::Reach,
    deprecated,
    ext_proc::{self, Processors},
    overlap::Overlap,
    policy_targets::{PolicyTargets, TargetedSpec},
    targets::TargetKind,
};

/// All EnvoyExtensionPolicies.
pub(crate) type ExtensionPolicies<'a> = PolicyTargets<'a, EnvoyExtensionPolicySpec>;

impl ExtensionPolicies<'_> {
    /// The processors of a rule on a listener with the policy `outer`.
    ///
    /// # Errors
    /// Why the rule must answer nobody.
    pub(crate) fn processors(
        &self,
        index: &Index<'_>,
        outer: Option<PolicyId>,
        rule: &RouteName,
        overlaps: &mut Vec<Overlap>,
    ) -> Result<Processors, Failure> {
        let found = self.effective(index, outer, rule, overlaps);
        found.map(Option::unwrap_or_default).map_err(|(EnvoyExtensionPolicy { meta, .. }, problem)| {
            Failure(format!("EnvoyExtensionPolicy {}/{}: {}", meta.namespace, meta.name, problem.message).into())
        })
    }
}

impl TargetedSpec for EnvoyExtensionPolicySpec {
    const KIND: &'static str = "EnvoyExtensionPolicy";
    const TARGETS: &'static [TargetKind] = TargetKind::ROUTING;
    type Settings = Processors;

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

    fn read(index: &Index<'_>, policy: &EnvoyExtensionPolicy) -> Result<Processors, Problem> {
        guard(&policy.spec)?;
        ext_proc::of_policy(index, policy)
    }

    /// Guards everything that either of the two guards. Processors take the place of the parent's, as in Envoy Gateway, which merges no
    /// lists of them.
    fn read_merged(
        index: &Index<'_>,
        policy: &EnvoyExtensionPolicy,
        parent: &EnvoyExtensionPolicy,
        _merge_type: MergeType,
    ) -> Result<Processors, Problem> {
        guard(&policy.spec)?;
        guard(&parent.spec)?;
        ext_proc::of_policy(index, if policy.spec.ext_proc.is_empty() { parent } else { policy })
    }

    fn problems(processors: &Processors) -> Vec<Problem> {
        processors.problems.clone()
    }

    fn deprecated(&self) -> Vec<(&'static str, &'static str)> {
        deprecated::of_target(self.target_ref.is_some())
    }

    fn remark(&self) -> Option<String> {
        let built_in = self.wasm.iter().enumerate().filter(|(_, it)| it.is_built_in());
        let built_in: Vec<_> = built_in.map(|(place, _)| format!("spec.wasm[{place}]")).collect();
        (!built_in.is_empty()).then(|| {
            format!(
                "{} is not run and not needed: the gateway itself counts tokens and exports metrics of model calls (gen_ai_*; with \
                 --metric-names ack also gen_ai_client_operation_duration)",
                built_in.join(", ")
            )
        })
    }

    fn unenforced(policy: &EnvoyExtensionPolicy, _reach: &Reach<'_, '_>) -> Vec<&'static str> {
        policy.spec.unsupported()
    }
}

/// Refuses a policy with an extension that cannot be run, and without which no request may pass.
fn guard(spec: &EnvoyExtensionPolicySpec) -> Result<(), Problem> {
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
