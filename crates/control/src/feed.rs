//! The feed: what a controller streams to each proxy, the objects that its Gateway reaches, and nothing else.
//!
//! It is made as a watch of the API server is: one HTTP request over TLS, answered by JSON lines for as long as both sides live. A
//! proxy shows who it is by its pod's service-account token, which the API server is asked about. Changes come in batches, each
//! closed by a line that says so, and a proxy takes in a batch as one: it never serves half a change. After a reconnect everything
//! is sent again, and what a proxy has beyond it goes with that batch.

mod access;
pub mod authority;
pub mod client;
mod reached;
mod server;
mod session;
mod wire;

pub use server::{Feed, Options};

/// Where the feed is.
pub(crate) const PATH: &str = "/v1/objects";
/// How often something is said on a feed on which nothing changes.
pub(crate) const PULSE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
