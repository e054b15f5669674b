//! The built-in picker as an endpoint picker for other gateways: Envoy, agentgateway, Istio and whoever else speaks the endpoint
//! picker protocol of Gateway API Inference Extension.
//!
//! An [`EndpointPicker`] serves one InferencePool, whose settings and endpoints it is given; a [`Server`] lets proxies ask it. In the
//! order in which a request passes:
//!
//! - `server`: sockets, TLS and HTTP/2; `tls`: the certificate, its own or from files;
//! - `calls`: what is asked, however it came;
//! - `conversation`: one request from its headers to the end of its response;
//! - `body`: the request's body, held until it is whole, within bounds;
//! - `decision`: what the body says, the pick, and what becomes of the body;
//! - `observer`: the response, as far as it tells how the endpoint fares.

mod body;
mod calls;
mod conversation;
mod decision;
mod metrics;
mod observer;
mod pool;
mod server;
mod tls;

pub use calls::{Calls, Limits};
pub use pool::EndpointPicker;
pub use server::{BindError, Options, Server};
pub use tls::{Certificate, CertificateError};
