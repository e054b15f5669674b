//! The engine by HTTP/2: whole answers alone.

use std::io;

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Request, Response};
use tokio::{net::TcpStream, task::JoinSet};

use super::script::{COMPLETION, METRICS};

/// Requests at a time on a connection, for which nobody has to wait.
const STREAMS: u32 = 1000;

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream) -> io::Result<()> {
    let mut connection =
        h2::server::Builder::new().max_concurrent_streams(STREAMS).handshake(stream).await.map_err(io::Error::other)?;
    let mut requests = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (request, response) = accepted.map_err(io::Error::other)?;
        requests.spawn_local(answer(request, response));
        while requests.try_join_next().is_some() {}
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut response: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let metrics = request.uri().path() == "/metrics";
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let data = data?;
        // The window is never full: the engine gives back all that it has read at once.
        let _ = body.flow_control().release_capacity(data.len());
    }
    let (content_type, text) = if metrics { ("text/plain; version=0.0.4", METRICS) } else { ("application/json", COMPLETION) };
    let head =
        Response::builder().header("server", "mock").header("content-type", content_type).header("content-length", text.len());
    let mut stream = response.send_response(head.body(()).unwrap_or_default(), false)?;
    stream.send_data(Bytes::from_static(text.as_bytes()), true)
}
