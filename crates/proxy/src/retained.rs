//! A request's body that streams through and is kept as it passes, so that it can be sent again.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    context::{Context, FRAME_OVERHEAD, Share},
    mirror::{Copied, Copies},
    server::ClientBody,
};

/// Longest body that is kept for a kept connection that closes as the request comes, in bytes.
const MAX_FOR_RECONNECT: u64 = 64 << 10;

/// Bounds of a body that is kept.
pub(crate) struct Keep {
    limit: u64,
    share: Share,
    /// A retry policy asks for it: a body that goes on unkept is counted.
    is_for_retries: bool,
}

impl Keep {
    /// For the retries that a policy asks for, up to so many bytes.
    pub(crate) fn for_retries(limit: u64, context: &Arc<Context>) -> Self {
        Self { limit, share: Share::new(Arc::clone(context)), is_for_retries: true }
    }

    /// For a kept connection that closes as the request comes: a short body.
    pub(crate) fn for_reconnect(context: &Arc<Context>) -> Self {
        Self { limit: MAX_FOR_RECONNECT, share: Share::new(Arc::clone(context)), is_for_retries: false }
    }

    /// Whether a body of at least this many bytes can be kept.
    pub(crate) fn has_room_for(&self, least: u64) -> bool {
        if least > self.limit {
            self.give_up();
        }
        least <= self.limit
    }

    /// Takes room for a body that is there. Gives the bounds back where there is none.
    pub(crate) fn take_room(mut self, bytes: u64) -> Result<Share, Self> {
        if bytes <= self.limit && self.share.grow_to(bytes).is_ok() { Ok(self.share) } else { Err(self) }
    }

    fn give_up(&self) {
        if self.is_for_retries {
            self.share.context().metrics.retry_abandoned.inc();
        }
    }
}

/// A body shared by the request and the attempt that sends it.
///
/// At most `limit` bytes are kept, and they count towards the room that the process has for bodies. A body that is longer, or finds
/// no room, goes on unkept: Envoy, too, sends such a request once.
pub(crate) struct Retained {
    state: Mutex<State>,
    returned: Notify,
}

struct State {
    frames: Vec<Kept>,
    bytes: u64,
    /// The part that is still to come, while no attempt has it.
    rest: Option<Rest>,
    /// Room for the frames; `None` once the body is not kept any more.
    keep: Option<Keep>,
}

/// The part of a body that is still to come from the client.
#[derive(Default)]
pub(crate) struct Rest {
    pub(crate) body: ClientBody,
    pub(crate) copies: Copies,
}

/// A frame that can be sent again.
#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
}

/// An attempt's place in a body that is kept.
pub(crate) struct Replay {
    retained: Arc<Retained>,
    next: usize,
    /// Frames that the attempts before have kept, and those of their bytes that are to be sent again.
    kept: usize,
    left: u64,
    has_trailers: bool,
}

impl Retained {
    /// A body of which nothing has come yet.
    pub(crate) fn new(rest: Rest, keep: Keep) -> Self {
        let state = State { frames: Vec::new(), bytes: 0, rest: Some(rest), keep: Some(keep) };
        Self { state: Mutex::new(state), returned: Notify::new() }
    }

    /// Whether the body can be sent from its beginning.
    pub(crate) fn is_kept(&self) -> bool {
        self.state.lock().keep.is_some()
    }

    /// A copy of the whole body for a mirror; `None` while an attempt has the rest, and where the body is not kept any more.
    pub(crate) fn copy(&self, context: &Arc<Context>) -> Option<Copied> {
        let state = &mut *self.state.lock();
        let rest = state.rest.as_mut().filter(|_| state.keep.is_some())?;
        let sent = state.frames.iter().filter_map(|frame| match frame {
            Kept::Data(data) => Some(data),
            Kept::Trailers(_) => None,
        });
        Some(rest.copies.begin_after(context, sent, rest.body.is_end_stream()))
    }

    /// The rest of the body, as soon as no attempt has it.
    pub(crate) async fn rest(&self) -> Rest {
        loop {
            let returned = self.returned.notified();
            if let Some(rest) = self.state.lock().rest.take() {
                return rest;
            }
            returned.await;
        }
    }

    /// Ends the keeping: there will be no other attempt. The one under way still sends what was kept for it.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.keep = None;
        state.rest = None;
    }
}

impl Replay {
    /// An attempt that begins with the first frame.
    pub(crate) fn new(retained: &Arc<Retained>) -> Self {
        let state = retained.state.lock();
        let has_trailers = matches!(state.frames.last(), Some(Kept::Trailers(_)));
        Self { retained: Arc::clone(retained), next: 0, kept: state.frames.len(), left: state.bytes, has_trailers }
    }

    /// Whether all that was kept has been sent again.
    pub(crate) fn is_through(&self) -> bool {
        self.next >= self.kept
    }

    /// Bytes that are left to send, where `rest` of them are still to come. A body with trailers is not sent by its length.
    pub(crate) fn left(&self, rest: Option<u64>) -> Option<u64> {
        if self.has_trailers { None } else { Some(self.left + rest?) }
    }

    /// The next kept frame; an error where there is none, which says whether more frames are kept.
    pub(crate) fn next(&mut self) -> Result<Frame<Bytes>, bool> {
        let state = self.retained.state.lock();
        let Some(frame) = state.frames.get(self.next) else { return Err(state.keep.is_some()) };
        self.next += 1;
        Ok(match frame.clone() {
            Kept::Data(data) => {
                self.left = self.left.saturating_sub(data.len() as u64);
                Frame::data(data)
            }
            Kept::Trailers(trailers) => Frame::trailers(*trailers),
        })
    }

    /// Keeps a frame that has just come, or the error that it came to.
    pub(crate) fn record<E>(&mut self, frame: &Result<Frame<Bytes>, E>) {
        let mut state = self.retained.state.lock();
        let Ok(frame) = frame else {
            state.keep = None;
            return;
        };
        let kept = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Kept::Data(data.clone()),
            (None, Some(trailers)) => Kept::Trailers(Box::new(trailers.clone())),
            (None, None) => return,
        };
        let bytes = state.bytes + frame.data_ref().map_or(0, |data| data.len() as u64);
        let room = bytes + FRAME_OVERHEAD * (state.frames.len() as u64 + 1);
        let Some(keep) = &mut state.keep else { return };
        if bytes > keep.limit || keep.share.grow_to(room).is_err() {
            keep.give_up();
            (state.frames, state.keep) = (Vec::new(), None);
            return;
        }
        state.bytes = bytes;
        state.frames.push(kept);
        self.next += 1;
    }

    /// Gives back the rest at the end of an attempt.
    pub(crate) fn give_back(&self, rest: Rest) {
        let mut state = self.retained.state.lock();
        if state.keep.is_some() {
            state.rest = Some(rest);
            drop(state);
            self.retained.returned.notify_one();
        }
    }
}
