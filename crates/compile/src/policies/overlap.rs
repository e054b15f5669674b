//! Policies that meet.

use crate::ids::PolicyId;

use super::targets::Target;

/// Two policies that meet at a rule: the rule's or its route's own, and the listener's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Overlap {
    pub(super) own: PolicyId,
    pub(super) outer: PolicyId,
    pub(super) route: Target,
    pub(super) outcome: OverlapOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum OverlapOutcome {
    Replaced,
    Merged,
    /// Merging yields settings that cannot be read.
    Unmergeable(String),
}
