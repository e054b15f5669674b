//! The body of a response as it comes: from a backend, past an endpoint picker where one listens.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use pailou_extproc::client::{Processed, ProcessedError};

use crate::{
    body::BodyError,
    upstream::{ExchangeError, UpstreamBody},
};

/// A response's body on its way to the relay.
pub(crate) enum BackendBody {
    /// As the backend sends it.
    Direct(UpstreamBody),
    /// Past an endpoint picker, which may change it.
    Picker(Box<Processed<Ahead>>),
}

/// A body of which some has been read.
pub(crate) struct Ahead {
    pub(crate) read: std::collections::VecDeque<Frame<Bytes>>,
    pub(crate) body: UpstreamBody,
}

impl BackendBody {
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Direct(body) => Pin::new(body).poll_frame(context).map_err(BodyError::Backend),
            Self::Picker(body) => body.poll_frame(context).map_err(|error| match error {
                ProcessedError::Backend(error) => BodyError::Backend(error),
                error @ (ProcessedError::Evicted(_) | ProcessedError::BrokeOff) => BodyError::Picker(error.to_string()),
            }),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Direct(body) => body.is_end_stream(),
            Self::Picker(body) => body.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Direct(body) => body.size_hint(),
            Self::Picker(_) => SizeHint::default(),
        }
    }
}

impl http_body::Body for Ahead {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.body.is_end_stream()
    }
}
