//! A request's body while it streams through: watched by the request's idle clock, and ended with the request.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep},
};

use crate::{body_error::RequestBodyError, idle::Pulse, mirror::Tee, server::ClientBody};

/// After a request is over, what may still be missing of its body gets this long to go out.
const GRACE: Duration = Duration::from_millis(100);

/// A body that is passed on as the client sends it, as the connection to the backend reads it.
pub(crate) struct Upload {
    body: Origin,
    pulse: Arc<Pulse>,
    over: oneshot::Receiver<()>,
    grace: Option<Pin<Box<Sleep>>>,
}

/// Source of an upload.
pub(crate) enum Origin {
    /// The client.
    Client(ClientBody),
    /// The client, with copies for mirrors on the way.
    Teed(Tee),
}

/// The request's end of an upload. Dropped, which is when the request is over, it ends the upload.
pub(crate) struct Watch {
    pulse: Arc<Pulse>,
    _over: oneshot::Sender<()>,
}

impl Upload {
    /// An upload, and the request's end of it.
    pub(crate) fn new(body: Origin) -> (Self, Watch) {
        let pulse = Arc::new(Pulse::new());
        let (watch, over) = oneshot::channel();
        (Self { body, pulse: Arc::clone(&pulse), over, grace: None }, Watch { pulse, _over: watch })
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let frame = match &mut self.body {
            Origin::Client(body) => Pin::new(body).poll_frame(context).map_err(RequestBodyError::from),
            Origin::Teed(tee) => tee.poll_frame(context),
        };
        self.pulse.beat(frame.is_ready());
        if frame.is_ready() {
            return frame;
        }
        if self.grace.is_none() {
            // It is never sent to: it ends when the other side is dropped.
            let _ = ready!(Pin::new(&mut self.over).poll(context));
        }
        ready!(self.grace.get_or_insert_with(|| Box::pin(sleep(GRACE))).as_mut().poll(context));
        Poll::Ready(Some(Err(RequestBodyError::Over(h2::Reason::CANCEL.into()))))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match &self.body {
            Origin::Client(body) => body.is_end_stream(),
            Origin::Teed(tee) => tee.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.body {
            Origin::Client(body) => body.size_hint(),
            Origin::Teed(tee) => tee.size_hint(),
        }
    }
}

impl Watch {
    /// The upload's pulse.
    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}
