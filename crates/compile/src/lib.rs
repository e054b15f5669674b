//! From objects to a `Snapshot`, its endpoints, and the status of every object: a pure function, without IO and without a
//! clock. This is where Gateway API lives: attachment, host names, grants, precedence, conflicts.
//!
//! The order of work is the order of the modules below: classes say which Gateways are ours, Gateways give listeners, listeners
//! take routes, routes lead to clusters, and only then is it known what policies and pools reach.
//!
//! A [`Compiler`] does not compile anew what cannot have changed. Whatever is looked up in the `index` is noted. What a route came to
//! (`output`) holds for as long as nothing has changed that was looked up for it, and nothing that was looked up for what all
//! routes share (Gateways, policies, pools). Clusters and breakers are numbered in the order of routes (`order`, `cluster_ids`): those
//! that come after a change are counted through again, and a route whose numbers are others is compiled again. All that is shared is
//! put together of what the routes came to, listeners' tables (`tables`) by the host names that a change concerns.

pub mod by_key;
pub mod status;
pub mod store;

mod ids;
pub(crate) mod index;
mod indexed;
mod settings;

pub(crate) mod grants;
mod pem;
mod regexes;
mod warnings;

mod addresses;
mod bundles;
pub(crate) mod class;
mod client_certificates;
mod conflicts;
mod features;
pub(crate) mod gateway;
pub(crate) mod listener;
mod listener_protocol;
mod listener_sets;
pub(crate) mod parameters;
mod ports;

pub(crate) mod attach;
pub(crate) mod connections;
mod custom_body;
mod extension;
mod external_auth;
mod filters;
mod matches;
pub(crate) mod routes;
mod rules;

mod build;
mod cluster_ids;
mod order;
mod output;
mod tables;

mod authorities;
mod backends;
mod clusters;
mod endpoints;
pub(crate) mod models;
mod one_pool;
mod picker;
mod pools;
mod resolver;
mod upstream_tls;

mod policies;
mod undecodable;
mod unsupported_kinds;

mod compiler;
pub mod reach;

pub use addresses::CLUSTER;
pub use compiler::{Compiled, Compiler, compile};
pub use indexed::Indexed;
pub(crate) use indexed::refers_alike;
pub use one_pool::one_pool;
pub use parameters::parameters;
pub use settings::{CONTROLLER_NAME, DataPlane, ENVOY_GATEWAY_CONTROLLER, Mode, Settings};
