//! How a route's policy joins its Gateway's, and what every policy has in common.

mod fields;

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

/// Lays the fields of a policy over those of its parent.
///
/// Objects are merged field by field. A list that is not empty takes the place of the parent's, unless [`MergeType::StrategicMerge`] merges
/// its items by a key. Source: Envoy Gateway, `mergeType`; its lists with `patchMergeKey`.
pub trait MergeOver: Sized {
    /// This value over the parent's.
    fn over(&self, parent: &Self, merge_type: MergeType) -> Self;
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
