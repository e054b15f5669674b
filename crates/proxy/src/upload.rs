//! A request's body while it streams through: watched by the request's idle clock, and ended with the request.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep},
};

use crate::{
    body_error::RequestBodyError,
    idle::Pulse,
    retained::{Replay, Rest},
};

/// After a request is over, what may still be missing of its body gets this long to go out.
const GRACE: Duration = Duration::from_millis(100);

/// A body that is passed on as the client sends it, as the connection to the backend reads it.
pub(crate) struct Upload {
    rest: Rest,
    /// Frames to send first, and where those that come are kept, if a retry may need them.
    replay: Option<Replay>,
    pulse: Arc<Pulse>,
    over: oneshot::Receiver<()>,
    grace: Option<Pin<Box<Sleep>>>,
}

/// The request's end of an upload. Dropped, which is when the request is over, it ends the upload.
pub(crate) struct Watch {
    pulse: Arc<Pulse>,
    over: oneshot::Sender<()>,
}

impl Upload {
    /// An upload, and the request's end of it.
    pub(crate) fn new(rest: Rest) -> (Self, Watch) {
        let pulse = Arc::new(Pulse::new());
        let (watch, over) = oneshot::channel();
        (Self { rest, replay: None, pulse: Arc::clone(&pulse), over, grace: None }, Watch { pulse, over: watch })
    }

    /// The upload of an attempt, after which there may be another.
    pub(crate) fn kept(rest: Rest, replay: Replay, watch: &mut Watch) -> Self {
        let (sender, over) = oneshot::channel();
        watch.over = sender;
        Self { rest, replay: Some(replay), pulse: Arc::clone(&watch.pulse), over, grace: None }
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if let Some(replay) = &mut self.replay {
            if self.over.try_recv().is_ok() {
                return Poll::Ready(Some(Err(over())));
            }
            match replay.next() {
                Ok(frame) => {
                    self.pulse.beat(true);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Err(true) => {}
                Err(false) => self.replay = None,
            }
        }
        let frame = Pin::new(&mut self.rest.body).poll_frame(context);
        self.pulse.beat(frame.is_ready());
        if let Poll::Ready(frame) = frame {
            if !self.rest.copies.is_empty() {
                self.rest.copies.pass(frame.as_ref(), self.rest.body.is_end_stream());
            }
            if let (Some(replay), Some(frame)) = (&mut self.replay, &frame) {
                replay.record(frame);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError::from)));
        }
        if self.grace.is_none() && ready!(Pin::new(&mut self.over).poll(context)).is_ok() {
            return Poll::Ready(Some(Err(over())));
        }
        ready!(self.grace.get_or_insert_with(|| Box::pin(sleep(GRACE))).as_mut().poll(context));
        Poll::Ready(Some(Err(over())))
    }

    /// Whether nothing is left to send.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.rest.body.is_end_stream() && self.replay.as_ref().is_none_or(Replay::is_through)
    }

    /// Bytes left to send, where the client has said how many.
    pub(crate) fn size_hint(&self) -> SizeHint {
        let rest = self.rest.body.size_hint();
        match &self.replay {
            None => rest,
            Some(replay) => replay.left(rest.exact()).map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(replay) = self.replay.take() {
            replay.give_back(std::mem::take(&mut self.rest));
        }
    }
}

fn over() -> RequestBodyError {
    RequestBodyError::Over(h2::Reason::CANCEL.into())
}

impl Watch {
    /// The watch over a body that an attempt is yet to send.
    pub(crate) fn idle() -> Self {
        Self { pulse: Arc::new(Pulse::new()), over: oneshot::channel().0 }
    }

    /// Ends the upload of an attempt that has failed, for the next to have the body.
    pub(crate) fn end(&mut self) {
        let _ = std::mem::replace(&mut self.over, oneshot::channel().0).send(());
    }

    /// The upload's pulse.
    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}
