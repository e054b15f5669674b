//! A response that a server makes in place of the backend's.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{
    core::HttpStatus,
    ext_authz::DeniedHttpResponse,
    ext_proc::{HeaderMutation, ImmediateResponse},
    header_mutation::apply,
};

/// The greatest code that gRPC has: UNAUTHENTICATED.
const MAX_GRPC_STATUS: u8 = 16;

/// A response that an endpoint picker or an authorization server gives the client itself. A picker answers 503 without a ready
/// endpoint and 429 to shed a request; in the middle of a response it evicts the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The gRPC status for gRPC clients, 1 to 16. `None` derives it from the HTTP status.
    pub grpc_status: Option<u8>,
    /// The body.
    pub body: Bytes,
    /// The reason, for the operator alone.
    pub details: String,
    headers: Box<HeaderMap>,
}

impl LocalReply {
    /// A reply without details or a gRPC status of its own.
    pub fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, grpc_status: None, body, details: String::new(), headers: Box::new(headers) }
    }

    /// The response for the client.
    pub fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        (*response.status_mut(), *response.headers_mut()) = (self.status, HeaderMap::clone(&self.headers));
        response
    }
}

/// An invalid HTTP status becomes 500, an invalid gRPC status none.
impl From<ImmediateResponse> for LocalReply {
    fn from(response: ImmediateResponse) -> Self {
        let grpc_status = response.grpc_status.and_then(|status| u8::try_from(status.status).ok());
        Self {
            status: status_code(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            grpc_status: grpc_status.filter(|status| (1..=MAX_GRPC_STATUS).contains(status)),
            headers: Box::new(headers(&response.headers.unwrap_or_default(), &response.body)),
            body: response.body,
            details: response.details,
        }
    }
}

/// An absent or invalid HTTP status becomes 403.
impl From<DeniedHttpResponse> for LocalReply {
    fn from(denied: DeniedHttpResponse) -> Self {
        let body = Bytes::from(denied.body);
        let mutation = HeaderMutation { set_headers: denied.headers, remove_headers: Vec::new() };
        Self::new(status_code(denied.status).unwrap_or(StatusCode::FORBIDDEN), headers(&mutation, &body), body)
    }
}

fn status_code(status: Option<HttpStatus>) -> Option<StatusCode> {
    let code = u16::try_from(status?.code).ok()?;
    StatusCode::from_u16(code).ok().filter(|status| !status.is_informational())
}

/// A body is plain text unless the server says otherwise, as in Envoy.
fn headers(mutation: &HeaderMutation, body: &Bytes) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    apply(mutation, &mut headers);
    headers
}
