//! A request's body on its way to a backend.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pailou_ai::Pieces;
use pailou_extproc::client::{Outbox, SharedOutbox};

use crate::{body_error::RequestBodyError, log_frames::LogFrames, mirror::Copied, upload::Upload};

/// A request's body as it is sent to a backend. Only what is [held](RequestBody::held) can be sent again.
pub struct RequestBody(Request);

enum Request {
    Held { pieces: <Pieces as IntoIterator>::IntoIter, left: u64 },
    Streamed(Box<Upload>),
    Copied(Copied),
    Picker(Outbox),
    Processor(SharedOutbox),
    Logs(LogFrames),
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self::held(Pieces::default())
    }

    /// A body that was read before.
    pub fn held(pieces: Pieces) -> Self {
        let left = pieces.len() as u64;
        Self(Request::Held { pieces: pieces.into_iter(), left })
    }

    /// A body passed on as the client sends it, trailers included.
    pub(crate) fn streamed(upload: Upload) -> Self {
        Self(Request::Streamed(Box::new(upload)))
    }

    /// Whether all of it is there.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.0, Request::Held { .. })
    }

    /// A mirror's copy of a body that is passed on.
    pub(crate) fn copied(copy: Copied) -> Self {
        Self(Request::Copied(copy))
    }

    /// Body of a request to an endpoint picker.
    pub(crate) fn asked(outbox: Outbox) -> Self {
        Self(Request::Picker(outbox))
    }

    /// Body of a request to an external processor.
    pub(crate) fn processed(outbox: SharedOutbox) -> Self {
        Self(Request::Processor(outbox))
    }

    /// Body of a stream of access log entries.
    pub(crate) fn logs(frames: LogFrames) -> Self {
        Self(Request::Logs(frames))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut self.0 {
            Request::Held { pieces, left } => Poll::Ready(pieces.next().map(|piece| {
                *left -= piece.len() as u64;
                Ok(Frame::data(piece))
            })),
            Request::Streamed(upload) => upload.poll_frame(context),
            Request::Copied(copy) => copy.poll_frame(context),
            Request::Picker(outbox) => Pin::new(outbox).poll_frame(context).map_err(|never| match never {}),
            Request::Processor(outbox) => Pin::new(outbox).poll_frame(context).map_err(|never| match never {}),
            Request::Logs(frames) => frames.poll_next(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Request::Held { left, .. } => *left == 0,
            Request::Streamed(upload) => upload.is_end_stream(),
            Request::Copied(_) | Request::Picker(_) | Request::Processor(_) | Request::Logs(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Request::Held { left, .. } => SizeHint::with_exact(*left),
            Request::Streamed(upload) => upload.size_hint(),
            Request::Copied(_) | Request::Picker(_) | Request::Processor(_) | Request::Logs(_) => SizeHint::default(),
        }
    }
}
