//! From objects to a `Snapshot`, its endpoints, and the status of every object: a pure function, without IO and without a
//! clock. Gateway API lives here: attachment, host names, grants, precedence, conflicts.
//!
//! The modules below stand in the order of work: classes select our Gateways, Gateways give listeners, listeners take routes,
//! routes lead to clusters, and only then the compiler knows which objects policies and pools reach.
//!
//! A [`Compiler`] does not repeat work whose input has not changed. It records every lookup in the `index`. A route's result
//! (`output`) stays valid while no object has changed that its lookups, or those for the part that all routes share (Gateways,
//! policies, pools), concerned. Clusters and breakers have numbers in the order of routes (`order`, `cluster_ids`): a change
//! renumbers those after it, and the compiler compiles a route with new numbers again. It joins the routes' results to all that
//! is shared, listeners' tables (`tables`) only for the host names that a change concerns.

pub mod by_key;
pub mod status;
pub mod store;

mod ids;
pub(crate) mod index;
mod indexed;
mod session_key_source;
mod settings;

pub(crate) mod grants;
mod headers;
mod pem;
mod redirect;
mod regexes;
mod server_path;
mod servers;
mod telemetry_collector;
mod template;
mod tls_version;
mod warnings;
mod wrong_kind;

mod addresses;
mod bundles;
pub(crate) mod class;
mod client_certificates;
mod client_trust;
mod conflicts;
mod features;
pub(crate) mod gateway;
mod gateway_costs;
mod limit_backend;
mod limit_service;
mod limit_settings;
mod limit_store;
pub(crate) mod listener;
mod listener_protocol;
mod listener_set_status;
mod listener_sets;
mod llm_costs;
pub(crate) mod parameters;
mod ports;
mod reserved_ports;

pub(crate) mod route;

mod any_route;
pub(crate) mod attach;
mod compile_route;
pub(crate) mod connections;
mod custom_body;
mod custom_spans;
mod ext_proc;
mod extension;
mod external_auth;
mod filter_set;
mod filters;
mod gateway_logs;
mod gateway_metrics;
mod gateway_traces;
mod matches;
mod oidc;
mod route_compiler;
pub(crate) mod routes;
mod rule_context;
mod rules;
mod session;

mod build;
mod cluster_ids;
mod order;
mod output;
mod string_match;
mod tables;

mod annotation;
mod authorities;
mod backend_limits;
mod backends;
mod clusters;
mod disaggregation;
mod draft;
mod endpoint_picker_config;
mod endpoints;
mod kv_events;
pub(crate) mod models;
mod one_pool;
mod picker;
mod pool_annotations;
mod pool_configuration;
mod pools;
mod queueing;
mod remote_documents;
mod resolver;
mod upstream_tls;

mod policies;
mod undecodable;
mod unsupported_kinds;

mod compiler;
pub mod reach;

pub use addresses::CLUSTER;
pub use compiler::{Compiled, Compiler, compile};
pub use endpoint_picker_config::PickerConfiguration;
pub use indexed::Indexed;
pub(crate) use indexed::refers_alike;
pub use limit_service::{LimitServiceTlsError, ServiceCertificates};
pub use one_pool::one_pool;
pub use parameters::parameters;
pub use session_key_source::{SESSION_KEY, SESSION_KEY_SECRET, SessionKeySource};
pub use settings::{ADMIN_PORT, CONTROLLER_NAME, DataPlane, ENVOY_GATEWAY_CONTROLLER, Mode, OlderPolicy, Settings, Unprotected};
pub use unsupported_kinds::unsupported_kind;
