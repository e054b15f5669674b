//! The body of a request over several attempts: one that is held can be sent again, one that streams in only once.

use pailou_ai::Pieces;

use crate::{
    guards::Remains,
    mirror::Tee,
    request_body::RequestBody,
    request_input::{ReadBody, RequestInput},
    server::ClientBody,
    upload::{Origin, Upload, Watch},
};

/// Source of the attempts' body.
pub(super) struct ReplayBody {
    body: Stock,
    /// Observer of a body that streams through.
    watch: Option<Watch>,
}

enum Stock {
    /// Held, as the target is to get it; with what keeps its memory accounted for.
    Held(Pieces, Option<Box<ReadBody>>),
    /// Not sent yet.
    Once(RequestBody),
    /// Sent, and gone.
    Gone,
}

impl ReplayBody {
    /// The body as the target wants it.
    pub(super) fn new(input: RequestInput, as_target_wants: Option<Pieces>) -> Self {
        match input {
            RequestInput::Absent => Self::held(as_target_wants.unwrap_or_default(), None),
            RequestInput::Unread(body, _) => Self::once(Origin::Client(body)),
            RequestInput::Teed(tee) => Self::once(Origin::Teed(tee)),
            RequestInput::Read(call) => Self::held(as_target_wants.unwrap_or_else(|| call.bytes.clone().into()), Some(call)),
        }
    }

    fn held(pieces: Pieces, call: Option<Box<ReadBody>>) -> Self {
        Self { body: Stock::Held(pieces, call), watch: None }
    }

    fn once(origin: Origin) -> Self {
        let (upload, watch) = Upload::new(origin);
        Self { body: Stock::Once(RequestBody::streamed(upload)), watch: Some(watch) }
    }

    /// Whether an attempt can be made, or made again.
    pub(super) fn can_be_sent(&self) -> bool {
        !matches!(self.body, Stock::Gone)
    }

    /// The watch over a body that streams through.
    pub(super) fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// The body for one attempt.
    pub(super) fn take(&mut self) -> RequestBody {
        match &self.body {
            Stock::Held(pieces, _) => RequestBody::held(pieces.clone()),
            Stock::Once(_) | Stock::Gone => match std::mem::replace(&mut self.body, Stock::Gone) {
                Stock::Once(body) => body,
                _ => RequestBody::empty(),
            },
        }
    }

    /// A body of which nothing was sent.
    pub(super) fn give_back(&mut self, body: RequestBody) {
        if matches!(self.body, Stock::Gone) {
            self.body = Stock::Once(body);
        }
    }

    /// Parts to keep until the request is over.
    pub(super) fn into_remains(self) -> Remains {
        let call = match self.body {
            Stock::Held(_, call) => call,
            Stock::Once(_) | Stock::Gone => None,
        };
        Remains::new(call, self.watch)
    }
}

/// The two ways in which a body can be copied to mirrors.
pub(super) enum Copies {
    /// As many as wanted, of what is held.
    Held(Pieces),
    /// Ends of a tee.
    Teed(Vec<RequestBody>),
}

impl Copies {
    /// Prepares this many copies of the body.
    pub(super) fn of(input: RequestInput, number: usize) -> (RequestInput, Self) {
        match input {
            RequestInput::Unread(body, _) => {
                let (input, ends) = tee(body, number);
                (input, Self::Teed(ends))
            }
            other => {
                let pieces = other.pieces().unwrap_or_default();
                (other, Self::Held(pieces))
            }
        }
    }

    /// One copy.
    pub(super) fn next(&mut self) -> Option<RequestBody> {
        match self {
            Self::Held(pieces) => Some(RequestBody::held(pieces.clone())),
            Self::Teed(ends) => ends.pop(),
        }
    }
}

fn tee(body: ClientBody, number: usize) -> (RequestInput, Vec<RequestBody>) {
    let (tee, ends) = Tee::new(body, number);
    (RequestInput::Teed(tee), ends.into_iter().map(RequestBody::copied).collect())
}
