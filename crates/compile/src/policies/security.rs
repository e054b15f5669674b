//! SecurityPolicy: CORS is enforced; whatever else it asks for is not, so that what it protects answers nobody.

use std::sync::Arc;

use pailou_api::{
    Resource, SecurityPolicy,
    envoy::{
        merge::{MergeOver, MergeType},
        security_policy::SecurityPolicySpec,
    },
    refs::{PolicyTargetReference, TargetSelector},
};
use pailou_snapshot::{Failure, HttpFilter, RouteName};

use crate::{
    ids::PolicyId,
    index::{Index, TrackedTable},
    status::Problem,
};

use super::{
    cors,
    overlap::Overlap,
    policy_targets::{PolicyTargets, TargetedSpec},
    targets::TargetKind,
};

/// All SecurityPolicies.
pub(crate) type SecurityPolicies<'a> = PolicyTargets<'a, SecurityPolicySpec>;

/// SecurityPolicy of a rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    cors: Option<HttpFilter>,
    /// Why the rule must answer nobody.
    pub(crate) closed: Option<Failure>,
}

impl Security {
    /// Filters for the rule, unless it has its own of the same kind.
    pub(crate) fn http_filters(&self) -> &[HttpFilter] {
        self.cors.as_slice()
    }
}

impl SecurityPolicies<'_> {
    /// The settings of a rule on a listener with the policy `outer`. A policy that cannot be enforced closes the rule.
    pub(crate) fn security(
        &self,
        index: &Index<'_>,
        outer: Option<PolicyId>,
        rule: &RouteName,
        overlaps: &mut Vec<Overlap>,
    ) -> Security {
        match self.effective(index, outer, rule, overlaps) {
            Ok(cors) => Security { cors: cors.flatten(), closed: None },
            Err((SecurityPolicy { meta, .. }, problem)) => {
                let message = format!("SecurityPolicy {}/{}: {}", meta.namespace, meta.name, problem.message);
                Security { cors: None, closed: Some(Failure(message.into())) }
            }
        }
    }
}

impl TargetedSpec for SecurityPolicySpec {
    const KIND: &'static str = "SecurityPolicy";
    const TARGETS: &'static [TargetKind] = TargetKind::ROUTING;
    /// CORS.
    type Settings = Option<HttpFilter>;

    fn table<'t, 'a>(index: &'t Index<'a>) -> &'t TrackedTable<'a, Resource<Self>> {
        &index.security_policies
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

    fn read(_index: &Index<'_>, policy: &SecurityPolicy) -> Result<Self::Settings, Problem> {
        read(&policy.spec)
    }

    fn read_merged(
        _index: &Index<'_>,
        policy: &SecurityPolicy,
        parent: &SecurityPolicy,
        merge_type: MergeType,
    ) -> Result<Self::Settings, Problem> {
        read(&policy.spec.over(&parent.spec, merge_type))
    }

    fn unenforced(_policy: &SecurityPolicy) -> Vec<&'static str> {
        // A policy that is not enforced whole is refused.
        Vec::new()
    }
}

fn read(spec: &SecurityPolicySpec) -> Result<Option<HttpFilter>, Problem> {
    let unenforced = spec.unsupported();
    if !unenforced.is_empty() {
        let paths: Vec<_> = unenforced.iter().map(|path| format!("spec.{path}")).collect();
        return Err(Problem::accepted(
            "Invalid",
            format!(
                "{} cannot be enforced: the routes that the policy applies to answer 500 to everyone until it is removed",
                paths.join(", ")
            ),
        ));
    }
    let cors = spec.cors.as_ref().map(cors::of_policy).transpose()?;
    Ok(cors.map(|cors| HttpFilter::Cors(Arc::new(cors))))
}
