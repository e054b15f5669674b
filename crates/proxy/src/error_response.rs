//! The one place that turns an error into a response.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use pailou_ai::{ErrorBody, content_coding::ACCEPTED};
use pailou_picker::DROPPED_REASON_HEADER;

use crate::{
    error::{Audience, Error, Flag},
    response_body::ResponseBody,
};

impl Error {
    /// The response, in the terms of whoever asked.
    pub fn response(&self, audience: Audience) -> Response<ResponseBody> {
        let mut response = match audience {
            Audience::Model(_) | Audience::Objects(_) | Audience::Other if let Some(reply) = &self.local_reply => {
                reply.response().map(ResponseBody::whole)
            }
            Audience::Model(dialect) | Audience::Objects(dialect) => {
                let mut body = ErrorBody::new(dialect, self.status.as_u16(), &self.message);
                body.code = self.code;
                with_body(self.status, "application/json", body.to_json())
            }
            Audience::Grpc | Audience::GrpcWeb { .. } => {
                let given = self.local_reply.as_ref().and_then(|reply| reply.grpc_status).or(self.grpc_status);
                let response = grpc(given.map_or_else(|| grpc_code(self.status), u16::from), &self.message);
                match audience {
                    Audience::GrpcWeb { is_text } => for_grpc_web(response, is_text),
                    _ => response,
                }
            }
            Audience::Other => with_body(self.status, "text/plain; charset=utf-8", Bytes::from(format!("{}\n", self.message))),
        };
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if let Some(outcome) = self.not_picked {
            headers.insert(DROPPED_REASON_HEADER, HeaderValue::from_static(outcome.name()));
        }
        if let Some(challenge) = &self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, (**challenge).clone());
        }
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE && self.code != Some("unsupported_content_type") {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
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
}

/// A "trailers-only" response.
pub(crate) fn grpc(code: u16, message: &str) -> Response<ResponseBody> {
    let message = percent_encoding::utf8_percent_encode(message, percent_encoding::CONTROLS).to_string();
    let mut response = Response::new(ResponseBody::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert("grpc-message", message);
    }
    response
}

/// A "trailers-only" response, for a client of gRPC-Web. Its fields stay in the head, as Envoy leaves them there.
pub(crate) fn for_grpc_web(mut response: Response<ResponseBody>, is_text: bool) -> Response<ResponseBody> {
    let media_type = if is_text { "application/grpc-web-text+proto" } else { "application/grpc-web+proto" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The gRPC status of a status of the gateway's own. A route that cannot be served as it is configured is UNAVAILABLE (14), as
/// GRPCRoute's `backendRefs` demand.
pub(crate) fn grpc_code(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        408 | 504 => 4,
        413 | 429 => 8,
        _ => 14,
    }
}

/// A response with a body of this type.
pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<ResponseBody> {
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

    #[test]
    fn clients_of_grpc_web_get_the_same_in_their_media_type() {
        let headers = |accept: &'static str| {
            let [web, accept] = ["application/grpc-web+proto", accept].map(HeaderValue::from_static);
            http::HeaderMap::from_iter([(header::CONTENT_TYPE, web), (header::ACCEPT, accept)])
        };
        for (accept, media_type) in [
            ("application/grpc-web+proto", "application/grpc-web+proto"),
            ("application/grpc-web-text", "application/grpc-web-text+proto"),
        ] {
            let audience = Audience::of("/pkg.Service/Method", &headers(accept));
            let response = Error::new(Flag::NoRoute, "why").response(audience);
            assert_eq!(
                (response.status().as_u16(), &response.headers()[header::CONTENT_TYPE]),
                (200, &HeaderValue::from_static(media_type))
            );
            assert_eq!(
                (&response.headers()["grpc-status"], &response.headers()["grpc-message"]),
                (&HeaderValue::from(12), &HeaderValue::from_static("why"))
            );
        }
    }
}
