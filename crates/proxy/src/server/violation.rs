//! Clients that do not keep to the protocol: what is said of them to whoever counts and logs.

use std::{error::Error as _, io};

use http::{StatusCode, Version};

/// What came from a client is no request, or its connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What was spoken.
    pub version: Version,
    /// What it was answered; `None` over HTTP/2, where the connection ends with GOAWAY.
    pub status: Option<StatusCode>,
    /// The same, or the error code of HTTP/2 (RFC 9113, 7): one of some dozen words.
    pub code: String,
    /// What was wrong. Nothing of what the client sent is in it.
    pub detail: String,
}

impl Violation {
    /// A request over HTTP/1.1 that was refused.
    pub(super) fn refused(status: StatusCode, reason: impl ToString) -> Self {
        Self { version: Version::HTTP_11, status: Some(status), code: status.as_str().to_owned(), detail: reason.to_string() }
    }

    /// What a connection over HTTP/2 was ended for, if it was for what the client did.
    pub(super) fn in_http2(ended: &io::Error) -> Option<Self> {
        let error = ended.get_ref()?.downcast_ref::<hyper::Error>()?.source()?.downcast_ref::<h2::Error>()?;
        if !error.is_library() {
            return None;
        }
        let code = format!("{:?}", error.reason()?);
        Some(Self { version: Version::HTTP_2, status: None, code, detail: error.to_string() })
    }
}
