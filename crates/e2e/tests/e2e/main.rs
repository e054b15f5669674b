//! The gateway from outside: its binary, real sockets, the files a user would write. One file for each concern.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is a fine way for a test's helpers to fail, as it is for the test")]

mod access_logs;
mod authorization;
mod backend_tls;
mod broken;
mod budgets;
mod clients;
mod clock;
mod connections;
mod controller_page;
mod dashboards;
mod descriptors;
mod engines;
mod eviction;
mod filters;
mod hostile;
mod kv_events;
mod metric_exports;
mod metrics;
mod mission;
mod models;
mod official_messages;
mod operations;
mod overview;
mod picker;
mod picker_configuration;
mod pools;
mod prefill;
mod protocols;
mod queue;
mod receipts;
mod reload;
mod routing;
mod shared_limits;
mod soak;
mod streams;
mod succession;
mod support;
mod token_limits;
mod top;
mod trace_contents;
mod trace_settings;
mod traces;
mod traffic;
mod tries;
