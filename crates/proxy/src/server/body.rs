//! A request's body as a client sends it.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pailou_http1::Malformed;

use super::http1::{LineBody, OnUpgrade};
use crate::headers;

/// A request's body as it comes from a client. By default there is none.
#[derive(Default)]
pub struct ClientBody {
    inner: Inner,
    /// Headers that policies put identities into, where there are any.
    identities: Option<Arc<[HeaderName]>>,
}

enum Inner {
    /// It came with its head: most do.
    Whole(Bytes),
    Http1(LineBody),
    /// There is none, and the connection may become another protocol's.
    Upgrade(OnUpgrade),
    Http2(Incoming),
    /// As a filter makes it of another.
    Filtered(FilteredBody),
}

impl Default for Inner {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl From<Inner> for ClientBody {
    fn from(inner: Inner) -> Self {
        Self { inner, identities: None }
    }
}

/// A body that a filter makes of a client's.
type FilteredBody = Pin<Box<dyn Body<Data = Bytes, Error = ClientBodyError> + Send + Sync>>;

/// Why a request's body does not arrive.
#[derive(Debug, thiserror::Error)]
pub enum ClientBodyError {
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection ended before the body did.
    #[error("the connection ended too early")]
    Closed,
    /// The body is not HTTP.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The stream was reset, or its connection broke.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
    /// A filter gave the body up; the reason.
    #[error("{0}")]
    Filtered(String),
}

impl ClientBody {
    /// A body that a filter makes of another.
    pub(crate) fn filtered(body: impl Body<Data = Bytes, Error = ClientBodyError> + Send + Sync + 'static) -> Self {
        Inner::Filtered(Box::pin(body)).into()
    }

    /// A body that is there.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Inner::Whole(bytes).into()
    }

    /// A body that is still to come.
    pub(super) fn http1(body: LineBody) -> Self {
        Inner::Http1(body).into()
    }

    /// No body, and a connection that can be used for another protocol.
    pub(super) fn upgrade(on_upgrade: OnUpgrade) -> Self {
        Inner::Upgrade(on_upgrade).into()
    }

    /// Keeps these headers out of the trailers.
    pub(crate) fn without_identities(mut self, identities: &Arc<[HeaderName]>) -> Self {
        if !identities.is_empty() && !self.is_whole() {
            self.identities = Some(identities.clone());
        }
        self
    }

    /// The connection, where it can be used for another protocol. No body is left.
    pub(crate) fn take_upgrade(&mut self) -> Option<OnUpgrade> {
        match std::mem::take(&mut self.inner) {
            Inner::Upgrade(on_upgrade) => Some(on_upgrade),
            other => {
                self.inner = other;
                None
            }
        }
    }

    /// Whether all of it came with its head.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.inner, Inner::Whole(_))
    }

    /// The body, where all of it came with its head. None is left.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.inner {
            Inner::Whole(bytes) => Some(std::mem::take(bytes)),
            _ => None,
        }
    }

    /// A body that is still to come, and of known length, can be had in one piece without a copy.
    pub(crate) fn in_place(&mut self) -> Option<&mut LineBody> {
        match &mut self.inner {
            Inner::Http1(body) if body.left().is_some() => Some(body),
            _ => None,
        }
    }
}

impl From<Incoming> for ClientBody {
    fn from(body: Incoming) -> Self {
        Inner::Http2(body).into()
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let Self { inner, identities } = &mut *self;
        let mut polled = match inner {
            Inner::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Inner::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Upgrade(_) => return Poll::Ready(None),
            // A filter says what its trailers are.
            Inner::Filtered(body) => return body.as_mut().poll_frame(context),
            Inner::Http1(body) => body.poll_frame(context),
            Inner::Http2(body) => Pin::new(body).poll_frame(context).map_err(ClientBodyError::from),
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::clean_trailers(trailers, identities.as_deref().unwrap_or_default());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::Http1(body) => body.left() == Some(0),
            Inner::Upgrade(_) => true,
            Inner::Http2(body) => body.is_end_stream(),
            Inner::Filtered(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Upgrade(_) => SizeHint::with_exact(0),
            Inner::Http1(body) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Inner::Http2(body) => body.size_hint(),
            Inner::Filtered(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for ClientBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}
