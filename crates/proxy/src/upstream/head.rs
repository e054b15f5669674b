//! A request's head as it is given to a backend, in the form that a protocol asks for.

use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version, header,
    uri::{self, PathAndQuery, Scheme},
};

use crate::request_body::RequestBody;

/// A request's head. It is borrowed: what several attempts have in common is made once, and over HTTP/1.1 never copied.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a PathAndQuery,
    /// Authority: `Host` (RFC 9112, 3.2), or `:authority` (RFC 9113, 8.3.1). May be empty.
    pub host: &'a HeaderValue,
    /// The headers, without `Host`.
    pub headers: &'a HeaderMap,
}

/// The parts of a request that is at hand as a whole.
pub(super) struct Owned {
    method: Method,
    target: PathAndQuery,
    host: HeaderValue,
    headers: HeaderMap,
}

impl Owned {
    /// Takes a request apart. `Host` is what rewrites were applied to; where there is none, the URI says who is asked.
    pub(super) fn of(request: Request<RequestBody>) -> (Self, RequestBody) {
        let (mut parts, body) = request.into_parts();
        let of_uri = || HeaderValue::from_str(parts.uri.authority()?.as_str()).ok();
        let host = parts.headers.remove(header::HOST).or_else(of_uri).unwrap_or(HeaderValue::from_static(""));
        let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        (Self { method: parts.method, target, host, headers: parts.headers }, body)
    }

    pub(super) fn head(&self) -> RequestHead<'_> {
        RequestHead { method: &self.method, target: &self.target, host: &self.host, headers: &self.headers }
    }
}

impl RequestHead<'_> {
    /// The request for an HTTP/2 connection.
    pub(super) fn http2(&self, tls: bool, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        *request.uri_mut() = self.absolute(tls).unwrap_or_else(|| self.target.clone().into());
        request
    }

    fn absolute(&self, tls: bool) -> Option<Uri> {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.host.as_bytes().try_into().ok()?);
        parts.path_and_query = Some(self.target.clone());
        Uri::from_parts(parts).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(request: http::request::Builder) -> Owned {
        Owned::of(request.body(RequestBody::empty()).unwrap()).0
    }

    #[test]
    fn a_path_and_a_host_are_what_is_asked_for() {
        let owned = owned(Request::get("https://a.example:8080/x?y").version(Version::HTTP_2));
        let head = owned.head();
        assert_eq!((head.target.as_str(), head.host.as_bytes()), ("/x?y", &b"a.example:8080"[..]));
    }

    #[test]
    fn http2_asks_for_an_authority_and_no_host() {
        let owned = owned(Request::get("/x?y").header(header::HOST, "b.example"));
        let request = owned.head().http2(true, RequestBody::empty());
        assert_eq!(request.uri(), "https://b.example/x?y");
        assert!(!request.headers().contains_key(header::HOST));
    }

    #[test]
    fn the_host_header_counts_where_both_are_there() {
        let owned = owned(Request::get("http://a.example/x").header(header::HOST, "b.example"));
        assert_eq!(owned.head().host, "b.example");
        assert_eq!(owned.head().http2(false, RequestBody::empty()).uri(), "http://b.example/x");
    }

    #[test]
    fn without_a_host_the_path_alone_is_asked_for() {
        let owned = owned(Request::get("/x"));
        assert_eq!(owned.head().http2(false, RequestBody::empty()).uri(), "/x");
    }
}
