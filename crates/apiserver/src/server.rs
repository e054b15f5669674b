//! The server on a socket, without TLS.

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use crate::Api;

/// Serves until it is dropped.
pub async fn serve(api: Api, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let api = api.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let api = api.clone();
                async move { api.answer(request).await }
            });
            // A client that goes away is none of its matter.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
