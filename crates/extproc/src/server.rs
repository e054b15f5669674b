//! The picker's side of the protocol.
//!
//! [`process`] answers a proxy's call: the proxy sends a stream of messages, and [`Replies`] sends the answers.
//! [`EndpointRequest`] is the first message; the functions of [`answers`] make replies.

pub mod answers;
mod replies;
mod request;

use std::future::Future;

use http::{Request, Response};
use http_body::Body;
use pailou_envoy_proto::ext_proc::{ProcessingRequest, ProcessingResponse};
use tonic::{Status, Streaming, server::Grpc, server::StreamingService};
use tonic_prost::ProstCodec;

pub use replies::{ProxyGone, Replies, ReplyStream};
pub use request::{BodyMode, EndpointRequest, served};

/// Messages of a proxy.
pub type Messages = Streaming<ProcessingRequest>;

/// Answers a call: `converse` gets the proxy's messages and a sender of replies. It runs as a task of its own, which ends with
/// the call at its next read or reply at the latest. `max_message` is the longest message, in bytes.
pub async fn process<B, F>(
    request: Request<B>,
    max_message: usize,
    converse: impl FnOnce(Messages, Replies) -> F + Send,
) -> Response<tonic::body::Body>
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    F: Future<Output = ()> + Send + 'static,
{
    let codec = ProstCodec::<ProcessingResponse, ProcessingRequest>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(max_message).max_encoding_message_size(usize::MAX);
    grpc.streaming(Call(Some(converse)), request).await
}

struct Call<C>(Option<C>);

impl<C, F> StreamingService<ProcessingRequest> for Call<C>
where
    C: FnOnce(Messages, Replies) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    type Response = ProcessingResponse;
    type ResponseStream = ReplyStream;
    type Future = std::future::Ready<Result<tonic::Response<ReplyStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Messages>) -> Self::Future {
        let (replies, stream) = Replies::new();
        if let Some(converse) = self.0.take() {
            tokio::spawn(converse(request.into_inner(), replies));
        }
        std::future::ready(Ok(tonic::Response::new(stream)))
    }
}
