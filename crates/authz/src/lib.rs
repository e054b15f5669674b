//! External authorization: the request to an authorization server, and its decision, by Envoy's `ext_authz` ([`grpc`]) or by
//! HTTP ([`plain`]), as in GEP-1494.
//!
//! It opens no connections: an [`AuthorizationRequest`] becomes a request, and the response to that a [`Decision`].

mod changes;
mod decision;
mod failure;
pub mod grpc;
pub mod plain;
mod request;

pub use changes::is_open;
pub use decision::{Allowed, Decision};
pub use failure::Failure;
pub use request::AuthorizationRequest;
