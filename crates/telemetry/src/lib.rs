//! Reports about requests that have ended: traces and routing receipts.
//!
//! Without IO and without a runtime: the proxy fills the data in, and sends or serves it.
//!
//! - Trace context of a request's headers: [`ids`], [`trace_context`], [`b3`]; its forms: [`propagators`]; which traces are kept: [`sampling`].
//! - Spans and log records, encoded as they are made: [`span`], [`log_record`], [`attributes`], [`text_writer`]; requests to a collector: [`export`].
//! - Metrics for a collector, of the text that Prometheus gets: [`metric_export`].
//! - Rows of metrics that are read when they are asked for: [`metric_table`].
//! - Receipts: [`receipt`], [`receipt_selection`].

pub mod attributes;
pub mod b3;
pub mod export;
pub mod ids;
pub mod log_record;
pub mod metric_export;
pub mod metric_table;
pub mod propagators;
mod protobuf;
pub mod receipt;
pub mod receipt_selection;
pub mod sampling;
pub mod span;
pub mod text_writer;
pub mod trace_context;
