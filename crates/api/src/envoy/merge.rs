//! How a route's policy joins its Gateway's, and what every policy has in common.

use serde::Deserialize;

use crate::refs::PolicyTargetReference;

/// How a policy on a route is merged with the policy on its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum MergeType {
    /// Field by field; lists by their keys.
    StrategicMerge,
    /// Field by field; lists as a whole (RFC 7396).
    #[serde(rename = "JSONMerge")]
    JsonMerge,
    /// The route's policy alone.
    Replace,
}

/// `targetRef` and `targetRefs` as one list without repetitions: users write either, and some both.
pub fn joined_targets(single: Option<&PolicyTargetReference>, list: &[PolicyTargetReference]) -> Vec<PolicyTargetReference> {
    let mut joined: Vec<PolicyTargetReference> = single.cloned().into_iter().collect();
    for target in list {
        if !joined.contains(target) {
            joined.push(target.clone());
        }
    }
    joined
}
