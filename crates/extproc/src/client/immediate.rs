//! An answer that a picker gives the client itself.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::mutation::apply;
use crate::proto::ImmediateResponse;

/// The greatest code that gRPC has: UNAUTHENTICATED.
const MAX_GRPC_STATUS: u8 = 16;

/// An answer to the client: 503 where no endpoint is ready, 429 where the request is shed. In the middle of a response it means that
/// the request is evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Immediate {
    /// Its status; 500 where the picker's is none.
    pub status: StatusCode,
    /// What a gRPC client is told, where the picker says it: 1 to 16.
    pub grpc_status: Option<u8>,
    /// Its body.
    pub body: Bytes,
    /// Why, for the operator.
    pub details: String,
    /// Its headers.
    headers: Box<HeaderMap>,
}

impl Immediate {
    /// An answer that says nothing to the operator, and leaves what a gRPC client is told to follow from the status.
    pub fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, grpc_status: None, body, details: String::new(), headers: Box::new(headers) }
    }

    pub(super) fn of_picker(response: ImmediateResponse) -> Self {
        let code = response.status.and_then(|status| u16::try_from(status.code).ok());
        let status = code.and_then(|code| StatusCode::from_u16(code).ok()).filter(|status| !status.is_informational());
        let mut headers = HeaderMap::new();
        if !response.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        apply(&response.headers.unwrap_or_default(), &mut headers);
        let grpc_status = response.grpc_status.and_then(|status| u8::try_from(status.status).ok());
        Self {
            grpc_status: grpc_status.filter(|status| (1..=MAX_GRPC_STATUS).contains(status)),
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            body: response.body,
            details: response.details,
            headers: Box::new(headers),
        }
    }

    /// The answer.
    pub fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        (*response.status_mut(), *response.headers_mut()) = (self.status, HeaderMap::clone(&self.headers));
        response
    }
}
