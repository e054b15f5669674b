//! SecurityPolicy: CORS is enforced; whatever else it asks for is not, so that what it protects answers nobody.

use std::sync::Arc;

use crate::status::{Condition, Problem, Statuses};
use pailou_api::{
    ObjectKey, SecurityPolicy,
    envoy::{ENVOY_GROUP, merge::MergeType},
};
use pailou_snapshot::{Failure, HttpFilter, ListenerName, RouteName};

use super::{
    super::{
        ids::{ById, PolicyId},
        index::Index,
    },
    cors,
    report::{Reach, report},
    targets::{Claims, DeclaredTargets, TargetKind, crosses_namespaces},
};

/// What holds for a rule.
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

/// All SecurityPolicies.
#[derive(Default)]
pub(crate) struct SecurityPolicies<'a> {
    policies: ById<PolicyId, PolicyState<'a>>,
    claims: Claims,
}

struct PolicyState<'a> {
    object: &'a SecurityPolicy,
    security: Security,
    problem: Option<Problem>,
}

impl<'a> SecurityPolicies<'a> {
    /// Reads all policies. They have no targets yet.
    pub(crate) fn new(index: &Index<'a>) -> Self {
        let state = |object| {
            let (security, problem) = read(object);
            PolicyState { object, security, problem }
        };
        Self { policies: index.security_policies.iter().map(state).collect(), claims: Claims::default() }
    }

    /// Distributes the targets.
    pub(crate) fn claim(&mut self, index: &Index<'_>) -> &Claims {
        let asked = self.policies.iter().map(|(_, it)| it.object).map(|policy| DeclaredTargets {
            meta: &policy.meta,
            refs: policy.spec.targets(),
            selectors: &policy.spec.target_selectors,
        });
        self.claims = Claims::new(index, TargetKind::ROUTING, asked);
        &self.claims
    }

    /// The policy of a listener.
    pub(crate) fn of_listener(&self, listener: &ListenerName) -> Option<PolicyId> {
        self.claims.of_listener(listener)
    }

    /// What holds for a rule on a listener with this policy.
    pub(crate) fn effective(&self, listener: Option<PolicyId>, rule: &RouteName) -> Security {
        match (self.claims.of_rule(rule), listener) {
            (None, None) => Security::default(),
            (None, Some(only)) | (Some(only), None) => self.policies[only].security.clone(),
            (Some(own), Some(outer)) => {
                let (inner, outer) = (&self.policies[own].security, &self.policies[outer].security);
                match self.policies[own].object.spec.merge_type {
                    Some(MergeType::StrategicMerge | MergeType::JsonMerge) => Security {
                        cors: inner.cors.clone().or_else(|| outer.cors.clone()),
                        closed: inner.closed.clone().or_else(|| outer.closed.clone()),
                    },
                    Some(MergeType::Replace) | None => inner.clone(),
                }
            }
        }
    }

    /// Writes down every policy's status.
    pub(crate) fn report(&self, reach: &Reach<'_, '_>, statuses: &mut Statuses) {
        for (id, state) in self.policies.iter() {
            let meta = &state.object.meta;
            let key = ObjectKey::new(ENVOY_GROUP, "SecurityPolicy", &meta.namespace, &meta.name);
            let problem: Vec<_> = state.problem.clone().into_iter().collect();
            let conditions = |_: &_| vec![Condition::summary("Accepted", &problem, meta.generation)];
            report(reach, &self.claims, id, (key, meta.generation), conditions, statuses);
        }
    }
}

fn read(policy: &SecurityPolicy) -> (Security, Option<Problem>) {
    let mut unenforced = policy.spec.unsupported();
    if crosses_namespaces(&policy.spec.target_selectors) {
        unenforced.push("targetSelectors[].namespaces");
    }
    let closed = |problem: Problem| {
        let failure = Failure(format!("SecurityPolicy {}/{}: {}", policy.meta.namespace, policy.meta.name, problem.message).into());
        (Security { cors: None, closed: Some(failure) }, Some(problem))
    };
    if !unenforced.is_empty() {
        let paths: Vec<_> = unenforced.iter().map(|path| format!("spec.{path}")).collect();
        return closed(Problem::accepted(
            "Invalid",
            format!(
                "{} cannot be enforced: the routes that the policy applies to answer 500 to everyone until it is removed",
                paths.join(", ")
            ),
        ));
    }
    match policy.spec.cors.as_ref().map(cors::of_policy).transpose() {
        Ok(cors) => (Security { cors: cors.map(|cors| HttpFilter::Cors(Arc::new(cors))), closed: None }, None),
        Err(problem) => closed(problem),
    }
}
