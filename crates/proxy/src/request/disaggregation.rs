//! Prefill at one endpoint of a pool and decode at another, without a sidecar: the gateway sends both their part of the request.
//!
//! [`Plan`] says of a request whether another endpoint is to prefill, and how; an attempt carries it out. Reading order: `plan`; `bodies`, of
//! both parts; `handover`, from the first reply to the second body; `leg`, one request to an endpoint that prefills; `remote`, an attempt by any
//! of the protocols; `side_by_side`, SGLang's and Mooncake's; `mooncake`, the question before the latter.

mod bodies;
mod handover;
mod leg;
mod mooncake;
mod plan;
mod remote;
mod side_by_side;

pub(super) use plan::{Plan, Subject};
