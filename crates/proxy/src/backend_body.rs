//! The body of a response as it comes: from a backend, past an endpoint picker where one listens.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use pailou_extproc::client::{Processed, ProcessedError};

use crate::{
    error::EVICTED_DETAIL,
    prefilled_body::{PrefilledBody, PrefilledBodyError},
    upstream::{ExchangeError, UpstreamBody},
};

/// Reasons for which a response's body ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum ResponseBodyError {
    /// The backend broke off, or what it sent is not HTTP.
    #[error("{0}")]
    Backend(#[from] ExchangeError),
    /// The connection ended before the stream said that it was through.
    #[error("the stream ended before its end")]
    CutShort,
    /// One of the gateway's clocks ran out.
    #[error("{0}")]
    TimedOut(&'static str),
    /// It was broken off for a more important request that waited.
    #[error("{}", EVICTED_DETAIL)]
    Evicted,
    /// The drain was over before the response.
    #[error("the gateway stopped")]
    Stopped,
    /// An endpoint picker evicted the request, or changed the body and did not end it.
    #[error("{0}")]
    Picker(String),
    /// An external processor ended the response, or failed.
    #[error("{0}")]
    Processor(String),
    /// The prompt was not prefilled, without which the backend has nothing to say.
    #[error("the prefill failed: {0}")]
    Prefill(String),
    /// The compressor gave up.
    #[error("the response cannot be compressed: {0}")]
    Compression(std::io::Error),
}

/// A response's body on its way to the relay.
pub(crate) enum BackendBody {
    /// As the backend sends it.
    Direct(UpstreamBody),
    /// Past an endpoint picker, which may change it.
    Picker(Box<Processed<UpstreamBody>>),
    /// Of a request that another endpoint prefills.
    Prefilled(Box<PrefilledBody>),
}

impl BackendBody {
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        match self {
            Self::Direct(body) => Pin::new(body).poll_frame(context).map_err(ResponseBodyError::Backend),
            Self::Prefilled(body) => body.poll_frame(context).map_err(|error| match error {
                PrefilledBodyError::Decode(error) => ResponseBodyError::Backend(error),
                PrefilledBodyError::Prefill(why) => ResponseBodyError::Prefill(why),
            }),
            Self::Picker(body) => body.poll_frame(context).map_err(|error| match error {
                ProcessedError::Backend(error) => ResponseBodyError::Backend(error),
                error @ (ProcessedError::Evicted(_) | ProcessedError::BrokeOff) => ResponseBodyError::Picker(error.to_string()),
            }),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Direct(body) => body.is_end_stream(),
            Self::Picker(body) => body.is_end_stream(),
            Self::Prefilled(body) => body.body().is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Direct(body) => body.size_hint(),
            Self::Picker(_) => SizeHint::default(),
            Self::Prefilled(body) => body.body().size_hint(),
        }
    }

    /// Prompt tokens that another endpoint, which prefilled the request, had cached.
    pub(crate) fn prefill_cached_tokens(&self) -> Option<u64> {
        match self {
            Self::Prefilled(body) => body.cached_tokens(),
            Self::Direct(_) | Self::Picker(_) => None,
        }
    }
}
