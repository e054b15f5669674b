//! Envoy's external processing (`ext_proc`), and the endpoint picker protocol of Gateway API Inference Extension, by which a proxy
//! asks an endpoint picker for a request's endpoint over it.
//!
//! - [`processor`]: the proxy's side, for an external processor, which sees requests and responses and may change them.
//! - [`client`]: the proxy's side, for a foreign picker. It opens no connections: it makes the request that begins a
//!   conversation, and takes the response.
//! - [`server`]: the picker's side, for a foreign proxy: the gRPC call, requests, and replies.
//! - [`endpoints`]: the notation of endpoints; [`names`]: the protocol's keys.

mod chunks;
pub mod client;
mod direction;
pub mod endpoints;
pub mod names;
pub mod processor;
mod room;
pub mod server;

pub use direction::Direction;
pub use room::Room;
