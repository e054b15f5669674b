//! A body past an external processor.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use pailou_extproc::processor::{DrivenBody, Sink};
use parking_lot::Mutex;

use super::ResponseBody;
use crate::{backend_body::ResponseBodyError, error::Error, idle::Pulse, server::ResponseStream as _};

/// The body of a response that an external processor gets, and may change.
pub(crate) struct Processed {
    body: DrivenBody<ResponseBodyError>,
    /// The body that the processor gets, until the work lets go of it.
    source: Weak<Mutex<ResponseBody>>,
    upload: Option<Arc<Pulse>>,
}

/// The body that a processor gets. The work reads it; its clocks are looked at while the work waits. One task does both.
pub(crate) struct Source(Arc<Mutex<ResponseBody>>);

impl Source {
    /// Gives the body up, as the request fails.
    pub(crate) fn fail(self, error: &Error) {
        self.take().fail(error);
    }

    /// Gives the body up: the client gets a response with this status in its place.
    pub(crate) fn discard(self, status: StatusCode) {
        self.take().discard(status);
    }

    fn take(&self) -> ResponseBody {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

impl Processed {
    /// A body that `work` makes of another.
    pub(crate) fn new<F>(inner: ResponseBody, work: impl FnOnce(Source, Sink) -> F) -> Self
    where
        F: Future<Output = Result<(), ResponseBodyError>> + Send + 'static,
    {
        let upload = inner.upload().cloned();
        let source = Arc::new(Mutex::new(inner));
        let watched = Arc::downgrade(&source);
        Self { body: DrivenBody::new(|sink| work(Source(source), sink)), source: watched, upload }
    }

    /// Advances the work without reading of the body.
    pub(crate) fn poll_work(&mut self, context: &mut Context<'_>) {
        let _ = self.body.poll_work(context);
    }

    /// Advances the work, and looks at the request's clocks while the work waits for room.
    pub(super) fn poll_clocks(&mut self, context: &mut Context<'_>) -> Poll<ResponseBodyError> {
        self.poll_work(context);
        self.source.upgrade().map_or(Poll::Pending, |source| source.lock().poll_clocks(context))
    }

    /// A part of the body is on its way to the client.
    pub(super) fn beat(&self) {
        if let Some(source) = self.source.upgrade() {
            source.lock().beat();
        }
    }

    pub(super) fn upload(&self) -> Option<&Arc<Pulse>> {
        self.upload.as_ref()
    }

    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
