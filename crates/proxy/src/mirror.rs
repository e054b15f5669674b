//! Copies of a request that is passed on unread, for mirrors that must never hold the original up.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{
    body_error::RequestBodyError,
    context::{self, FRAME_OVERHEAD, Share},
};

/// How many bytes a copy may lag behind the original until it is given up.
const MAX_LAG: u64 = 4 << 20;

/// Copies of a body that is passed on, one for each mirror. Dropped before the body's end, none looks whole.
#[derive(Default)]
pub(crate) struct Copies(Vec<Sink>);

struct Sink {
    frames: mpsc::UnboundedSender<Result<Bytes, RequestBodyError>>,
    lag: Arc<Lag>,
}

/// A mirror's end of its copy.
pub(crate) struct Copied {
    frames: mpsc::UnboundedReceiver<Result<Bytes, RequestBodyError>>,
    lag: Arc<Lag>,
}

/// Bytes that a mirror has not taken yet; they count towards the room for bodies.
struct Lag(Mutex<(u64, Share)>);

impl Copies {
    /// Begins one more copy.
    pub(crate) fn begin(&mut self, context: &Arc<context::Context>) -> Copied {
        let lag = Arc::new(Lag(Mutex::new((0, Share::new(Arc::clone(context))))));
        // Bounded in bytes by `lag`, not in frames.
        let (frames, ends) = mpsc::unbounded_channel();
        self.0.push(Sink { frames, lag: Arc::clone(&lag) });
        Copied { frames: ends, lag }
    }

    /// Begins one more copy of a body of which this much has passed; `is_end` says that nothing will follow.
    pub(crate) fn begin_after<'a>(
        &mut self,
        context: &Arc<context::Context>,
        passed: impl Iterator<Item = &'a Bytes>,
        is_end: bool,
    ) -> Copied {
        let copied = self.begin(context);
        let goes_on = self.0.last().is_some_and(|copy| passed.into_iter().all(|data| copy.send(data)));
        if is_end || !goes_on {
            self.0.pop();
        }
        copied
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

impl Lag {
    /// Makes it longer, or says that the copy is to be given up, which the metrics count.
    fn grow(&self, bytes: u64) -> bool {
        let (lag, share) = &mut *self.0.lock();
        let grown = *lag + bytes;
        if grown <= MAX_LAG && share.context().bodies.has_room_for_copies(bytes) && share.grow_to(grown).is_ok() {
            *lag = grown;
            return true;
        }
        share.context().metrics.mirrors_dropped.inc();
        false
    }

    fn shrink(&self, bytes: u64) {
        let (lag, share) = &mut *self.0.lock();
        *lag = lag.saturating_sub(bytes);
        share.shrink_by(bytes);
    }
}

impl Sink {
    /// False where the copy goes no further.
    fn send(&self, data: &Bytes) -> bool {
        if !self.lag.grow(data.len() as u64 + FRAME_OVERHEAD) {
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
                self.lag.shrink(data.len() as u64 + FRAME_OVERHEAD);
                Frame::data(data)
            })
        }))
    }
}
