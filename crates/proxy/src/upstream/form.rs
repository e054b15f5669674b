//! A request's URI and `Host` in the form that a protocol asks for.

use http::{HeaderValue, Request, Uri, Version, header::HOST, uri::Scheme};
use pailou_config::snapshot::Protocol;

/// Puts the request into the protocol's form: origin-form and `Host` (RFC 9112 section 3.2.1), or `:scheme` and `:authority` without
/// `Host` (RFC 9113 section 8.3.1). What is in that form already is not touched.
pub(super) fn prepare<B>(request: &mut Request<B>, protocol: Protocol, tls: bool) {
    match protocol {
        Protocol::Http1 | Protocol::Opaque => {
            *request.version_mut() = Version::HTTP_11;
            if request.uri().authority().is_some() {
                to_origin_form(request);
            }
        }
        Protocol::Http2 => {
            *request.version_mut() = Version::HTTP_2;
            to_absolute_form(request, tls);
        }
    }
}

fn to_origin_form<B>(request: &mut Request<B>) {
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if let Ok(uri) = path.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
}

fn to_absolute_form<B>(request: &mut Request<B>, tls: bool) {
    let host = request.headers_mut().remove(HOST);
    let mut parts = request.uri().clone().into_parts();
    // `Host` is what rewrites and credentials were applied to.
    if let Some(authority) = host.and_then(|host| host.as_bytes().try_into().ok()) {
        parts.authority = Some(authority);
    }
    if parts.authority.is_none() {
        return;
    }
    parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http1_asks_for_a_path_and_a_host() {
        let mut request = Request::get("https://a.example:8080/x?y").version(Version::HTTP_2).body(()).unwrap();
        prepare(&mut request, Protocol::Http1, false);
        assert_eq!((request.uri().to_string().as_str(), request.version()), ("/x?y", Version::HTTP_11));
        assert_eq!(request.headers()[HOST], "a.example:8080");
    }

    #[test]
    fn http2_asks_for_an_authority_and_no_host() {
        let mut request = Request::get("/x?y").header(HOST, "b.example").body(()).unwrap();
        prepare(&mut request, Protocol::Http2, true);
        assert_eq!(request.uri(), "https://b.example/x?y");
        assert!(!request.headers().contains_key(HOST));
    }

    #[test]
    fn the_host_header_counts_where_both_are_there() {
        let mut request = Request::get("http://a.example/x").header(HOST, "b.example").body(()).unwrap();
        prepare(&mut request, Protocol::Http2, false);
        assert_eq!(request.uri(), "http://b.example/x");
        prepare(&mut request, Protocol::Http1, false);
        assert_eq!(request.headers()[HOST], "b.example");
    }
}
