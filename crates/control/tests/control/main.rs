//! The controller against an API server in memory that can fail on demand.

mod cluster;

mod leading;
mod network_policies;
mod pool;
mod provisioning;
mod proxies;
mod session_key;
mod statuses;
mod watching;
