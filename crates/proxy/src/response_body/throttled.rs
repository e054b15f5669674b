//! A response's body past a limit of bandwidth.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use pailou_snapshot::BandwidthTrailers;
use tokio::time::Instant;

use super::ResponseBody;
use crate::{
    backend_body::ResponseBodyError,
    bandwidth::{Delays, Gate},
    timer::Timer,
};

/// A body of which as much passes as the limit allows. It holds one piece, and asks for the next once that is through.
pub(crate) struct Throttled {
    inner: ResponseBody,
    gate: Gate,
    held: Bytes,
    delays: Option<DelayTrailers>,
    has_ended: bool,
    /// The request's time, once more: that of a body which a processor makes ends with the backend's, which may be through long before.
    deadline: Option<Timer>,
}

/// Trailers that tell of delays.
pub(crate) struct DelayTrailers {
    /// Their names.
    pub(crate) names: BandwidthTrailers,
    /// Those of the request, as far as it has passed.
    pub(crate) request: Arc<parking_lot::Mutex<Delays>>,
}

impl Throttled {
    /// A body that passes a gate.
    pub(crate) fn new(inner: ResponseBody, gate: Gate, delays: Option<DelayTrailers>, deadline: Option<Instant>) -> Self {
        Self { inner, gate, held: Bytes::new(), delays, has_ended: false, deadline: deadline.map(Timer::new) }
    }

    /// The body as it comes.
    pub(crate) fn inner(&self) -> &ResponseBody {
        &self.inner
    }

    /// The body, given up.
    pub(crate) fn into_inner(self) -> ResponseBody {
        self.inner
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        loop {
            if !self.held.is_empty() {
                let Poll::Ready(passed) = self.gate.poll_pass(&mut self.held, context) else {
                    let error = ready!(self.poll_clocks(context));
                    self.held.clear();
                    self.delays = None;
                    self.has_ended = true;
                    return Poll::Ready(Some(Err(error)));
                };
                self.inner.beat();
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
            if self.has_ended {
                return Poll::Ready(None);
            }
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)).transpose()? else {
                return Poll::Ready(self.end(None).map(|trailers| Ok(Frame::trailers(trailers))));
            };
            match frame.into_data() {
                Ok(data) => self.held = data,
                Err(frame) => {
                    let trailers = self.end(frame.into_trailers().ok());
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
            }
        }
    }

    /// Looks at the clocks of the request while the body waits.
    fn poll_clocks(&mut self, context: &mut Context<'_>) -> Poll<ResponseBodyError> {
        if let Poll::Ready(error) = self.inner.poll_clocks(context) {
            return Poll::Ready(error);
        }
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        deadline.poll(context).map(|()| ResponseBodyError::TimedOut("request timeout"))
    }

    /// The trailers at the end of the body: its own, and the delays.
    fn end(&mut self, own: Option<HeaderMap>) -> Option<HeaderMap> {
        self.has_ended = true;
        let Some(DelayTrailers { names, request }) = self.delays.take() else { return own };
        let (request, response) = (*request.lock(), self.gate.delays());
        let mut trailers = own.unwrap_or_default();
        for (name, time) in [
            (names.request_delay, request.passage),
            (names.response_delay, response.passage),
            (names.request_filter_delay, request.held_up),
            (names.response_filter_delay, response.held_up),
        ] {
            let millis = time.as_millis();
            if millis > 0 {
                trailers.insert(name, HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX)));
            }
        }
        Some(trailers).filter(|trailers| !trailers.is_empty())
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.delays.is_none() && (self.has_ended || self.inner.is_end_stream())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.inner.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + self.held.len() as u64),
            None => SizeHint::default(),
        }
    }
}
