//! The server over real sockets, with a client that is not its own.

mod apis;
mod chat;
mod client;
mod faults;
mod kv_events;
mod kv_transfer;
mod load;
mod structured;
mod transport;
