//! The one place that turns an error into a response.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use pailou_ai::ErrorBody;

use crate::{
    error::{Audience, Error, Flag},
    response_body::ResponseBody,
};

impl Error {
    /// The response, in the terms of whoever asked.
    pub fn response(&self, audience: Audience) -> Response<ResponseBody> {
        let mut response = match audience {
            Audience::Model(_) | Audience::Other if let Some(reply) = &self.local_reply => {
                reply.response().map(ResponseBody::whole)
            }
            Audience::Model(dialect) => {
                let mut body = ErrorBody::new(dialect, self.status.as_u16(), &self.message);
                body.code = self.code;
                with_body(self.status, "application/json", body.to_json())
            }
            Audience::Grpc => self.grpc_response(),
            Audience::Other => with_body(self.status, "text/plain; charset=utf-8", Bytes::from(format!("{}\n", self.message))),
        };
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        match self.flag {
            // As Envoy says it.
            Flag::Overflow => {
                headers.insert("x-envoy-overloaded", HeaderValue::from_static("true"));
            }
            // The rest of the body stays unread, or its end is not certain: the connection cannot be used again.
            Flag::OverLimit | Flag::Budget | Flag::ClientBody | Flag::BadRequest => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Flag::StreamIdle if self.status == StatusCode::REQUEST_TIMEOUT => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    /// A "trailers-only" response. A route that cannot be served as it is configured is UNAVAILABLE (14), as GRPCRoute's
    /// `backendRefs` demand.
    fn grpc_response(&self) -> Response<ResponseBody> {
        let given = self.local_reply.as_ref().and_then(|reply| reply.grpc_status).map(u16::from);
        let code = match (given.or(self.grpc_status.map(u16::from)), self.status.as_u16()) {
            (Some(given), _) => given,
            (None, 400) => 13,
            (None, 401) => 16,
            (None, 403) => 7,
            (None, 404) => 12,
            (None, 408 | 504) => 4,
            (None, 413 | 429) => 8,
            _ => 14_u16,
        };
        let message = percent_encoding::utf8_percent_encode(&self.message, percent_encoding::CONTROLS).to_string();
        let mut response = Response::new(ResponseBody::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(code));
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

fn with_body(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_clients_are_told_in_codes_of_theirs() {
        let code = |flag| Error::new(flag, "why").response(Audience::Grpc).headers()["grpc-status"].to_str().map(str::to_owned);
        // UNIMPLEMENTED where nothing matches, UNAVAILABLE where what matches leads nowhere.
        assert_eq!(code(Flag::NoRoute).unwrap(), "12");
        assert_eq!(code(Flag::Misconfigured).unwrap(), "14");
        assert_eq!(code(Flag::NoEndpoint).unwrap(), "14");
        assert_eq!(code(Flag::Timeout).unwrap(), "4");
    }
}
