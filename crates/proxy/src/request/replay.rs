//! The body of a request over several attempts: one that was read, or is kept as it passes, can be sent again; another only once.

use std::{sync::Arc, time::Duration};

use http_body::Body as _;
use pailou_ai::Pieces;
use tokio::time::timeout;

use crate::{
    context::Share,
    guards::Remains,
    request_body::RequestBody,
    request_input::{ReadBody, RequestInput},
    retained::{Replay, Retained},
    server::ClientBody,
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
    /// Kept as it streams through, for as long as there is room.
    Kept(Arc<Retained>),
    /// Not sent yet.
    Once(RequestBody),
    /// Sent, and gone.
    Gone,
}

/// Bounds of a body that is kept for retries.
pub(super) struct Keep {
    /// Bytes at most.
    pub(super) limit: u64,
    /// Room for them.
    pub(super) share: Share,
}

impl ReplayBody {
    /// The body as the target wants it. One that streams through is kept where a retry may need it.
    pub(super) fn new(input: RequestInput, as_target_wants: Option<Pieces>, keep: Option<Keep>) -> Self {
        match (input, keep) {
            (RequestInput::Absent, _) => Self::held(as_target_wants.unwrap_or_default(), None),
            (RequestInput::Read(read), _) => Self::held(as_target_wants.unwrap_or_else(|| read.bytes.clone().into()), Some(read)),
            (RequestInput::Unread(unread), Some(Keep { limit, share })) if keeps(&unread.rest.body, limit, &share) => {
                let retained = Arc::new(Retained::new(unread.rest, limit, share));
                Self { body: Stock::Kept(retained), watch: Some(Watch::idle()) }
            }
            (RequestInput::Unread(unread), _) => {
                let (upload, watch) = Upload::new(unread.rest);
                Self { body: Stock::Once(RequestBody::streamed(upload)), watch: Some(watch) }
            }
        }
    }

    fn held(pieces: Pieces, read: Option<Box<ReadBody>>) -> Self {
        Self { body: Stock::Held(pieces, read), watch: None }
    }

    /// The body that was read.
    pub(super) fn call(&self) -> Option<&ReadBody> {
        match &self.body {
            Stock::Held(_, call) => call.as_deref(),
            Stock::Kept(_) | Stock::Once(_) | Stock::Gone => None,
        }
    }

    /// Whether all of it is at hand.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.body, Stock::Held(..))
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
            Stock::Held(..) | Stock::Once(_) => true,
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
            Stock::Once(_) | Stock::Gone => None,
        };
        Remains::new(read, self.watch)
    }
}

/// Whether a body that streams through is kept; one that is known to be too long is not begun.
fn keeps(body: &ClientBody, limit: u64, share: &Share) -> bool {
    let is_too_long = body.size_hint().lower() > limit;
    if is_too_long {
        share.context().metrics.retry_abandoned.inc();
    }
    !is_too_long
}
