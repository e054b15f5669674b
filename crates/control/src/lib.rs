//! A gateway's controller in a Kubernetes cluster: it watches the objects that configure gateways, compiles them, and says in
//! their statuses what came of it.
//!
//! - [`source`]: the API server's objects as a [`Store`](pailou_compile::store::Store), compiled again whenever they change.
//! - [`status`]: the one writer of statuses.
//! - [`leader`]: which replica writes.
//! - [`events`]: what people see in `kubectl describe`.
//! - [`provision`]: a data plane for each Gateway.
//! - [`feed`]: what proxies are told.
//! - [`controller`]: all of it together.
//! - [`pool`]: what an endpoint picker follows, one InferencePool and its Pods, without any of the others.
//!
//! # Permissions
//! What the code of this crate asks of the API server is listed in `docs/reference/chart.md` and given by the chart in `deploy/chart`; a test
//! holds the two to agree. `gatewayclasses`, `namespaces`, `customresourcedefinitions` and `clustertrustbundles` are cluster-scoped and are always watched
//! as such. Where [`Options::namespaces`] names some, all else is watched in those alone, and a Role in each is enough.

pub mod cluster_state;
pub mod connection;
pub mod controller;
pub mod pool;

pub mod leader;
pub mod source;
pub mod status;

pub mod feed;
pub mod provision;

mod backoff;
mod dynamic;
mod error;
pub mod events;
mod list_watch;
mod metrics;
mod work;

pub use cluster_state::{ClusterState, CompiledState, Json, Objects};
pub use connection::Connection;
pub use controller::{Controller, Options};
pub use error::Error;
pub use metrics::Metrics;

/// The name under which everything is written: `managedFields`, events and the user agent show it.
pub const FIELD_MANAGER: &str = "pailou";
