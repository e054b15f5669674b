//! Clients and backends that mean harm, or are broken: what they send is refused, or passed on so that it can be read in one way only.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod faults;
mod floods;
mod frames;
mod http2;
#[path = "../support/objects.rs"]
mod objects;
mod recorder;
mod requests;
mod responses;
mod strict;
