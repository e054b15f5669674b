//! What the gateway reports about a request after it has ended: traces and routing receipts.
//!
//! Without IO and without a runtime: the proxy fills the data in, and sends or serves it.

pub mod receipt;
pub mod receipt_ring;
pub mod receipt_selection;
