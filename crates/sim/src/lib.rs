//! A simulated model server: the HTTP APIs, metrics and timing of an inference engine, without a model.
//!
//! [`engine`] is the heart: continuous batching, KV blocks and a prefix cache as a pure state machine. A driver steps it
//! against the clock, [`Sim`] serves it over HTTP. Its text is a function of seed and prompt; its timing, of the [`CostModel`]
//! and the load. [`Faults`] make it fail on demand.
//!
//! It publishes its blocks' KV events by ZeroMQ if [`KvEvents`] says where; `/tokenize` and `…/render` give the tokens they name.
//! It prefills and decodes apart if [`KvTransfer`] says so.
//!
//! Beside the engine's APIs every server answers, under any path prefix and key:
//! - `/echo`, and any path with the header `x-sim-echo`: JSON of the received request (method, path, headers, body, TLS);
//! - `/sim/faults`: GET lists, POST adds, PUT replaces, DELETE clears;
//! - `/sim/stats`: the figures of [`Stats`].

mod api;
mod app;
mod config;
mod connection;
mod driver;
pub mod engine;
mod faults;
mod generation;
mod kv_events;
mod kv_transfer;
mod metrics;
mod mishap;
mod reply;
mod schema;
pub mod selfsigned;
mod service;
mod sim;
mod sse;
mod structured;
mod text;
pub mod tokenizer;
mod tools;

pub use self::app::LastRequest;
pub use self::config::{Config, ConfigError, EventEncoding, KvConnector, KvEvents, KvTransfer, MetricsDialect, Role, Secret, Tls};
pub use self::engine::{CostModel, OffloadLimits};
pub use self::faults::{Fault, FaultKind, Faults};
pub use self::sim::{Sim, StartError, Stats};
