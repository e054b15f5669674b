//! Configuration: Kubernetes objects in, a snapshot for the data plane and a status for every object out. Pure: no IO, no clock,
//! no runtime.
//!
//! - [`by_key`]: a map that is cheap to copy and to compare with what it was.
//! - [`compile`]: objects to snapshot and statuses.
//! - [`snapshot`]: what the data plane serves.
//! - [`status`]: what is said of each object.
//! - [`unread`]: what could be read of objects that could not be decoded, for their statuses.
//! - [`reach`](reach::reach): which objects a Gateway's proxies need.

pub mod by_key;
pub mod compile;
pub mod parse;
pub mod reach;
pub mod resources;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod unread;
