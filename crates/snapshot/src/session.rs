//! Session persistence: a client's requests stay at one endpoint.

use std::{sync::Arc, time::Duration};

use http::HeaderName;

/// Sessions of a rule's clients (Gateway API `sessionPersistence`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPersistence {
    /// Carrier of the session, both ways.
    pub carrier: SessionCarrier,
    /// A session ends this long after it began, at a precision of 1 s. `None`: with the endpoint.
    pub absolute_timeout: Option<Duration>,
}

/// Carrier of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionCarrier {
    /// A cookie.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Its `Path`.
        path: Arc<str>,
        /// Whether the client keeps it beyond its own session, for as long as the absolute timeout.
        is_permanent: bool,
    },
    /// A header of this name, which the client repeats.
    Header(HeaderName),
}
