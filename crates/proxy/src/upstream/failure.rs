//! Why a request got no response.

use std::{error::Error, fmt, io};

use pailou_snapshot::Address;

use super::Http1Error;
use crate::{breaker::Overflow, dns::ResolveError, request_body::RequestBody, server::ClientBodyError, tls};

/// A request that got no response.
pub struct SendFailure {
    /// Why.
    pub kind: FailureKind,
    /// Whether the backend may have seen it.
    pub sent: Sent,
    /// Whether it was sent on a connection that had served others before: its end may have been due anyway.
    pub reused: bool,
    /// The request's body, where nothing of it was sent.
    pub body: Option<RequestBody>,
}

/// Whether a backend may have seen a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Certainly not, or the backend says itself that it did nothing with it.
    Not,
    /// In part or as a whole.
    Maybe,
}

/// The cause that broke an exchange on an open connection.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] Http1Error),
    /// Over HTTP/2.
    #[error("{}", reason(.0))]
    Http2(#[from] hyper::Error),
}

/// The cause.
#[derive(Debug, thiserror::Error)]
pub enum FailureKind {
    /// The backend's name has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// It is the machine itself, or on its link, and must not be.
    #[error(
        "{0} is or leads to a loopback or link-local address, which no backend and no policy's URL may in a cluster \
         (--allow-local-backends, --allow-local-identity-providers)"
    )]
    LocalAddress(Address),
    /// No connection could be made to any address.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// The endpoint.
        address: Address,
        /// The last address's answer.
        error: io::Error,
    },
    /// No connection was made in time.
    #[error("no connection to {0} in time")]
    ConnectTimeout(Address),
    /// The TLS handshake failed; the message names the reason.
    #[error("TLS with {address} failed: {}", tls::reason(.error))]
    Tls {
        /// The endpoint.
        address: Address,
        /// The library's account.
        error: io::Error,
    },
    /// The connection broke with an error before the response.
    #[error("the connection broke before a response: {0}")]
    Reset(ExchangeError),
    /// The backend closed the connection without a response.
    #[error("the backend closed the connection without a response")]
    Closed,
    /// The backend refused the stream without doing anything (HTTP/2 REFUSED_STREAM).
    #[error("the backend refused the stream")]
    Refused,
    /// The response is not HTTP.
    #[error("the backend's response is malformed: {0}")]
    Protocol(ExchangeError),
    /// The request's own body broke off, on the client's side.
    #[error("the request's body broke off: {0}")]
    RequestBody(ExchangeError),
    /// The request's own body is not HTTP.
    #[error("the request's body is malformed: {0}")]
    MalformedBody(ExchangeError),
    /// A limit of the circuit breaker is reached.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl FailureKind {
    /// Classifies a failed exchange over HTTP/1.1.
    pub(super) fn of_http1(error: Http1Error) -> Self {
        match error {
            Http1Error::Closed => Self::Closed,
            Http1Error::Io(_) => Self::Reset(error.into()),
            Http1Error::Malformed(_) => Self::Protocol(error.into()),
            Http1Error::RequestBody(_) => Self::of_body(error.into()),
        }
    }

    /// Classifies a failed exchange over HTTP/2.
    pub(super) fn of_http2(error: hyper::Error) -> Self {
        let refused = |error: &h2::Error| error.reason() == Some(h2::Reason::REFUSED_STREAM) && error.is_remote();
        if error.is_user() {
            Self::of_body(error.into())
        } else if error.source().and_then(|source| source.downcast_ref::<h2::Error>()).is_some_and(refused) {
            Self::Refused
        } else if error.is_parse() {
            Self::Protocol(error.into())
        } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            Self::Closed
        } else {
            Self::Reset(error.into())
        }
    }
}

impl FailureKind {
    /// Classifies a request that failed because of its own body.
    fn of_body(error: ExchangeError) -> Self {
        let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
        let is_malformed = |cause: &(dyn Error + 'static)| matches!(cause.downcast_ref(), Some(ClientBodyError::Malformed(_)));
        if causes.any(is_malformed) { Self::MalformedBody(error) } else { Self::RequestBody(error) }
    }
}

impl SendFailure {
    /// Whether the backend in all likelihood closed a kept connection as the request came to it: there is no word of a response.
    pub fn met_closing_connection(&self) -> bool {
        self.reused && matches!(self.kind, FailureKind::Closed | FailureKind::Reset(_))
    }

    /// A failure before anything was sent.
    pub(super) fn before(kind: FailureKind, body: RequestBody) -> Box<Self> {
        Box::new(Self { kind, sent: Sent::Not, reused: false, body: Some(body) })
    }

    /// A failure while the request was sent, or after.
    pub(super) fn during(kind: FailureKind, reused: bool) -> Box<Self> {
        Self::of(kind, reused, None)
    }

    /// The same over HTTP/2, which gives back what it did not begin to send.
    pub(super) fn of(kind: FailureKind, reused: bool, body: Option<RequestBody>) -> Box<Self> {
        let untouched = body.is_some() || matches!(kind, FailureKind::Refused);
        Box::new(Self { kind, sent: if untouched { Sent::Not } else { Sent::Maybe }, reused, body })
    }
}

impl fmt::Debug for SendFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body is left out: it is the client's.
        f.debug_struct("SendFailure").field("kind", &self.kind).field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl fmt::Display for SendFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Error for SendFailure {}

/// hyper's message with its cause, which it leaves to its readers.
fn reason(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
