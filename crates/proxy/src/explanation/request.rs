//! The request of an explanation.

use http::{Request, Uri};
use pailou_ai::{BodyKind, Scan};
use serde::{Deserialize, Serialize};

use crate::request_head::Head;

/// Longest body of a request to explain, in bytes.
pub const MAX_BODY: usize = 1 << 20;
/// Most headers.
const MAX_HEADERS: usize = 256;

/// A request to explain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The method; `GET`, or `POST` with a body, where it is empty.
    #[serde(default)]
    pub method: String,
    /// The URL: scheme and port say which listener.
    pub url: String,
    /// Names and values; `Host` takes the place of the URL's.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Why a request cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The URL is none.
    #[error("the URL is not one like http://HOST[:PORT]/PATH")]
    Url,
    /// It is no HTTP request.
    #[error("it is no HTTP request: a method, a header or the URL is not valid")]
    Malformed,
    /// It is too large.
    #[error("the request is too large: at most {MAX_HEADERS} headers and {MAX_BODY} bytes of body")]
    TooLarge,
    /// The gateway refuses it before it looks for a listener.
    #[error("{0}")]
    Refused(String),
}

/// The request as the gateway reads it.
pub(super) struct ReadRequest {
    pub(super) head: Head,
    pub(super) port: u16,
    pub(super) body: Vec<u8>,
    /// Contents of the body, where it is understood.
    pub(super) scan: Option<Scan>,
}

impl ReadRequest {
    /// The model that the body names.
    pub(super) fn model(&self) -> Option<&str> {
        self.scan.as_ref()?.model.as_deref()
    }
}

impl ExplainRequest {
    pub(super) fn read(&self) -> Result<ReadRequest, ExplainError> {
        let body = self.body.clone().unwrap_or_default().into_bytes();
        if body.len() > MAX_BODY || self.headers.len() > MAX_HEADERS {
            return Err(ExplainError::TooLarge);
        }
        let uri: Uri = self.url.parse().map_err(|_| ExplainError::Url)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(ExplainError::Url) };
        let port = match (authority.port_u16(), scheme) {
            (Some(port), _) => port,
            (None, "https") => 443,
            (None, "http") => 80,
            _ => return Err(ExplainError::Url),
        };
        let method = match self.method.as_str() {
            "" if body.is_empty() => "GET",
            "" => "POST",
            method => method,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let has_host = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let mut request = Request::builder().method(method).uri(path);
        if !has_host {
            request = request.header(http::header::HOST, authority.as_str());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let (parts, ()) = request.body(()).map_err(|_| ExplainError::Malformed)?.into_parts();
        let head = Head::read(parts).map_err(|error| ExplainError::Refused(error.message))?;
        let content_type = head.text(&http::header::CONTENT_TYPE);
        let kind = BodyKind::from_content_type(content_type).filter(|_| !body.is_empty());
        let scan = kind.and_then(|kind| kind.scan(content_type, &body).ok());
        Ok(ReadRequest { head, port, body, scan })
    }
}
