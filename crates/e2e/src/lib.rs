//! Support for end-to-end tests: the built `pailou`, started as a process, and clients and servers to put around it.
//!
//! A test writes objects to a directory of its own, starts the gateway on loopback addresses of its own (Linux has sixteen million of
//! them, so ports can be the ones a user would write), and talks to it over sockets. Nothing here knows the gateway's crates.

pub mod address;
pub mod binary;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod collector;
pub mod exposition;
pub mod gateway;
mod leaks;
pub mod limit_store;
pub mod objects;
pub mod picker;
pub mod prometheus;
pub mod python;
pub mod tls;
pub mod wait;
pub mod wire;
