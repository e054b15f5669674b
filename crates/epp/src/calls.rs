//! Calls of proxies, however they come.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use pailou_extproc::server::process;

use crate::{
    EndpointPicker,
    body::BodyMemory,
    conversation::{Context, converse},
};

/// Bytes of a message beside a piece of a body: its frame, metadata and headers.
const MESSAGE_EXTRA: usize = 1 << 20;

/// How long nothing may come of a request before its endpoint is chosen.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Limits of a call.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest body of a request, in bytes.
    pub max_body: usize,
    /// Memory for the bodies of all requests, in bytes.
    pub body_memory: u64,
    /// Most endpoints in a reply, the best and those to fail over to: 1 to 16.
    pub max_endpoints: usize,
}

/// Answers calls of the endpoint picker protocol. Clones share the memory for bodies.
#[derive(Clone, Debug)]
pub struct Calls(Context);

impl Calls {
    /// Answers by what this picker says.
    pub fn new(picker: Arc<EndpointPicker>, limits: &Limits) -> Self {
        let Limits { max_body, body_memory, max_endpoints } = *limits;
        Self(Context { picker, memory: BodyMemory::new(body_memory), max_body, max_endpoints, request_timeout: REQUEST_TIMEOUT })
    }

    /// Answers one call, gRPC's framing included. Replies follow for as long as the proxy reads the response's body. Needs the
    /// runtime.
    pub async fn answer<B>(self, request: Request<B>) -> Response<tonic::body::Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let longest = self.0.max_body.saturating_add(MESSAGE_EXTRA);
        process(request, longest, |messages, replies| converse(self.0, messages, replies)).await
    }
}

#[cfg(test)]
mod tests;
