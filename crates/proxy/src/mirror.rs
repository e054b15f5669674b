//! Copies of a request that is passed on unread, for mirrors that must never hold the original up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;

use crate::body_error::RequestBodyError;

/// How many bytes a copy may lag behind the original until it is given up.
const MAX_LAG: usize = 4 << 20;

/// Copies of a body that is passed on, one for each mirror. Dropped before the body's end, none looks whole.
#[derive(Default)]
pub(crate) struct Copies(Vec<Sink>);

struct Sink {
    frames: mpsc::UnboundedSender<Result<Bytes, RequestBodyError>>,
    lag: Arc<AtomicUsize>,
}

/// A mirror's end of its copy.
pub(crate) struct Copied {
    frames: mpsc::UnboundedReceiver<Result<Bytes, RequestBodyError>>,
    lag: Arc<AtomicUsize>,
}

impl Copies {
    /// Begins one more copy.
    pub(crate) fn begin(&mut self) -> Copied {
        let lag = Arc::new(AtomicUsize::new(0));
        // Bounded in bytes by `lag`, not in frames.
        let (frames, ends) = mpsc::unbounded_channel();
        self.0.push(Sink { frames, lag: Arc::clone(&lag) });
        Copied { frames: ends, lag }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies what came of the body; `is_end` says that nothing will follow it.
    pub(crate) fn pass<E>(&mut self, frame: Option<&Result<Frame<Bytes>, E>>, is_end: bool) {
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.0.retain(|copy| copy.send(data));
                }
                if is_end {
                    self.0.clear();
                }
            }
            Some(Err(_)) => self.abandon(),
            None => self.0.clear(),
        }
    }

    fn abandon(&mut self) {
        for copy in self.0.drain(..) {
            copy.abandon();
        }
    }
}

impl Drop for Copies {
    /// An original that is cut off must not leave a copy that looks whole.
    fn drop(&mut self) {
        self.abandon();
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
