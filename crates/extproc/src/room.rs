//! Memory for what waits.

/// Share of a memory that is bounded, for the bytes of one request that wait. It is given back with the value.
pub trait Room: Send + Sync {
    /// Holds this many bytes instead of those before. False: there is no room for more, and it holds as many as before.
    fn hold(&mut self, bytes: u64) -> bool;
}
