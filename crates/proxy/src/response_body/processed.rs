//! A body past an external processor.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use pailou_extproc::processor::{DrivenBody, Sink};

use super::ResponseBody;
use crate::{backend_body::ResponseBodyError, idle::Pulse, server::ResponseStream as _};

/// The body of a response that an external processor gets, and may change.
pub(crate) struct Processed {
    body: DrivenBody<ResponseBodyError>,
    upload: Option<Arc<Pulse>>,
}

impl Processed {
    /// A body that `work` makes of another.
    pub(crate) fn new<F>(inner: ResponseBody, work: impl FnOnce(ResponseBody, Sink) -> F) -> Self
    where
        F: Future<Output = Result<(), ResponseBodyError>> + Send + 'static,
    {
        let upload = inner.upload().cloned();
        Self { body: DrivenBody::new(|sink| work(inner, sink)), upload }
    }

    /// Advances the work without reading of the body.
    pub(crate) fn poll_work(&mut self, context: &mut Context<'_>) {
        let _ = self.body.poll_work(context);
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
