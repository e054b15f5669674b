//! The built-in picker as an endpoint picker for other gateways: Envoy, agentgateway, Istio and all others that speak the
//! endpoint picker protocol of Gateway API Inference Extension.
//!
//! An [`EndpointPicker`] serves one InferencePool with the settings and endpoints that it gets; a [`Server`] lets proxies ask
//! it. In the order in which a request passes:
//!
//! - `server`: sockets, TLS and HTTP/2; `tls`: the certificate, its own or from files;
//! - `calls`: gRPC calls of any transport;
//! - `conversation`: one request from its headers to the end of its response;
//! - `body`: the request's body, held until it is whole, within bounds;
//! - `decision`: the body's model, the pick, and the changed body;
//! - `observer`: the response, as a sign of the endpoint's state.

mod body;
mod calls;
mod conversation;
mod decision;
mod metrics;
mod observer;
mod pool;
mod prefill;
mod server;
mod tls;

pub use calls::{Calls, Limits};
pub use pool::EndpointPicker;
pub use server::{BindError, Options, Server};
pub use tls::{Certificate, CertificateError};
