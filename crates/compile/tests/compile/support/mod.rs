//! What the tests share.

pub(crate) mod dump;
pub(crate) mod processor_time;
pub(crate) mod settings;
