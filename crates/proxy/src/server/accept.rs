//! Accepting connections at one address.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

use super::{
    Serve, WorkerHandle, connection,
    drain::Phase,
    least_busy,
    port::{ConnectionPermit, PortState},
};

/// After an error that is not a connection's own (no file descriptors left, no memory), how long until the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the log says that it goes on.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// Accepts in the background until the port drains, and hands out what comes.
pub(super) fn spawn<W: Serve>(
    tasks: &Handle,
    listener: std::net::TcpListener,
    port: Arc<PortState>,
    workers: Arc<[WorkerHandle<W>]>,
) -> io::Result<()> {
    let _entered = tasks.enter();
    let listener = TcpListener::from_std(listener)?;
    tasks.spawn(async move {
        let mut phase = port.port_phase.clone();
        tokio::select! {
            // First: a socket that is closed on purpose is no trouble.
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => {}
            () = accept(&listener, &port, &workers) => {}
        }
    });
    Ok(())
}

async fn accept<W: Serve>(listener: &TcpListener, port: &Arc<PortState>, workers: &[WorkerHandle<W>]) {
    let mut said: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if port.has_room_now() => {
                hand_over(stream, peer, port.permit(), port, workers);
            }
            Ok((stream, _)) => refuse(stream, port, workers),
            // The client has already gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Near the limit every other connection may still find room.
                if said.is_none_or(|said| said.elapsed() >= SAID_AGAIN) {
                    said = Some(Instant::now());
                    tracing::error!(address = %port.settings().address, %error, "cannot accept connections; trying on");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Closes a connection beyond the limit, after a delay where one is set: clients that come again at once come later.
fn refuse<W: Serve>(stream: TcpStream, port: &Arc<PortState>, workers: &[WorkerHandle<W>]) {
    if let Some(worker) = workers.first() {
        W::connection_refused(&worker.worker);
    }
    let delay = port.settings().client.close_delay;
    if delay.is_zero() {
        return;
    }
    if let Some(place) = port.refused_place() {
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            drop((stream, place));
        });
    }
}

fn hand_over<W: Serve>(
    stream: TcpStream,
    peer: SocketAddr,
    permit: ConnectionPermit,
    port: &Arc<PortState>,
    workers: &[WorkerHandle<W>],
) {
    let Some(worker) = least_busy(workers) else { return };
    let connections = Arc::clone(&worker.connections);
    let (state, port) = (Arc::clone(&worker.worker), Arc::clone(port));
    // From this runtime's event queue to the worker's.
    let stream = match stream.into_std() {
        Ok(stream) => stream,
        Err(error) => return tracing::error!(%peer, %error, "a connection cannot be handed over"),
    };
    connections.fetch_add(1, Ordering::Relaxed);
    worker.runtime.spawn(async move {
        // Why a client's connection failed is the client's affair, and there may be many of them.
        if let Err(error) = connection::run(stream, peer, permit, &port, state).await {
            tracing::debug!(%peer, %error, "a client's connection ended");
        }
        connections.fetch_sub(1, Ordering::Relaxed);
    });
}
