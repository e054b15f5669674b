//! Listening sockets on their way from one process to another, which never stop listening meanwhile.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use pailou_snapshot::PortKey;
use socket2::{Socket, Type};

/// Sockets that are bound, by their addresses. As many as there are listeners.
#[derive(Debug, Default)]
pub struct Sockets(BTreeMap<PortKey, OwnedFd>);

impl Sockets {
    /// Adds a socket, under the address that it is bound to.
    ///
    /// # Errors
    /// It is none for TCP connections or datagrams over IP.
    pub fn insert(&mut self, socket: OwnedFd) -> io::Result<()> {
        let socket = Socket::from(socket);
        let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "a socket that is not listened on over IP");
        let address = socket.local_addr()?.as_socket().ok_or_else(unknown)?;
        let key = match socket.r#type()? {
            Type::STREAM => PortKey::tcp(address),
            Type::DGRAM => PortKey::udp(address),
            _ => return Err(unknown()),
        };
        self.0.insert(key, socket.into());
        Ok(())
    }

    /// Takes out the one that accepts connections at an address.
    pub fn take_tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.0.remove(&PortKey::tcp(address)).map(TcpListener::from)
    }

    /// Takes out the one that receives datagrams at an address.
    pub fn take_udp(&mut self, address: SocketAddr) -> Option<UdpSocket> {
        self.0.remove(&PortKey::udp(address)).map(UdpSocket::from)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.values().map(AsFd::as_fd)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_address_and_kind_and_goes_on_listening() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let waiting = std::net::TcpStream::connect(address).unwrap();
        let mut sockets = Sockets::default();
        sockets.insert(tcp.as_fd().try_clone_to_owned().unwrap()).unwrap();
        drop(tcp);
        assert!(sockets.take_udp(address).is_none());
        let taken = sockets.take_tcp(address).unwrap();
        assert_eq!(taken.accept().unwrap().1, waiting.local_addr().unwrap(), "who waited to be accepted is");
        assert!(sockets.take_tcp(address).is_none());
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Sockets::default().insert(file.into()).is_err());
    }
}
