//! Copies of a request that is passed on unread: a tee on its body, for mirrors that must never hold the original up.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::{body_error::RequestBodyError, server::ClientBody};

/// How many bytes a copy may lag behind the original until it is given up.
const MAX_LAG: usize = 4 << 20;

/// A body that is passed on and copied to mirrors.
pub(crate) struct Tee {
    body: ClientBody,
    copies: Vec<Sink>,
}

struct Sink {
    frames: mpsc::UnboundedSender<Result<Bytes, RequestBodyError>>,
    lag: Arc<AtomicUsize>,
}

/// The mirror's end of a [`Tee`].
pub(crate) struct Copied {
    frames: mpsc::UnboundedReceiver<Result<Bytes, RequestBodyError>>,
    lag: Arc<AtomicUsize>,
}

impl Tee {
    /// A tee on `body` with this many copies.
    pub(crate) fn new(body: ClientBody, copies: usize) -> (Self, Vec<Copied>) {
        let (copies, ends) = (0..copies)
            .map(|_| {
                let lag = Arc::new(AtomicUsize::new(0));
                // Bounded in bytes by `lag`, not in frames.
                let (sender, receiver) = mpsc::unbounded_channel();
                (Sink { frames: sender, lag: lag.clone() }, Copied { frames: receiver, lag })
            })
            .unzip();
        (Self { body, copies }, ends)
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.copies.retain(|copy| copy.send(data));
                }
            }
            Some(Err(_)) => {
                for copy in self.copies.drain(..) {
                    copy.abandon();
                }
            }
            None => self.copies.clear(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError::from)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tee {
    /// An original that is cut off must not leave a copy that looks whole.
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            for copy in self.copies.drain(..) {
                copy.abandon();
            }
        }
    }
}

impl Sink {
    /// False where the copy goes no further.
    fn send(&self, data: &Bytes) -> bool {
        if self.lag.fetch_add(data.len(), Ordering::Relaxed) + data.len() > MAX_LAG {
            let _ = self.frames.send(Err(RequestBodyError::CopyAbandoned));
            return false;
        }
        self.frames.send(Ok(data.clone())).is_ok()
    }

    fn abandon(self) {
        let _ = self.frames.send(Err(RequestBodyError::CopyAbandoned));
    }
}

impl Copied {
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let frame = ready!(self.frames.poll_recv(context));
        Poll::Ready(frame.map(|data| {
            data.map(|data| {
                self.lag.fetch_sub(data.len(), Ordering::Relaxed);
                Frame::data(data)
            })
        }))
    }
}
