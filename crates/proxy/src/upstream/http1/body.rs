//! A response's body over HTTP/1.1, and the request that may still be on its way out beside it.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use pailou_http1::Framing;
use tokio::{sync::mpsc, time::timeout};

use super::{Http1Error, Lease, sending::Sending};
use crate::upstream::body::{Rest, UpstreamBody};

/// After a response has ended, what may still be missing of the request gets this long to go out; then the connection closes.
const UPLOAD_GRACE: Duration = Duration::from_millis(100);

/// A connection with a response under way.
pub(in crate::upstream) struct Direct {
    /// Until the body ends.
    lease: Option<Lease>,
    framing: Framing,
    keeps_alive: bool,
    /// The request, where it is not through.
    sending: Option<Sending>,
}

/// The client's end of a body that a task reads.
pub(in crate::upstream) struct Pumped {
    frames: mpsc::Receiver<Result<Frame<Bytes>, Http1Error>>,
    /// Bytes to come, where that is known.
    left: Option<u64>,
}

/// The body of a response. At its end the connection is free for the next request; dropped before, it closes.
pub(in crate::upstream) fn body(lease: Lease, framing: Framing, keeps_alive: bool, sending: Option<Sending>) -> UpstreamBody {
    let streams = sending.as_ref().is_some_and(Sending::streams);
    let mut direct = Direct { lease: Some(lease), framing, keeps_alive, sending };
    UpstreamBody::new(if direct.framing.is_over() {
        direct.finish();
        Rest::None
    } else if streams {
        Rest::Http1Pumped(direct.pump())
    } else {
        Rest::Http1(Box::new(direct))
    })
}

impl Direct {
    /// Bytes to come; `None` where the backend has not said how many.
    pub(in crate::upstream) fn left(&self) -> Option<u64> {
        self.framing.left()
    }

    pub(in crate::upstream) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        let frame = ready!(self.poll_next(context));
        match &frame {
            Ok(_) if self.framing.is_over() => self.finish(),
            Ok(_) => {}
            Err(_) => self.lease = None,
        }
        Poll::Ready(frame.transpose())
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Http1Error>> {
        let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(None)) };
        let wire = &mut lease.connection.wire;
        if let Some(sending) = &mut self.sending
            && sending.poll(wire, context)?.is_ready()
        {
            self.sending = None;
        }
        loop {
            if let Some(frame) = self.framing.take(&mut wire.read)? {
                return Poll::Ready(Ok(Some(frame)));
            }
            if self.framing.is_over() {
                return Poll::Ready(Ok(None));
            }
            if !ready!(wire.poll_fill(context))? {
                if self.framing != Framing::UntilClose {
                    return Poll::Ready(Err(Http1Error::Closed));
                }
                self.framing = Framing::Length(0);
            }
        }
    }

    /// The body has ended: the connection is kept, once the request is through as well.
    fn finish(&mut self) {
        let Some(mut lease) = self.lease.take().filter(|_| self.keeps_alive) else { return };
        match self.sending.take() {
            None => lease.keep(),
            Some(mut sending) => drop(tokio::spawn(async move {
                let sent = poll_fn(|context| sending.poll(&mut lease.connection.wire, context));
                if let Ok(Ok(())) = timeout(UPLOAD_GRACE, sent).await {
                    lease.keep();
                }
            })),
        }
    }

    /// Has a task read.
    fn pump(mut self) -> Pumped {
        let left = self.framing.left();
        // One more than is being looked at: what a slow client does not take stays with the backend.
        let (sender, frames) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let room = tokio::select! {
                    room = sender.reserve() => room,
                    () = self.sent() => continue,
                };
                let Ok(room) = room else { return };
                let frame = tokio::select! {
                    frame = poll_fn(|context| self.poll_frame(context)) => frame,
                    () = sender.closed() => return,
                };
                let Some(frame) = frame else { return };
                room.send(frame);
            }
        });
        Pumped { frames, left }
    }

    /// Ready when the request has just gone through, and only then; what breaks off shows when the response is read.
    async fn sent(&mut self) {
        let (Some(lease), Some(sending)) = (&mut self.lease, &mut self.sending) else { return std::future::pending().await };
        match poll_fn(|context| sending.poll(&mut lease.connection.wire, context)).await {
            Ok(()) => self.sending = None,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Pumped {
    /// Bytes to come; `None` where the backend has not said how many.
    pub(in crate::upstream) fn left(&self) -> Option<u64> {
        self.left
    }

    pub(in crate::upstream) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        let frame = ready!(self.frames.poll_recv(context));
        if let (Some(Ok(frame)), Some(left)) = (&frame, &mut self.left) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
        Poll::Ready(frame)
    }
}
