//! What is said of each object: its conditions, in the shape in which Kubernetes keeps them (all but `lastTransitionTime`, which
//! whoever writes them adds).

mod condition;
mod object;
mod table;

pub(crate) use condition::Problem;
pub use condition::{Condition, ConditionStatus, Severity};
pub use object::{
    AncestorStatus, ClassStatus, ConditionList, GatewayAddress, GatewayStatus, GroupKind, ListenerStatus, Note, ParentStatus,
    PoolParentStatus, PoolReference, SectionReference, Status, StatusBody, SupportedFeature, differ_by_counts,
};
pub use table::{Changed, Finding, Statuses};
