//! The body of a response to a request that another endpoint prefills.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::runtime::Handle;

use crate::upstream::{ExchangeError, UpstreamBody};

/// Why such a body ends before its time.
pub(crate) enum PrefilledBodyError {
    /// The endpoint that decodes broke off.
    Decode(ExchangeError),
    /// The prompt was not prefilled.
    Prefill(String),
}

/// The rest of a prefill beside the decode: prompt tokens that were cached at its end, or why it failed. It has a deadline.
pub(crate) type PendingPrefill = Pin<Box<dyn Future<Output = Result<Option<u64>, String>> + Send>>;

/// A response as the endpoint that decodes sends it. Until its first data it breaks off as soon as the prefill fails: the endpoint would wait
/// for what never comes.
pub(crate) struct PrefilledBody {
    body: UpstreamBody,
    prefill: Option<PendingPrefill>,
    cached_tokens: Option<u64>,
    has_begun: bool,
}

impl PrefilledBody {
    /// The body beside a prefill under way.
    pub(crate) fn beside(body: UpstreamBody, prefill: PendingPrefill) -> Self {
        Self { body, prefill: Some(prefill), cached_tokens: None, has_begun: false }
    }

    /// The body after a prefill that found so many tokens of the prompt cached.
    pub(crate) fn after(body: UpstreamBody, cached_tokens: Option<u64>) -> Self {
        Self { body, prefill: None, cached_tokens, has_begun: true }
    }

    /// Prompt tokens that the endpoint that prefilled had cached, if it told.
    pub(crate) fn cached_tokens(&self) -> Option<u64> {
        self.cached_tokens
    }

    /// The endpoint's body.
    pub(crate) fn body(&self) -> &UpstreamBody {
        &self.body
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, PrefilledBodyError>>> {
        if let Some(prefill) = &mut self.prefill
            && let Poll::Ready(end) = prefill.as_mut().poll(context)
        {
            self.prefill = None;
            match end {
                Ok(cached_tokens) => self.cached_tokens = cached_tokens,
                Err(why) if !self.has_begun => return Poll::Ready(Some(Err(PrefilledBodyError::Prefill(why)))),
                Err(_) => {}
            }
        }
        let polled = Pin::new(&mut self.body).poll_frame(context).map_err(PrefilledBodyError::Decode);
        self.has_begun |= matches!(polled, Poll::Ready(Some(Ok(_))));
        polled
    }
}

impl Drop for PrefilledBody {
    /// A prefill whose decode is through has little left to say; its connection serves others after that. Else it goes with the client.
    fn drop(&mut self) {
        if let Some(prefill) = self.prefill.take().filter(|_| self.body.is_end_stream())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(prefill);
        }
    }
}
