//! Names of endpoints for clients.

use pailou_snapshot::{Address, EndpointKey};
use xxhash_rust::xxh3::Xxh3;

/// Name of an endpoint in a session: equal on every replica of the gateway, and no address that a client could read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointToken(pub(crate) u64);

impl EndpointToken {
    /// The name of the endpoint with this address in this group.
    pub(crate) fn new(endpoints: &EndpointKey, address: &Address) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(endpoints.to_string().as_bytes());
        hasher.update(b" ");
        hasher.update(address.to_string().as_bytes());
        Self(hasher.digest())
    }
}
