//! Helpers of the tests.

mod access_log;
pub(crate) mod dump;
pub(crate) mod objects;
pub(crate) mod printed;
pub(crate) mod processor_time;
pub(crate) mod random;
pub(crate) mod settings;
