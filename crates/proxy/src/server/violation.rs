//! Clients that do not keep to the protocol: what is said of them to whoever counts and logs.

use std::{error::Error as _, io};

use http::StatusCode;

use crate::proxy_protocol::ProxyProtocolError;

/// A client's bytes are no request, or its connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Protocol of the connection: `HTTP/1.1`, `HTTP/2.0` or `PROXY`.
    pub protocol: &'static str,
    /// Status of the answer; `None` over HTTP/2, where the connection ends with GOAWAY, and where it just ends.
    pub status: Option<StatusCode>,
    /// The same, or the error code of HTTP/2 (RFC 9113, 7): one of some dozen words.
    pub code: String,
    /// The fault. Holds nothing that the client sent.
    pub detail: String,
}

impl Violation {
    /// A request over HTTP/1.1 that was refused.
    pub(super) fn refused(status: StatusCode, reason: impl ToString) -> Self {
        Self { protocol: "HTTP/1.1", status: Some(status), code: status.as_str().to_owned(), detail: reason.to_string() }
    }

    /// A connection that does not begin as a load balancer's does.
    pub(super) fn of_proxy_protocol(error: ProxyProtocolError) -> Self {
        Self { protocol: "PROXY", status: None, code: "PROXY".to_owned(), detail: error.to_string() }
    }

    /// Reason for which a connection over HTTP/2 ended, if the client caused it.
    pub(super) fn in_http2(ended: &io::Error) -> Option<Self> {
        let error = ended.get_ref()?.downcast_ref::<hyper::Error>()?.source()?.downcast_ref::<h2::Error>()?;
        if !error.is_library() {
            return None;
        }
        let code = format!("{:?}", error.reason()?);
        Some(Self { protocol: "HTTP/2.0", status: None, code, detail: error.to_string() })
    }
}
