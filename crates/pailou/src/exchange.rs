//! One request over a connection of its own.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle, time};

/// Time that a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, which ends when nobody wants it any more.
pub(crate) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request. The response's body is there for as long as the connection.
///
/// # Errors
/// No connection, or no response in HTTP.
pub(crate) async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<(Response<Incoming>, Connection)> {
    let stream = time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = Connection(tokio::spawn(async move {
        // Its error is the response's, too.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok((response, connection))
}
