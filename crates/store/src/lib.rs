//! The client of the Redis or Valkey that several proxies count their limits in.
//!
//! [`SharedLimits`] admits requests: by the lease of their counter, else once the store has answered, at the latest after its deadline. One
//! task owns the connection and sends what waits in batches; so a store that is down costs a reconnection now and then,
//! not one for each request. Settings of the store may change; name and leases of the process stay.

mod client;
mod connection;
mod error;
mod replica;
mod shared_limits;

pub use error::Error;
pub use shared_limits::{SharedLimits, StoreStats, Unavailable, Undecided};
