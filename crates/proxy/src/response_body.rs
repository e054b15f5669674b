//! A response's body on its way to a client.

mod compressed;
mod processed;
mod throttled;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use crate::{backend_body::ResponseBodyError, error::Error, idle::Pulse, relay::Relay, server};

pub(crate) use compressed::Compressed;
pub(crate) use processed::{Processed, Source};
pub(crate) use throttled::{DelayTrailers, Throttled};

/// A response's body as it is sent to a client.
pub struct ResponseBody(Response);

enum Response {
    Whole(Option<Bytes>),
    Relayed(Box<Relay>),
    Processed(Box<Processed>),
    Compressed(Box<Compressed>),
    Throttled(Box<Throttled>),
}

impl Default for ResponseBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl ResponseBody {
    /// No body.
    pub fn empty() -> Self {
        Self(Response::Whole(None))
    }

    /// A body that the gateway made itself.
    pub fn whole(bytes: Bytes) -> Self {
        Self(Response::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    /// A backend's body, chunk for chunk.
    pub(crate) fn relayed(relay: Relay) -> Self {
        Self(Response::Relayed(Box::new(relay)))
    }

    /// Another body, past an external processor.
    pub(crate) fn processed(processed: Processed) -> Self {
        Self(Response::Processed(Box::new(processed)))
    }

    /// Another body, compressed.
    pub(crate) fn compressed(compressed: Compressed) -> Self {
        Self(Response::Compressed(Box::new(compressed)))
    }

    /// Another body, past a limit of bandwidth.
    pub(crate) fn throttled(throttled: Throttled) -> Self {
        Self(Response::Throttled(Box::new(throttled)))
    }

    /// A part of the body that was held back is on its way: the request's idle clock begins anew.
    fn beat(&mut self) {
        match &mut self.0 {
            Response::Relayed(relay) => relay.beat(),
            Response::Compressed(compressed) => compressed.inner_mut().beat(),
            Response::Processed(processed) => processed.beat(),
            Response::Whole(_) | Response::Throttled(_) => {}
        }
    }

    /// Looks at the request's clocks while nobody reads of the body; gives the error that ends it.
    fn poll_clocks(&mut self, context: &mut Context<'_>) -> Poll<ResponseBodyError> {
        match &mut self.0 {
            Response::Relayed(relay) => relay.poll_clocks(context),
            Response::Compressed(compressed) => compressed.inner_mut().poll_clocks(context),
            Response::Processed(processed) => processed.poll_clocks(context),
            Response::Whole(_) | Response::Throttled(_) => Poll::Pending,
        }
    }

    /// Gives the body up, as the request fails.
    pub(crate) fn fail(self, error: &Error) {
        match self.0 {
            Response::Relayed(relay) => relay.give_up(error),
            Response::Throttled(throttled) => throttled.into_inner().fail(error),
            _ => {}
        }
    }

    /// Gives the body up: the client gets a response with this status in its place.
    pub(crate) fn discard(self, status: StatusCode) {
        if let Response::Relayed(relay) = self.0 {
            relay.discard(status);
        }
    }
}

impl server::ResponseStream for ResponseBody {
    fn upload(&self) -> Option<&Arc<Pulse>> {
        match &self.0 {
            Response::Whole(_) => None,
            Response::Relayed(relay) => relay.upload(),
            Response::Processed(processed) => processed.upload(),
            Response::Compressed(compressed) => compressed.inner().upload(),
            Response::Throttled(throttled) => throttled.inner().upload(),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        match &mut self.0 {
            Response::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Response::Relayed(relay) => relay.poll_frame(context),
            Response::Processed(processed) => processed.poll_frame(context),
            Response::Compressed(compressed) => compressed.poll_frame(context),
            Response::Throttled(throttled) => throttled.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Response::Whole(bytes) => bytes.is_none(),
            Response::Relayed(relay) => relay.is_end_stream(),
            Response::Processed(processed) => processed.is_end_stream(),
            Response::Compressed(_) => false,
            Response::Throttled(throttled) => throttled.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Response::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Response::Relayed(relay) => relay.size_hint(),
            Response::Processed(_) | Response::Compressed(_) => SizeHint::default(),
            Response::Throttled(throttled) => throttled.size_hint(),
        }
    }
}
