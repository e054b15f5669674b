//! The controller against an API server in memory that can be told to fail.

mod cluster;

mod leading;
mod pool;
mod provisioning;
mod statuses;
mod watching;
