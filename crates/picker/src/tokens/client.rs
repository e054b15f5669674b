//! Questions to engines, over connections that are kept open.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use pailou_snapshot::ModelServer;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::scrape::{Transport, connect_plain};

/// Connections kept.
const MAX_IDLE: usize = 16;
/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskError {
    Unreachable,
    /// The engine does not take this question (4xx): others it may.
    Refused,
    /// The engine has no tokenizer (405).
    Bare,
    /// The engine has no tokenizer of this model, or none at all (404).
    Missing,
    /// The engine takes none (5xx), or none without a credential (401, 403).
    Failed,
    Malformed,
    Timeout,
}

impl AskError {
    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::Missing,
            StatusCode::METHOD_NOT_ALLOWED => Self::Bare,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Failed,
            status if status.is_server_error() => Self::Failed,
            _ => Self::Refused,
        }
    }
}

/// Path of an engine's tokenizer; `None` for one that does not take chats.
pub(super) fn path(kind: ModelServer) -> Option<&'static str> {
    match kind {
        ModelServer::Vllm => Some("/tokenize"),
        ModelServer::Sglang => Some("/v1/tokenize"),
        ModelServer::TensorRtLlm => None,
    }
}

/// Connections to engines.
#[derive(Default)]
pub(super) struct Client {
    idle: Mutex<Vec<Link>>,
}

struct Link {
    address: SocketAddr,
    /// Identity of the transport that it was opened by.
    transport: Option<u128>,
    sender: SendRequest<Full<Bytes>>,
}

/// A tokenizer's answer.
#[derive(Deserialize)]
struct Answer {
    count: Option<usize>,
    tokens: Vec<u32>,
}

impl Client {
    /// Tokens that an engine gives for this question.
    pub(super) async fn ask(
        &self,
        address: SocketAddr,
        path: &'static str,
        transport: Option<Arc<dyn Transport>>,
        body: Bytes,
    ) -> Result<Vec<u32>, AskError> {
        let identity = transport.as_ref().map(|transport| transport.identity());
        while let Some(link) = self.take(address, identity) {
            // The engine may have closed it meanwhile.
            if let Ok(answer) = self.exchange(link, path, body.clone()).await {
                return answer;
            }
        }
        let sender = connect(address, transport.as_deref()).await.map_err(|_| AskError::Unreachable)?;
        self.exchange(Link { address, transport: identity, sender }, path, body).await.map_err(|_| AskError::Unreachable)?
    }

    fn take(&self, address: SocketAddr, transport: Option<u128>) -> Option<Link> {
        let mut idle = self.idle.lock();
        idle.retain(|link| !link.sender.is_closed());
        let place = idle.iter().rposition(|link| link.address == address && link.transport == transport)?;
        Some(idle.swap_remove(place))
    }

    /// One question; an error is one of the connection.
    async fn exchange(&self, mut link: Link, path: &'static str, body: Bytes) -> hyper::Result<Result<Vec<u32>, AskError>> {
        link.sender.ready().await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = hyper::Uri::from_static(path);
        let host = HeaderValue::from_str(&link.address.to_string()).unwrap_or(HeaderValue::from_static("engine"));
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut response = link.sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Ok(Err(AskError::of(response.status())));
        }
        let mut answer = BytesMut::new();
        while let Some(frame) = response.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if answer.len() + data.len() > MAX_ANSWER_BYTES {
                return Ok(Err(AskError::Malformed));
            }
            answer.extend_from_slice(&data);
        }
        let mut idle = self.idle.lock();
        if idle.len() == MAX_IDLE {
            idle.remove(0);
        }
        idle.push(link);
        drop(idle);
        Ok(read(&answer))
    }
}

async fn connect(address: SocketAddr, transport: Option<&dyn Transport>) -> io::Result<SendRequest<Full<Bytes>>> {
    let stream = match transport {
        Some(transport) => transport.connect(address).await?,
        None => connect_plain(address).await?,
    };
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

fn read(answer: &[u8]) -> Result<Vec<u32>, AskError> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| AskError::Malformed)?;
    let is_whole = !answer.tokens.is_empty() && answer.count.is_none_or(|count| count == answer.tokens.len());
    if is_whole { Ok(answer.tokens) } else { Err(AskError::Malformed) }
}
