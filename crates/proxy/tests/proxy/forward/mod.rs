//! Connections and datagrams through a proxy, over real sockets.

mod authorization;
mod gateway;
mod tcp;
mod tls;
mod udp;
