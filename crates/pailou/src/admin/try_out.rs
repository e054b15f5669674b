//! A request that an operator tries from the page: `/try`. It goes to the gateway's own listeners and nowhere else, as any client's does.
//!
//! It is off unless `--admin-try` switches it on: all else of the endpoint only reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue},
};
use pailou_proxy::Proxy;
use pailou_snapshot::{Port, PortService, Transport};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{self, Instant},
};

use super::{
    REQUEST_LIMIT,
    body::AdminBody,
    response::{content, sentence, text},
};
use crate::exchange::{Connection, exchange};

/// Tries at the same time.
pub(super) const MAX_TRIES: usize = 8;
/// Longest document of a try, in bytes.
const MAX_DOCUMENT: usize = 4 << 20;
/// Time within which the document is to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time of a try as a whole: less than a request to this endpoint may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(240);
const _: () = assert!(TRY_TIMEOUT.as_secs() < REQUEST_LIMIT.as_secs());
/// Most headers.
const MAX_HEADERS: usize = 64;
/// Most models that are suggested.
const MAX_MODELS: usize = 200;
/// Headers that belong to the connection.
const OF_CONNECTION: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request to try.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Try {
    /// Port of the listener.
    listener: u16,
    /// Its address, where several Gateways have the port.
    #[serde(default)]
    address: Option<IpAddr>,
    /// The host to ask for; `localhost` where it is empty.
    #[serde(default)]
    host: String,
    /// `POST` with a body, else `GET`, where it is empty.
    #[serde(default)]
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// JSON, or a text that goes as it is.
    #[serde(default)]
    body: Option<Value>,
}

/// Why a request cannot be tried.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum TryError {
    #[error("no request: {{\"listener\": PORT, \"host\", \"path\", \"headers\": {{}}, \"body\"}}")]
    Document,
    #[error("no listener for HTTP at port {0}")]
    NoListener(u16),
    #[error("listeners that speak TLS cannot be tried from here: use the lines to paste")]
    Tls,
    #[error("header {0}: the connection's own, which is not to be given")]
    OfConnection(String),
    #[error("it is no HTTP request: method, path, host or a header is not valid")]
    Malformed,
    #[error("more than {MAX_HEADERS} headers")]
    TooManyHeaders,
}

/// Listeners and models that can be tried, for the page's form.
pub(super) fn form(proxy: &Proxy, is_on: bool) -> Value {
    let snapshot = proxy.snapshot().unwrap_or_default();
    let listeners = snapshot.ports.iter().filter(|port| matches!(port.service, PortService::Http(_) | PortService::Tls(_)));
    let listeners = listeners.map(|port| {
        let hosts = port.listeners().into_iter().filter_map(|listener| listener.hostname().map(ToString::to_string));
        json!({
            "port": port.number,
            "address": port.address.ip(),
            "protocol": port.service.protocol(),
            "hostnames": hosts.collect::<BTreeSet<_>>(),
        })
    });
    let why = if is_on { "" } else { "start Pailou with --admin-try to send requests from here" };
    json!({
        "enabled": is_on,
        "why": why,
        "listeners": listeners.collect::<Vec<_>>(),
        "models": proxy.model_names(MAX_MODELS),
    })
}

/// Sends a request, and gives the gateway's response as it comes. Whoever asked and leaves cancels it.
pub(super) async fn send(document: Incoming, proxy: &Proxy, places: &Arc<Semaphore>) -> Response<AdminBody> {
    let Ok(place) = places.clone().try_acquire_owned() else {
        return sentence(StatusCode::SERVICE_UNAVAILABLE, &format_args!("{MAX_TRIES} requests are tried already"));
    };
    let collected = time::timeout(BODY_TIMEOUT, Limited::new(document, MAX_DOCUMENT).collect()).await;
    let Ok(Ok(document)) = collected else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large, or too slow\n");
    };
    let prepared = serde_json::from_slice::<Try>(&document.to_bytes()).map_err(|_| TryError::Document).and_then(|asked| {
        let address = target(&asked, proxy)?;
        Ok((address, request(asked)?))
    });
    let (address, request) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return sentence(StatusCode::BAD_REQUEST, &error),
    };
    let end = Instant::now() + TRY_TIMEOUT;
    let answered = time::timeout_at(end, exchange(address, request)).await;
    match answered.unwrap_or_else(|_| Err(late())) {
        Ok((response, connection)) => relayed(response, connection, place, end),
        Err(error) => sentence(StatusCode::BAD_GATEWAY, &format_args!("no answer from the listener at {address}: {error}")),
    }
}

/// The socket of the listener.
fn target(asked: &Try, proxy: &Proxy) -> Result<SocketAddr, TryError> {
    let snapshot = proxy.snapshot().unwrap_or_default();
    let is_it = |port: &&Port| {
        let is_address = asked.address.is_none_or(|address| address == port.address.ip());
        port.key().transport == Transport::Tcp && port.number == asked.listener && is_address
    };
    let port = snapshot.ports.iter().find(is_it).ok_or(TryError::NoListener(asked.listener))?;
    match port.service {
        PortService::Http(_) => {}
        PortService::Tls(_) => return Err(TryError::Tls),
        PortService::Tcp(_) | PortService::Udp(_) => return Err(TryError::NoListener(asked.listener)),
    }
    let bound = proxy.addresses().into_iter().find(|(key, _)| *key == port.key()).map(|(_, address)| address);
    let mut address = bound.ok_or(TryError::NoListener(asked.listener))?;
    if address.ip().is_unspecified() {
        let own = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        address.set_ip(own);
    }
    Ok(address)
}

fn request(asked: Try) -> Result<Request<Full<Bytes>>, TryError> {
    if asked.headers.len() > MAX_HEADERS {
        return Err(TryError::TooManyHeaders);
    }
    let body = match asked.body {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(Bytes::from(text)),
        Some(document) => Some(document.to_string().into()),
    };
    let method = match (&*asked.method, &body) {
        ("", Some(_)) => Method::POST,
        ("", None) => Method::GET,
        (method, _) => method.parse().map_err(|_| TryError::Malformed)?,
    };
    if !asked.path.starts_with('/') || method == Method::CONNECT {
        return Err(TryError::Malformed);
    }
    let host = if asked.host.is_empty() { "localhost" } else { &asked.host };
    let mut request = Request::builder().method(method).uri(&asked.path).header(HOST, host);
    if body.is_some() && !asked.headers.keys().any(|name| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str())) {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in &asked.headers {
        if OF_CONNECTION.iter().any(|one| name.eq_ignore_ascii_case(one)) {
            return Err(TryError::OfConnection(name.to_ascii_lowercase()));
        }
        request = request.header(name, value);
    }
    request.body(Full::new(body.unwrap_or_default())).map_err(|_| TryError::Malformed)
}

/// The response in a form in which no browser takes it for a page of this endpoint.
fn relayed(response: Response<Incoming>, connection: Connection, place: OwnedSemaphorePermit, end: Instant) -> Response<AdminBody> {
    let (head, body) = response.into_parts();
    let is_empty = body.is_end_stream();
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        let _held = (connection, place);
        relay(body, send, end).await;
    });
    let body = if is_empty { AdminBody::text("") } else { AdminBody::relayed(receive) };
    let mut response = content("text/plain; charset=utf-8", body);
    let headers = response.headers_mut();
    headers.insert("x-pailou-try-status", HeaderValue::from(head.status.as_u16()));
    for (name, from) in [("x-pailou-try-type", CONTENT_TYPE.as_str()), ("x-pailou-try-id", "x-request-id")] {
        if let Some(value) = head.headers.get(from) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    response
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("a request is tried for {} s at most", TRY_TIMEOUT.as_secs()))
}

/// Hands the body on as it comes, until it ends or nobody reads it any more. One that is late breaks off, as it is not whole.
async fn relay<B>(mut body: B, send: mpsc::Sender<io::Result<Bytes>>, end: Instant)
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    loop {
        let piece = tokio::select! {
            frame = body.frame() => match frame {
                None => return,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    Err(_) => continue,
                },
                Some(Err(error)) => Err(io::Error::other(error)),
            },
            () = time::sleep_until(end) => Err(late()),
            () = send.closed() => return,
        };
        let is_broken = piece.is_err();
        if send.send(piece).await.is_err() || is_broken {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: Value) -> Result<Request<Full<Bytes>>, TryError> {
        request(serde_json::from_value(document).unwrap())
    }

    #[test]
    fn a_try_is_a_request_as_a_client_would_send_it() {
        let request = read(json!({"listener": 80, "path": "/v1/chat/completions", "body": {"model": "qwen"}})).unwrap();
        assert_eq!((request.method(), request.headers()[HOST].as_bytes()), (&Method::POST, &b"localhost"[..]));
        assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
        let request = read(json!({"listener": 80, "host": "a.test", "path": "/x?y=z", "headers": {"x-team": "red"}})).unwrap();
        assert_eq!((request.method(), request.uri().query()), (&Method::GET, Some("y=z")));
        assert_eq!((&request.headers()[HOST], &request.headers()["x-team"]), (&"a.test".parse().unwrap(), &"red".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_response_that_goes_on_for_ever_breaks_off() {
        let (send, mut pieces) = mpsc::channel(1);
        let (_held, events) = mpsc::channel(1);
        tokio::spawn(relay(AdminBody::events(events), send, Instant::now()));
        assert_eq!(pieces.recv().await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(pieces.recv().await.is_none());
    }

    #[test]
    fn a_try_goes_nowhere_else_and_sets_no_header_of_the_connection() {
        let refused = |path: &str, headers: Value| read(json!({"listener": 80, "path": path, "headers": headers})).unwrap_err();
        assert_eq!(refused("http://elsewhere.test/", json!({})), TryError::Malformed);
        assert_eq!(refused("/", json!({"Host": "b"})), TryError::OfConnection("host".to_owned()));
        assert_eq!(refused("/", json!({"Transfer-Encoding": "chunked"})), TryError::OfConnection("transfer-encoding".to_owned()));
        assert_eq!(refused("/", json!({"x": "a\r\nb: c"})), TryError::Malformed);
        assert_eq!(refused("/ HTTP/1.1\r\nx: y", json!({})), TryError::Malformed);
    }
}
