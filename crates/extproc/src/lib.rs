//! The endpoint picker protocol of Gateway API Inference Extension: Envoy's external processing (`ext_proc`), by which a proxy asks
//! an endpoint picker where a request is to go.
//!
//! - [`client`]: the proxy's side, for someone else's picker. It opens no connections: it makes the request that begins a
//!   conversation, and is given the response.
//! - [`server`]: the picker's side, for someone else's proxy: the gRPC call, what its messages ask for, and the answers.
//! - [`endpoints`]: how endpoints are written; [`names`]: the protocol's keys.

mod chunks;
pub mod client;
mod direction;
pub mod endpoints;
pub mod names;
pub mod server;

pub use direction::Direction;
