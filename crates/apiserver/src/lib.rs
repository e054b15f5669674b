//! An API server in memory: enough of one for lists, watches, statuses, Leases, definitions and token reviews, which can fail
//! on demand. Tests of the controller call it directly; programs reach it over a socket.
//!
//! It checks no schema and no permission, and applies as if there were one manager.

mod answers;
mod api;
mod paths;
mod server;
mod state;

pub use answers::Answer;
pub use api::{Api, RecordedRequest};
pub use server::serve;
