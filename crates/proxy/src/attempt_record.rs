//! Data of one attempt at a backend, kept for requests whose traces are.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{StatusCode, uri::PathAndQuery};
use pailou_telemetry::ids::SpanId;

use crate::{
    cluster::{ClusterState, EndpointState},
    error::Flag,
};

/// One attempt.
pub(crate) struct AttemptRecord {
    /// Its span.
    pub(crate) span_id: SpanId,
    /// When it began.
    pub(crate) started: Instant,
    /// From `started` to its failure, or to the response's head.
    pub(crate) took: Option<Duration>,
    /// The cluster that was chosen.
    pub(crate) cluster: Arc<ClusterState>,
    /// The endpoint.
    pub(crate) endpoint: Arc<EndpointState>,
    /// Whether the connection is under TLS.
    pub(crate) is_tls: bool,
    /// Path as the endpoint gets it.
    pub(crate) path: PathAndQuery,
    /// The engine's name for the model, where that is not the client's.
    pub(crate) target_model: Option<Arc<str>>,
    /// The response's status.
    pub(crate) status: Option<StatusCode>,
    /// Why there is none.
    pub(crate) flag: Option<Flag>,
    /// The response goes on to the client, and the attempt ends with the request.
    pub(crate) is_relayed: bool,
}
