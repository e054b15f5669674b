//! The feed: a controller streams to each proxy the objects that its Gateway reaches, and nothing else.
//!
//! The feed works like a watch of the API server: one HTTP request over TLS, answered by JSON lines for as long as both sides
//! live. A proxy identifies itself by its pod's service-account token, which the API server reviews. Changes come in batches; a
//! line closes each, and a proxy applies a batch as one: it never serves half a change. After a reconnect the controller sends
//! everything again, and the proxy drops all that the first batch does not hold.

mod access;
pub mod admin_token;
pub mod authority;
pub mod client;
mod reached;
mod server;
mod session;
mod wire;

pub use server::{Feed, Options};

/// Path of the feed.
pub(crate) const PATH: &str = "/v1/objects";
/// Interval of pulses on a feed without changes.
pub(crate) const PULSE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
