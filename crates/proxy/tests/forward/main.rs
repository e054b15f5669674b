//! Connections and datagrams through a proxy, over real sockets.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod gateway;
mod tcp;
mod tls;
mod udp;
