//! The admin endpoint: the page and its data, `/healthz`, `/readyz`, `/metrics`, `/status`, `/limits`, `/receipts`, `/explain`.

mod assets;
mod body;
pub(crate) mod client;
mod connections;
pub(crate) mod guard;
pub(crate) mod limits_page;
pub(crate) mod object_rows;
mod overview_stream;
mod proxies_page;
mod proxies_routes;
mod proxies_stream;
mod query;
mod receipt_events;
mod receipts_page;
mod requests;
mod response;
mod router;
pub(crate) mod routes_page;
pub(crate) mod state;
mod try_out;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use pailou_snapshot::PortKey;
use tokio::{
    net::{TcpListener, TcpStream},
    time,
};

use crate::exit::Error;
use connections::{Connections, Place};
use state::{AdminState, Component};

/// Time for a request's head, for which an idle connection is kept, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request with its response, so that a peer that does not read cannot keep its place.
const REQUEST_LIMIT: Duration = Duration::from_secs(300);
/// Time of a stream of events: it ends as a whole, before its request's time is over.
const STREAM_LIMIT: Duration = Duration::from_secs(280);
const _: () = assert!(STREAM_LIMIT.as_secs() < REQUEST_LIMIT.as_secs());

/// Binds the endpoint's socket.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Bind {
        port: PortKey::tcp(address),
        purpose: "the admin endpoint".to_owned(),
        source,
        hint: "give another address with --admin IP:PORT, or do without with --admin off".to_owned(),
    })
}

/// The endpoint's socket: that of a former process, or one of its own. Needs the runtime.
pub(crate) async fn adopt_or_bind(adopted: Option<std::net::TcpListener>, address: SocketAddr) -> Result<TcpListener, Error> {
    let Some(adopted) = adopted else { return bind(address).await };
    TcpListener::from_std(adopted).map_err(Error::Handover)
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, state: Arc<AdminState<impl Component>>) {
    let connections = Arc::new(Connections::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only burn a core.
                tracing::warn!(%error, "the admin endpoint cannot accept a connection");
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Without a place all of them are at work: the peer is disconnected.
        if let Some(place) = Connections::enter(&connections) {
            tokio::spawn(serve_connection(stream, peer, place, state.clone()));
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, place: Place, state: Arc<AdminState<impl Component>>) {
    let service = service_fn(|request| {
        let (state, work) = (&state, place.begin());
        async move { Ok::<_, Infallible>(router::answer(request, peer.ip(), state).await.map(|body| body.during(work))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = connection => if let Err(error) = served {
            tracing::debug!(%error, "an admin connection ended early");
        },
        () = place.over(REQUEST_LIMIT) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::overview::Overview;

    struct Fixed(bool);

    impl Component for Fixed {
        fn is_ready(&self) -> bool {
            self.0
        }
        fn encode_metrics(&self, text: &mut String) {
            text.push_str("# EOF\n");
        }
        fn overview(&self) -> Overview {
            Overview::default()
        }
        fn status(&self) -> String {
            "[]".to_owned()
        }
    }

    async fn ask(ready: bool, line: &str) -> String {
        ask_with(ready, line, "host: a").await
    }

    async fn ask_with(ready: bool, line: &str, headers: &str) -> String {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(AdminState::new(Fixed(ready)))));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{line} HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        server.abort();
        response
    }

    #[tokio::test]
    async fn readiness_is_apart_from_health() {
        assert!(ask(false, "GET /healthz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(false, "GET /readyz").await.starts_with("HTTP/1.1 503"));
        assert!(ask(true, "GET /readyz").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_browser_gets_the_page_and_a_tool_the_paths() {
        let browser = "host: localhost:15000\r\naccept: text/html, */*;q=0.8";
        let page = ask_with(true, "GET /", browser).await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("<!doctype html>"), "{page}");
        for header in ["content-security-policy: default-src 'none'; script-src 'self'", "nosniff", "no-referrer", "no-store"] {
            assert!(page.contains(header), "{header}: {page}");
        }
        assert!(page.contains("cross-origin-opener-policy: same-origin") && !page.contains("access-control-"), "{page}");
        assert!(ask_with(true, "GET /", "host: [::1]").await.contains("\r\n/healthz\n"));
        assert!(ask_with(true, "GET /ui/none.js", browser).await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn other_sites_lead_to_the_page_and_take_nothing_from_it() {
        let of = |dest: &str| format!("host: 127.0.0.1\r\nsec-fetch-site: cross-site\r\nsec-fetch-dest: {dest}");
        assert!(ask_with(true, "GET /", &of("document")).await.starts_with("HTTP/1.1 200"));
        assert!(ask_with(true, "GET /", &of("script")).await.starts_with("HTTP/1.1 403"));
        assert!(ask_with(true, "GET /ui/index.html", &of("document")).await.starts_with("HTTP/1.1 403"));
    }

    #[tokio::test]
    async fn only_known_paths_and_reading_are_answered() {
        assert!(ask_with(true, "GET /metrics", "host: localhost").await.ends_with("\r\n\r\n# EOF\n"));
        assert!(ask_with(true, "GET /quit", "host: localhost").await.starts_with("HTTP/1.1 404"));
        assert!(ask(true, "POST /status").await.starts_with("HTTP/1.1 405"));
    }

    #[tokio::test]
    async fn a_name_that_leads_here_learns_nothing_of_objects_and_clients() {
        for path in ["/", "/ui/app.js", "/metrics", "/status", "/limits", "/nowhere"] {
            assert!(ask(true, &format!("GET {path}")).await.starts_with("HTTP/1.1 421"), "{path}");
        }
    }

    async fn get(stream: &mut TcpStream, path: &str) -> String {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
        String::from_utf8(head.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn probes_are_answered_while_idle_connections_and_requests_fill_all_places() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(AdminState::new(Fixed(true)));
        let permits = state.requests().clone().try_acquire_many_owned(state::MAX_REQUESTS as u32).unwrap();
        let server = tokio::spawn(serve(listener, state));
        let mut idle = Vec::new();
        for _ in 0..connections::MAX_CONNECTIONS + 8 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        assert!(get(&mut probe, "/healthz").await.starts_with("HTTP/1.1 200"));
        let of = |path: &'static str| async move { get(&mut TcpStream::connect(address).await.unwrap(), path).await };
        assert!(of("/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(of("/metrics").await.starts_with("HTTP/1.1 503"));
        drop(permits);
        assert!(of("/metrics").await.starts_with("HTTP/1.1 200"));
        server.abort();
    }
}
