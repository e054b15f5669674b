//! How an attempt ended.

use http::StatusCode;

use super::answer::BackendResponse;
use crate::{
    admitted_attempt::AdmittedAttempt,
    cluster::AttemptOutcome,
    error::{Error, Flag},
    upstream::{ExchangeError, FailureKind, SendFailure, Sent},
};

/// Result of an attempt.
pub(super) enum Tried {
    /// A backend answers.
    Answered(Box<BackendResponse>),
    /// It does not.
    Failed(Failed),
}

/// An attempt without a response.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) outcome: AttemptOutcome,
    /// The backend may have acted on the request.
    pub(super) sent: bool,
    /// The backend said that it did not process the stream (HTTP/2 REFUSED_STREAM).
    pub(super) refused: bool,
    /// A stream had begun, but not with content, or a kept connection was closed: a pool's other endpoint can begin again.
    pub(super) before_content: bool,
}

impl Tried {
    /// Outcome at the endpoint.
    pub(super) fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Answered(response) => AttemptOutcome::of(response.head.status),
            Self::Failed(failed) => failed.outcome,
        }
    }

    /// Counts the attempt for admission control; gives it back where only the end of the response tells how it fared.
    pub(super) fn count(&self, admitted: AdmittedAttempt) -> Option<AdmittedAttempt> {
        match self {
            Self::Answered(response) => admitted.answered(&response.head),
            // Not the backend's fault.
            Self::Failed(failed) if failed.outcome == AttemptOutcome::Unknown => None,
            Self::Failed(_) => {
                admitted.failed();
                None
            }
        }
    }

    /// The status that the backend answered with.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answered(response) => Some(response.head.status),
            Self::Failed(_) => None,
        }
    }

    /// Why it did not answer.
    pub(super) fn flag(&self) -> Option<Flag> {
        match self {
            Self::Answered(_) => None,
            Self::Failed(failed) => Some(failed.error.flag),
        }
    }

    pub(super) fn into_result(self) -> Result<Box<BackendResponse>, Error> {
        match self {
            Self::Answered(response) => Ok(response),
            Self::Failed(failed) => Err(failed.error),
        }
    }
}

/// The backend did not answer in time.
pub(super) fn late(flag: Flag, retryable: bool) -> Tried {
    let error = Error { retryable, ..Error::new(flag, "the backend did not answer in time") };
    Tried::Failed(Failed { error, outcome: AttemptOutcome::GatewayError, sent: true, refused: false, before_content: false })
}

/// A stream ended before its first content.
pub(super) fn broke_off(error: &ExchangeError) -> Failed {
    let error = Error::new(Flag::UpstreamReset, "the backend broke off before its first content").with_detail(error.to_string());
    let error = Error { retryable: true, ..error };
    Failed { error, outcome: AttemptOutcome::Reset, sent: true, refused: false, before_content: true }
}

/// A limit of bandwidth took most of the request's time, which is not the backend's fault.
pub(super) fn throttled() -> Tried {
    let error = Error::new(Flag::Timeout, "the backend had too little time left: the route limits the bandwidth");
    Tried::Failed(Failed { error, outcome: AttemptOutcome::Unknown, sent: true, refused: false, before_content: false })
}

/// The connection of a failed attempt does not let go of the request's body.
pub(super) fn held_up() -> Error {
    Error::new(Flag::UpstreamReset, "the request's body could not be sent again")
}

/// The client did not go on with its body, which is not the backend's fault.
pub(super) fn stalled() -> Tried {
    let error = Error::new(Flag::StreamIdle, "the request's body did not go on for too long");
    let error = Error { status: StatusCode::REQUEST_TIMEOUT, ..error };
    Tried::Failed(Failed { error, outcome: AttemptOutcome::Unknown, sent: true, refused: false, before_content: false })
}

pub(super) fn failed(failure: &SendFailure) -> Failed {
    let (flag, outcome, message) = match &failure.kind {
        FailureKind::Overflow(_) => (Flag::Overflow, AttemptOutcome::Unknown, "too many requests are under way; try again"),
        FailureKind::Resolve(_)
        | FailureKind::LocalAddress(_)
        | FailureKind::Connect { .. }
        | FailureKind::ConnectTimeout(_)
        | FailureKind::Tls { .. } => {
            (Flag::ConnectFailure, AttemptOutcome::ConnectFailure, "no connection to the backend could be made")
        }
        FailureKind::Reset(_) | FailureKind::Closed | FailureKind::Refused => {
            (Flag::UpstreamReset, AttemptOutcome::Reset, "the backend broke off before it answered")
        }
        FailureKind::Protocol(_) => {
            (Flag::UpstreamProtocol, AttemptOutcome::GatewayError, "the backend's answer is not valid HTTP")
        }
        FailureKind::RequestBody(_) => (Flag::ClientBody, AttemptOutcome::Unknown, "the request's body broke off"),
        FailureKind::MalformedBody(_) => (Flag::BadRequest, AttemptOutcome::Unknown, "the request's body is not valid HTTP"),
    };
    let retryable = !matches!(flag, Flag::Overflow | Flag::ClientBody | Flag::BadRequest);
    Failed {
        error: Error { retryable, ..Error::new(flag, message).with_detail(failure.to_string()) },
        outcome,
        sent: failure.sent == Sent::Maybe,
        refused: matches!(failure.kind, FailureKind::Refused),
        // A kept connection that ends without a word was in all likelihood being closed when the request met it.
        before_content: failure.reused && matches!(failure.kind, FailureKind::Closed),
    }
}
