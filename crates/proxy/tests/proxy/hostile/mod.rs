//! Clients and backends that mean harm, or are broken: what they send is refused, or passed on so that it can be read in one way only.

mod faults;
mod floods;
mod frames;
mod http2;
mod recorder;
mod requests;
mod responses;
mod strict;
