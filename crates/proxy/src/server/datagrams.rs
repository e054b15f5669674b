//! Datagrams at one address.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::UdpSocket, time::sleep};

use super::{
    Serve, WorkerHandle,
    drain::Phase,
    least_busy,
    port::{ConnectionPermit, PortState},
};

/// When the process is to end, how long answers may still come to what was asked before.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A socket that clients send datagrams to. What is sent by it bears the listener's address.
pub struct Datagrams {
    socket: UdpSocket,
    port: Arc<PortState>,
}

/// Serves a socket's datagrams in the background, on the worker that is the least busy, until the port drains.
pub(super) fn spawn<W: Serve>(socket: std::net::UdpSocket, port: Arc<PortState>, workers: &[WorkerHandle<W>]) -> io::Result<()> {
    let Some(worker) = least_busy(workers) else { return Ok(()) };
    let socket = {
        let _entered = worker.runtime.enter();
        UdpSocket::from_std(socket)?
    };
    let state = Arc::clone(&worker.worker);
    worker.runtime.spawn(async move { W::datagrams(&state, Arc::new(Datagrams { socket, port })).await });
    Ok(())
}

impl Datagrams {
    /// The address, as the snapshot has it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.settings().address
    }

    /// Waits until there may be a datagram.
    ///
    /// # Errors
    /// The runtime is at its end.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// The next datagram, if there is one: its length, and who sent it.
    ///
    /// # Errors
    /// `WouldBlock` where there is none.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.try_recv_from(buffer)
    }

    /// Sends a datagram to a client.
    ///
    /// # Errors
    /// The system does not take it.
    pub(crate) async fn send(&self, datagram: &[u8], client: SocketAddr) -> io::Result<()> {
        self.socket.send_to(datagram, client).await.map(drop)
    }

    /// A place for a client, within the port's limit of connections.
    pub(crate) fn permit(&self) -> Option<ConnectionPermit> {
        self.port.has_room_now().then(|| self.port.permit())
    }

    /// Waits until nothing new may begin.
    pub(crate) async fn draining(&self) {
        let mut phase = self.port.port_phase.clone();
        // An error is the port's end.
        let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    }

    /// Waits until all has to end: at once where the port alone goes, whose address someone else may be about to take.
    pub(crate) async fn ended(&self) {
        self.draining().await;
        let mut server = self.port.server_phase.clone();
        if *server.borrow() == Phase::Draining {
            tokio::select! {
                () = sleep(LAST_ANSWERS) => {}
                _ = server.wait_for(|phase| *phase >= Phase::Cut) => {}
            }
        }
    }
}
