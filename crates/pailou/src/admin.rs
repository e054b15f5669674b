//! The admin endpoint: `/healthz`, `/readyz`, `/metrics`, `/status`, `/limits`, `/receipts`, `/explain`.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use pailou_snapshot::PortKey;
use tokio::{net::TcpListener, sync::Semaphore, time};

use crate::{
    admin_body::AdminBody,
    admin_requests,
    admin_state::{AdminState, Component},
    exit::Error,
    limits_page::LimitsPage,
};

/// Connections served at the same time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take, and an idle connection be kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may live, so that a peer that does not read cannot keep its place.
const CONNECTION_LIMIT: Duration = Duration::from_secs(300);
/// Content type of OpenMetrics, the variant of Prometheus's text format that Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only burn a core.
                tracing::warn!(%error, "the admin endpoint cannot accept a connection");
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let state = &state;
                async move { Ok::<_, Infallible>(answer(request, peer.ip(), &**state).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = time::timeout(CONNECTION_LIMIT, connection).await {
                tracing::debug!(%error, "an admin connection ended early");
            }
            drop(permit);
        });
    }
}

async fn answer(request: Request<Incoming>, peer: IpAddr, state: &AdminState<impl Component>) -> Response<AdminBody> {
    let (head, body) = request.into_parts();
    match state.component().proxy() {
        Some(proxy) if admin_requests::is_of_requests(head.uri.path()) => match state.guard().check(&head, peer) {
            Ok(()) => admin_requests::answer(&head, body, proxy).await,
            Err(refusal) => admin_requests::text(refusal.status, refusal.message),
        },
        _ => answer_of_process(&head, state),
    }
}

fn answer_of_process(request: &Parts, state: &AdminState<impl Component>) -> Response<AdminBody> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if matches!(request.uri.path(), "/status" | "/limits")
        && let Err(refusal) = state.guard().check_origin(request)
    {
        return admin_requests::text(refusal.status, refusal.message);
    }
    match request.uri.path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if state.is_ready() => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        "/metrics" => content(StatusCode::OK, OPEN_METRICS, metrics(state.component())),
        "/status" => content(StatusCode::OK, "application/json", state.component().status()),
        "/limits" => match state.component().limits(&LimitsPage::of_query(request.uri.query().unwrap_or_default())) {
            Some(page) => content(StatusCode::OK, "application/json", page),
            None => text(StatusCode::NOT_FOUND, "only a gateway has limits\n"),
        },
        "/" => text(StatusCode::OK, "/healthz\n/readyz\n/metrics\n/status\n/limits\n/receipts\n/explain\n"),
        _ => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz, /metrics, /status, /limits, /receipts and /explain\n"),
    }
}

fn metrics(component: &impl Component) -> String {
    let mut text = String::new();
    component.encode_metrics(&mut text);
    text
}

fn text(status: StatusCode, body: &'static str) -> Response<AdminBody> {
    content(status, "text/plain; charset=utf-8", body)
}

fn content(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<AdminBody> {
    let mut response = Response::new(AdminBody::text(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    struct Fixed(bool);

    impl Component for Fixed {
        fn is_ready(&self) -> bool {
            self.0
        }
        fn encode_metrics(&self, text: &mut String) {
            text.push_str("# EOF\n");
        }
        fn status(&self) -> String {
            "[]".to_owned()
        }
    }

    async fn ask(ready: bool, line: &str) -> String {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(AdminState::new(Fixed(ready)))));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
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
    async fn only_known_paths_and_reading_are_answered() {
        assert!(ask(true, "GET /metrics").await.ends_with("\r\n\r\n# EOF\n"));
        assert!(ask(true, "GET /quit").await.starts_with("HTTP/1.1 404"));
        assert!(ask(true, "POST /status").await.starts_with("HTTP/1.1 405"));
    }

    #[tokio::test]
    async fn a_name_that_leads_here_learns_nothing_of_objects_and_clients() {
        for path in ["/status", "/limits"] {
            assert!(ask(true, &format!("GET {path}")).await.starts_with("HTTP/1.1 421"), "{path}");
        }
    }
}
