//! Statuses of objects: conditions in the shape in which Kubernetes keeps them (all but `lastTransitionTime`, which their
//! writer adds).

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
