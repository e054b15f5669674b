//! HTTP clients: one request over a connection of its own, or several over one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::wait::within;

/// The path most tests ask.
pub const CHAT: &str = "/v1/chat/completions";

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    host: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Call {
    /// A request by any method, without a body.
    pub fn new(method: &str, path: &str) -> Self {
        let method = method.parse().expect("the test's method is valid");
        Self { method, path: path.to_owned(), host: "gateway.test".to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST of these bytes, without a content type.
    pub fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new("POST", path) }
    }

    /// A POST of JSON, given as text so that every byte is the test's.
    pub fn json(path: &str, body: impl Into<Bytes>) -> Self {
        Self::post(path, body).header(CONTENT_TYPE.as_str(), "application/json")
    }

    /// A chat with one message.
    pub fn chat(model: &str, text: &str) -> Self {
        Self::json(CHAT, json!({"model": model, "messages": [{"role": "user", "content": text}]}).to_string())
    }

    /// The same as a stream of so many tokens.
    pub fn chat_stream(model: &str, text: &str, tokens: u32) -> Self {
        let messages = json!([{"role": "user", "content": text}]);
        let body = json!({
            "model": model, "messages": messages, "stream": true, "max_tokens": tokens, "min_tokens": tokens, "ignore_eos": true,
        });
        Self::json(CHAT, body.to_string())
    }

    /// The body's length, in bytes.
    pub fn body_length(&self) -> usize {
        self.body.len()
    }

    /// Another host.
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = name.parse().expect("the test's header has a valid name");
        self.headers.push((name, HeaderValue::from_str(value).expect("the test's header has a valid value")));
        self
    }

    /// Asks a simulated engine to tell what arrived instead of answering.
    pub fn echo(self) -> Self {
        self.header("x-sim-echo", "1")
    }

    /// The answer, over a connection of its own.
    ///
    /// # Panics
    /// When there is none.
    pub async fn send(self, to: SocketAddr) -> Reply {
        let what = format!("{} {} at {to}", self.method, self.path);
        match within(&what, self.try_send(to)).await {
            Ok(reply) => reply,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// The answer, or why there is none.
    ///
    /// # Errors
    /// When the connection fails or breaks off before the answer's end.
    pub async fn try_send(self, to: SocketAddr) -> io::Result<Reply> {
        Connection::http1(to).await?.send(self).await
    }

    /// The answer's head; its body is read with [`Open::next`].
    ///
    /// # Panics
    /// When there is none.
    pub async fn open(self, to: SocketAddr) -> Open {
        let what = format!("head of {} {} at {to}", self.method, self.path);
        let opening = async { Connection::http1(to).await?.open(self).await };
        within(&what, opening).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    fn request(self, version: Version) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.version_mut() = version;
        let uri = if version == Version::HTTP_2 { format!("http://{}{}", self.host, self.path) } else { self.path };
        *request.uri_mut() = uri.parse().expect("the test's path is valid");
        if version != Version::HTTP_2 {
            request.headers_mut().insert(HOST, HeaderValue::from_str(&self.host).expect("the test's host is valid"));
        }
        for (name, value) in self.headers {
            request.headers_mut().append(name, value);
        }
        request
    }
}

/// A connection to the gateway. Dropping it closes it.
pub struct Connection {
    sender: Sender,
    _task: Arc<Task>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Plain HTTP/1.1.
    ///
    /// # Errors
    /// The connection fails.
    pub async fn http1(to: SocketAddr) -> io::Result<Self> {
        Self::http1_over(TcpStream::connect(to).await?).await
    }

    /// HTTP/1.1 over any transport.
    ///
    /// # Errors
    /// The connection fails.
    pub async fn http1_over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        Ok(Self { sender: Sender::Http1(sender), _task: Task::spawn(connection) })
    }

    /// HTTP/2 by prior knowledge.
    ///
    /// # Errors
    /// The connection fails.
    pub async fn http2(to: SocketAddr) -> io::Result<Self> {
        Self::http2_over(TcpStream::connect(to).await?).await
    }

    /// HTTP/2 over any transport.
    ///
    /// # Errors
    /// The connection fails.
    pub async fn http2_over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.map_err(io::Error::other)?;
        Ok(Self { sender: Sender::Http2(sender), _task: Task::spawn(connection) })
    }

    /// The same HTTP/2 connection, for requests beside this one's.
    ///
    /// # Panics
    /// When it is HTTP/1.1, where one follows another.
    pub fn share(&self) -> Self {
        let Sender::Http2(sender) = &self.sender else { panic!("an HTTP/1.1 connection cannot be shared") };
        Self { sender: Sender::Http2(sender.clone()), _task: self._task.clone() }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks off before its end.
    pub async fn send(&mut self, call: Call) -> io::Result<Reply> {
        let response = self.response(call).await?;
        Reply::collect(response).await
    }

    /// Sends a request; the connection lives as long as the answer.
    ///
    /// # Errors
    /// When the connection breaks off before the answer's head.
    pub async fn open(mut self, call: Call) -> io::Result<Open> {
        let (head, body) = self.response(call).await?.into_parts();
        Ok(Open { status: head.status, headers: head.headers, body, _connection: self })
    }

    async fn response(&mut self, call: Call) -> io::Result<http::Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.map_err(io::Error::other)?;
                sender.send_request(call.request(Version::HTTP_11)).await
            }
            Sender::Http2(sender) => {
                sender.ready().await.map_err(io::Error::other)?;
                sender.send_request(call.request(Version::HTTP_2)).await
            }
        }
        .map_err(io::Error::other)
    }
}

/// Task that moves a connection's bytes; it ends with the last sender.
struct Task(tokio::task::JoinHandle<()>);

impl Task {
    fn spawn(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> Arc<Self> {
        Arc::new(Self(tokio::spawn(async { drop(connection.await) })))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its version.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

impl Reply {
    async fn collect(response: http::Response<Incoming>) -> io::Result<Self> {
        let (head, body) = response.into_parts();
        let collected = body.collect().await.map_err(io::Error::other)?;
        let trailers = collected.trailers().cloned();
        Ok(Self { status: head.status, version: head.version, headers: head.headers, body: collected.to_bytes(), trailers })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{} {}: {error}", self.status, self.text()))
    }

    /// A header; empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The name of the simulated engine that answered.
    pub fn server(&self) -> &str {
        self.header("x-sim-server")
    }

    /// A header that the engine received, from an echo; empty where it is absent. Several are joined by `|`.
    pub fn received(&self, name: &str) -> String {
        let echo = self.json();
        let pairs = echo["headers"].as_array().unwrap_or_else(|| panic!("not an echo: {echo}"));
        let values = pairs.iter().filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap_or(""));
        values.collect::<Vec<_>>().join("|")
    }
}

/// An answer whose body is still to come.
pub struct Open {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    _connection: Connection,
}

impl Open {
    /// The next piece of the body; `None` at its proper end.
    ///
    /// # Errors
    /// When the connection breaks off.
    ///
    /// # Panics
    /// When nothing comes.
    pub async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match within("the next piece of a body", self.body.frame()).await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The rest of the body as text, and the error that ends it, if one does.
    pub async fn rest(&mut self) -> (String, Option<hyper::Error>) {
        let mut bytes = Vec::new();
        loop {
            match self.next().await {
                None => return (String::from_utf8_lossy(&bytes).into_owned(), None),
                Some(Ok(data)) => bytes.extend_from_slice(&data),
                Some(Err(error)) => return (String::from_utf8_lossy(&bytes).into_owned(), Some(error)),
            }
        }
    }
}
