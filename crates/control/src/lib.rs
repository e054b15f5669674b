//! A gateway's controller in a Kubernetes cluster: it watches the objects that configure gateways, compiles them, and writes
//! their statuses.
//!
//! - [`source`]: the API server's objects as a [`Store`](pailou_compile::store::Store), compiled again whenever they change.
//! - [`status`]: the one writer of statuses.
//! - [`leader`]: leader election; only the leader writes.
//! - [`events`]: events for `kubectl describe`.
//! - [`provision`]: a data plane for each Gateway.
//! - [`feed`]: objects for the proxies.
//! - [`controller`]: all of it together.
//! - [`proxies`]: the pods of all data planes, for those who read their admin endpoints.
//! - [`pool`]: one InferencePool and its Pods, for an endpoint picker, without any of the others.
//!
//! # Permissions
//! `docs/reference/chart.md` lists the permissions that this crate needs and the chart in `deploy/chart` grants them; a test
//! compares the two. `gatewayclasses`, `namespaces`, `customresourcedefinitions` and `clustertrustbundles` are cluster-scoped,
//! and the controller always watches them as such. If [`Options::namespaces`] names some, the controller watches all else in
//! those alone, and a Role in each is enough.

pub mod cluster_state;
pub mod connection;
pub mod controller;
pub mod pool;

pub mod leader;
pub mod source;
pub mod status;

pub mod feed;
pub mod provision;
pub mod proxies;
pub mod session_key;

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
