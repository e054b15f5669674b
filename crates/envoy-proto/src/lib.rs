//! The protobuf messages of Envoy's services, limited to the fields that Pailou writes or reads. Names and field numbers are
//! Envoy's. Decoders skip all other fields.
//!
//! - [`core`]: `envoy.config.core.v3`, which all services share, and the statuses.
//! - [`access_log`]: `envoy.service.accesslog.v3`, the access log service.
//! - [`ext_proc`]: `envoy.service.ext_proc.v3`, external processing.
//! - [`ext_authz`]: `envoy.service.auth.v3`, external authorization.
//! - [`rate_limit`]: `envoy.service.ratelimit.v3`, the rate limit service.
//! - [`structs`]: constructors and readers for `google.protobuf.Struct`.
//!
//! A further service adds one module beside these and takes its headers and statuses from [`core`].
//!
//! Four modules hold the meaning of messages that services share: [`header_mutation`] applies changes of headers to a message,
//! [`LocalReply`] is a response that a server tells the gateway to send to the client, [`frame`] encodes a message for gRPC, and [`grpc`]
//! makes unary calls of them.

pub mod access_log;
pub mod core;
pub mod ext_authz;
pub mod ext_proc;
pub mod frame;
pub mod grpc;
pub mod header_mutation;
mod local_reply;
pub mod rate_limit;
pub mod structs;

pub use local_reply::LocalReply;
