//! External authorization: what an authorization server is asked about a request, and what its answer means. By Envoy's `ext_authz`
//! ([`grpc`]), or by HTTP ([`plain`]), as GEP-1494 has them.
//!
//! It opens no connections: a [`AuthorizationRequest`] becomes a request, and the response to that a [`Decision`].

mod changes;
mod decision;
mod failure;
pub mod grpc;
pub mod plain;
mod request;

pub use decision::{Allowed, Decision};
pub use failure::Failure;
pub use request::AuthorizationRequest;
