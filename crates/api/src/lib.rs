//! Kubernetes objects as Rust types: the only configuration language of the gateway.
//!
//! A value of one of these types has passed the checks that an API server would make from the
//! kind's schema, and has every default filled in. All served versions of a kind decode into one
//! type. Fields that the API has and the gateway does not act on are `Option<Unsupported>`, and
//! each spec lists those that are set in `unsupported()`.

pub mod meta;
pub mod object;

pub mod duration;
pub mod int_or_string;
pub mod names;
pub mod port;
pub mod quantity;
pub mod selector;
pub mod unsupported;

pub mod references;
pub mod refs;

pub mod gateway;
pub mod gateway_class;
pub mod listener;
pub mod listener_set;

pub mod external_auth;
pub mod grpc_route;
pub mod header_filter;
pub mod http_filter;
pub mod http_match;
pub mod http_route;
pub mod l4_route;
pub mod path_modifier;
pub mod session;

pub mod backend_tls_policy;
pub mod reference_grant;

pub mod endpoint_picker_config;
pub mod inference_model;
pub mod inference_pool;

pub mod validate;

pub mod parse;
pub mod undecodable;

pub mod ack;
pub mod ai_gateway;
pub mod core_v1;
pub mod envoy;

pub use ack::{AckTrafficFilter, InferenceTrafficPolicy};
pub use ai_gateway::gateway_config::GatewayConfig;
pub use backend_tls_policy::BackendTlsPolicy;
pub use core_v1::cluster_trust_bundle::ClusterTrustBundle;
pub use core_v1::config_map::ConfigMap;
pub use core_v1::endpoint_slice::EndpointSlice;
pub use core_v1::namespace::Namespace;
pub use core_v1::pod::Pod;
pub use core_v1::secret::{Secret, SecretValue};
pub use core_v1::service::Service;
pub use duration::Duration;
pub use envoy::backend::Backend;
pub use envoy::backend_traffic_policy::BackendTrafficPolicy;
pub use envoy::client_traffic_policy::ClientTrafficPolicy;
pub use envoy::envoy_proxy::EnvoyProxy;
pub use envoy::http_route_filter::EnvoyHttpRouteFilter;
pub use envoy::recognised::{EnvoyExtensionPolicy, EnvoyPatchPolicy};
pub use envoy::security_policy::SecurityPolicy;
pub use gateway::Gateway;
pub use gateway_class::GatewayClass;
pub use grpc_route::GrpcRoute;
pub use http_route::HttpRoute;
pub use inference_model::{InferenceModel, InferenceModelRewrite, InferenceObjective};
pub use inference_pool::InferencePool;
pub use int_or_string::IntOrString;
pub use l4_route::{TcpRoute, TlsRoute, UdpRoute};
pub use listener_set::ListenerSet;
pub use meta::{Meta, ObjectKey, Resource};
pub use names::{GroupName, HeaderName, HeaderValue, Hostname, KindName, NamespaceName, ObjectName, PreciseHostname, SectionName};
pub use object::{Kind, Object, Typed};
pub use port::PortNumber;
pub use quantity::Quantity;
pub use reference_grant::ReferenceGrant;
pub use selector::LabelSelector;
pub use unsupported::Unsupported;
