//! The body of a request over several attempts: one that was read, or is kept as it passes, can be sent again; another only once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body as _;
use pailou_ai::Pieces;
use pailou_snapshot::Rule;
use tokio::time::timeout;

use crate::{
    context::{Context, Share},
    guards::Remains,
    request_body::RequestBody,
    request_input::{Bounds, ReadBody, RequestInput},
    retained::{Keep, Replay, Rest, Retained},
    upload::{Upload, Watch},
};

/// Time for the connection of a failed attempt to let go of the body.
const LET_GO_TIMEOUT: Duration = Duration::from_secs(1);

/// Source of the attempts' body.
pub(super) struct ReplayBody {
    body: Stock,
    /// Observer of a body that streams through.
    watch: Option<Watch>,
}

enum Stock {
    /// Held, as the target is to get it; with what keeps its memory accounted for.
    Held(Pieces, Option<Box<ReadBody>>),
    /// Held as it came with its head, unread.
    Whole(Bytes, Arc<Share>),
    /// Kept as it streams through, for as long as there is room.
    Kept(Arc<Retained>),
    /// Not sent yet.
    Once(RequestBody),
    /// Sent, and gone.
    Gone,
}

impl ReplayBody {
    /// The body as the target wants it. One that streams through is kept where it may be needed again.
    pub(super) fn new(input: RequestInput, as_target_wants: Option<Pieces>, keep: Option<Keep>) -> Self {
        match input {
            RequestInput::Absent => Self::held(as_target_wants.unwrap_or_default(), None),
            RequestInput::Read(read) => Self::held(as_target_wants.unwrap_or_else(|| read.bytes.clone().into()), Some(read)),
            RequestInput::Unread(unread) => match keep.filter(|keep| keep.has_room_for(unread.rest.body.size_hint().lower())) {
                Some(keep) => Self::kept(unread.rest, keep),
                None => {
                    let (upload, watch) = Upload::new(unread.rest);
                    Self { body: Stock::Once(RequestBody::streamed(upload)), watch: Some(watch) }
                }
            },
        }
    }

    fn kept(mut rest: Rest, mut keep: Keep) -> Self {
        // One that is there as a whole needs no care while it goes out.
        if rest.copies.is_empty() && rest.body.is_whole() {
            match keep.take_room(rest.body.size_hint().lower()) {
                Ok(share) => {
                    let bytes = rest.body.take_whole().unwrap_or_default();
                    return Self { body: Stock::Whole(bytes, Arc::new(share)), watch: None };
                }
                Err(back) => keep = back,
            }
        }
        Self { body: Stock::Kept(Arc::new(Retained::new(rest, keep))), watch: Some(Watch::idle()) }
    }

    fn held(pieces: Pieces, read: Option<Box<ReadBody>>) -> Self {
        Self { body: Stock::Held(pieces, read), watch: None }
    }

    /// The body that was read.
    pub(super) fn call(&self) -> Option<&ReadBody> {
        match &self.body {
            Stock::Held(_, call) => call.as_deref(),
            Stock::Whole(..) | Stock::Kept(_) | Stock::Once(_) | Stock::Gone => None,
        }
    }

    /// Whether all of it was read.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.body, Stock::Held(..))
    }

    /// A copy for a mirror, with its share of the room for bodies where it is held; `None` where there is no room, or the body is not at
    /// hand.
    pub(super) fn copy(&self, context: &Arc<Context>) -> Option<(RequestBody, Option<Arc<Share>>)> {
        let has_room = || context.bodies.has_room_for_copies(0);
        match &self.body {
            Stock::Held(_, None) => Some((RequestBody::empty(), None)),
            Stock::Held(_, Some(read)) if has_room() => {
                Some((RequestBody::held(read.bytes.clone().into()), Some(Arc::clone(&read.share))))
            }
            Stock::Whole(bytes, share) if has_room() => Some((RequestBody::held(bytes.clone().into()), Some(Arc::clone(share)))),
            Stock::Kept(retained) => Some((RequestBody::copied(retained.copy(context)?), None)),
            Stock::Held(..) | Stock::Whole(..) | Stock::Once(_) | Stock::Gone => None,
        }
    }

    /// The body as another target wants it; `None` is as the client sent it.
    pub(super) fn retarget(&mut self, as_target_wants: Option<Pieces>) {
        if let Stock::Held(pieces, call) = &mut self.body {
            let original = || call.as_ref().map(|call| call.bytes.clone().into()).unwrap_or_default();
            *pieces = as_target_wants.unwrap_or_else(original);
        }
    }

    /// Whether an attempt can be made, or made again.
    pub(super) fn can_be_sent(&self) -> bool {
        match &self.body {
            Stock::Held(..) | Stock::Whole(..) | Stock::Once(_) => true,
            Stock::Kept(retained) => retained.is_kept(),
            Stock::Gone => false,
        }
    }

    /// The watch over a body that streams through.
    pub(super) fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// Ends the upload of an attempt that has failed.
    pub(super) fn end_attempt(&mut self) {
        if let (Stock::Kept(_), Some(watch)) = (&self.body, &mut self.watch) {
            watch.end();
        }
    }

    /// The body for one attempt. `None` where the connection of the attempt before does not let go of it.
    pub(super) async fn take(&mut self) -> Option<RequestBody> {
        Some(match &self.body {
            Stock::Held(pieces, _) => RequestBody::held(pieces.clone()),
            Stock::Whole(bytes, _) => RequestBody::held(bytes.clone().into()),
            Stock::Kept(retained) => {
                let watch = self.watch.as_mut()?;
                watch.end();
                let rest = timeout(LET_GO_TIMEOUT, retained.rest()).await.ok()?;
                RequestBody::streamed(Upload::kept(rest, Replay::new(retained), watch))
            }
            Stock::Once(_) | Stock::Gone => match std::mem::replace(&mut self.body, Stock::Gone) {
                Stock::Once(body) => body,
                _ => RequestBody::empty(),
            },
        })
    }

    /// A body of which nothing was sent.
    pub(super) fn give_back(&mut self, body: RequestBody) {
        if matches!(self.body, Stock::Gone) {
            self.body = Stock::Once(body);
        }
    }

    /// Parts to keep until the request is over.
    pub(super) fn into_remains(self) -> Remains {
        let read = match self.body {
            Stock::Held(_, read) => read,
            Stock::Kept(retained) => {
                retained.stop();
                None
            }
            Stock::Whole(..) | Stock::Once(_) | Stock::Gone => None,
        };
        Remains::new(read, self.watch)
    }
}

/// Bounds of a body that streams through and may be needed again.
pub(super) fn keep(rule: &Rule, input: &RequestInput, is_repeatable: bool, bounds: Bounds, context: &Arc<Context>) -> Option<Keep> {
    match (input, &rule.policy.retry) {
        (RequestInput::Unread(_), Some(_)) => Some(Keep::for_retries(bounds.bytes, context)),
        (RequestInput::Unread(_), None) if is_repeatable => Some(Keep::for_reconnect(context)),
        _ => None,
    }
}
