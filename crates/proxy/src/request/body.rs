//! The body of a request over several attempts: one that is held can be sent again, one that streams in only once.

use hyper::body::Incoming;
use pailou_ai::Pieces;

use super::call::{Call, Input};
use crate::{body::RequestBody, mirror::Tee};

/// Where attempts take their body from.
pub(super) enum Source {
    /// Held, as the target is to get it; with what keeps its memory accounted for.
    Held(Pieces, Option<Box<Call>>),
    /// Not sent yet.
    Once(RequestBody),
    /// Sent, and gone.
    Gone,
}

impl Source {
    /// The body as the target wants it.
    pub(super) fn new(input: Input, as_target_wants: Option<Pieces>) -> Self {
        match input {
            Input::Absent => Self::Held(Pieces::default(), None),
            Input::Unread(body) => Self::Once(RequestBody::streamed(body)),
            Input::Teed(tee) => Self::Once(RequestBody::teed(tee)),
            Input::Read(call) => {
                let pieces = as_target_wants.unwrap_or_else(|| call.bytes.clone().into());
                Self::Held(pieces, Some(call))
            }
        }
    }

    /// Whether an attempt can be made, or made again.
    pub(super) fn can_be_sent(&self) -> bool {
        !matches!(self, Self::Gone)
    }

    /// Whether nothing more of it has to come from the client.
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Self::Held(..))
    }

    /// The body for one attempt.
    pub(super) fn take(&mut self) -> RequestBody {
        match self {
            Self::Held(pieces, _) => RequestBody::held(pieces.clone()),
            Self::Once(_) | Self::Gone => match std::mem::replace(self, Self::Gone) {
                Self::Once(body) => body,
                _ => RequestBody::empty(),
            },
        }
    }

    /// A body of which nothing was sent.
    pub(super) fn give_back(&mut self, body: RequestBody) {
        if matches!(self, Self::Gone) {
            *self = Self::Once(body);
        }
    }

    /// What keeps a held body's memory accounted for.
    pub(super) fn into_call(self) -> Option<Box<Call>> {
        match self {
            Self::Held(_, call) => call,
            _ => None,
        }
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
    pub(super) fn of(input: Input, number: usize) -> (Input, Self) {
        match input {
            Input::Unread(body) => {
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

fn tee(body: Incoming, number: usize) -> (Input, Vec<RequestBody>) {
    let (tee, ends) = Tee::new(body, number);
    (Input::Teed(tee), ends.into_iter().map(RequestBody::copied).collect())
}
