//! A gateway's controller in a Kubernetes cluster: it watches the objects that configure gateways, compiles them, and says in
//! their statuses what came of it.
//!
//! - [`source`]: the API server's objects as a [`Store`](pailou_config::store::Store), compiled again whenever they change.
//! - [`status`]: the one writer of statuses.
//! - [`leader`]: which replica writes.
//! - [`events`]: what people see in `kubectl describe`.
//! - [`provision`]: a data plane for each Gateway.
//! - [`feed`]: what proxies are told.
//! - [`controller`]: all of it together.
//!
//! # Permissions
//! What the code of this crate asks of the API server, by group, resource and verbs:
//!
//! | group | resources | verbs |
//! |---|---|---|
//! | (core) | `namespaces`, `services`, `secrets`, `configmaps`, `pods` | list, watch |
//! | `discovery.k8s.io` | `endpointslices` | list, watch |
//! | `apiextensions.k8s.io` | `customresourcedefinitions` | get, list, watch |
//! | `gateway.networking.k8s.io` | `gatewayclasses`, `gateways`, `listenersets`, `httproutes`, `grpcroutes`, `tlsroutes`, `tcproutes`, `udproutes`, `referencegrants`, `backendtlspolicies` | get, list, watch |
//! | `gateway.networking.k8s.io` | `…/status` of these but `referencegrants` | update |
//! | `inference.networking.k8s.io` | `inferencepools` | get, list, watch |
//! | `inference.networking.k8s.io` | `inferencepools/status` | update |
//! | `inference.networking.x-k8s.io` | `inferencepools`, `inferencemodels`, `inferenceobjectives`, `inferencemodelrewrites` | get, list, watch |
//! | `inference.networking.x-k8s.io` | `…/status` of these | update |
//! | `gateway.envoyproxy.io` | `backends`, `httproutefilters`, `clienttrafficpolicies`, `backendtrafficpolicies`, `securitypolicies`, `envoyproxies`, `envoyextensionpolicies`, `envoypatchpolicies` | get, list, watch |
//! | `gateway.envoyproxy.io` | `…/status` of `backends` and of the policies | update |
//! | (core) | `services`, `serviceaccounts`, `configmaps` | patch, delete |
//! | (core), in the controller's namespace | `secrets` | get, create, update |
//! | `apps` | `deployments` | list, watch, patch, delete |
//! | `authentication.k8s.io` | `tokenreviews` | create |
//! | `events.k8s.io` | `events` | create, patch |
//! | `coordination.k8s.io`, in the controller's namespace | `leases` | create, get, update |
//!
//! `gatewayclasses`, `namespaces` and `customresourcedefinitions` are cluster-scoped and are always watched as such. Where
//! [`Options::namespaces`] names some, all else is watched in those alone, and a Role in each is enough.

pub mod connection;
pub mod controller;
pub mod published;

pub mod leader;
pub mod source;
pub mod status;

pub mod feed;
pub mod provision;

mod backoff;
mod error;
pub mod events;
mod metrics;

pub use connection::Connection;
pub use controller::{Controller, Options};
pub use error::Error;
pub use metrics::Metrics;
pub use published::{Json, Objects, Published};

/// The name under which everything is written: `managedFields`, events and the user agent show it.
pub const FIELD_MANAGER: &str = "pailou";
