//! A small HTTP client: one connection, one request after the other.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use pailou_sim::{Config, Sim};
use serde_json::Value;
use tokio::net::TcpStream;

/// Nothing here takes longer unless it hangs.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    send: SendRequest<Full<Bytes>>,
}

pub(crate) async fn start(config: Config) -> Sim {
    Sim::start(config).await.expect("a free port on loopback can be bound")
}

/// A server that answers at once.
pub(crate) async fn instant() -> Sim {
    start(Config::new("one", ["qwen"]).instant()).await
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Client {
        Client::try_connect(addr).await.expect("the server accepts connections")
    }

    pub(crate) async fn try_connect(addr: SocketAddr) -> std::io::Result<Client> {
        let tcp = TcpStream::connect(addr).await?;
        let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Client { send })
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.send.ready().await?;
        tokio::time::timeout(TEST_TIMEOUT, self.send.send_request(request)).await.expect("the server answers in time")
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> hyper::Result<Response<Incoming>> {
        self.send(request(Method::POST, path, body.to_string())).await
    }

    /// Status and JSON of a POST.
    pub(crate) async fn json(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        let response = self.post(path, body).await.expect("the connection holds");
        let status = response.status();
        let text = text(response).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Status and text of a GET.
    pub(crate) async fn get(&mut self, path: &str) -> (StatusCode, String) {
        let response = self.send(request(Method::GET, path, "")).await.expect("the connection holds");
        (response.status(), text(response).await)
    }

    /// The chunks of a streamed answer.
    pub(crate) async fn stream(&mut self, path: &str, body: &Value) -> Vec<Event> {
        let response = self.post(path, body).await.expect("the connection holds");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        events(&text(response).await)
    }
}

pub(crate) fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "sim.test")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .expect("the test's request is well-formed")
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = tokio::time::timeout(TEST_TIMEOUT, response.into_body().collect()).await;
    let bytes = body.expect("the body ends in time").expect("the body ends well").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("the body is text")
}

/// An event: its name, if it has one, and its data.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: Option<String>,
    pub(crate) data: Value,
}

/// Reads an event stream; `[DONE]` becomes a string.
pub(crate) fn events(text: &str) -> Vec<Event> {
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let data = field("data: ").expect("every event has data");
            let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
            Event { name: field("event: "), data }
        })
        .collect()
}
