//! Redirects.

use http::{HeaderValue, Response, StatusCode, Uri, header};
use pailou_snapshot::{PathMatch, Redirect};

use crate::{response_body::ResponseBody, rewrite};

/// The answer that sends the client elsewhere; `None` where the location cannot stand in a header. `host` is the request's
/// own without port, `port` the listener's.
pub(crate) fn response(
    redirect: &Redirect,
    matched: &PathMatch,
    uri: &Uri,
    host: &str,
    port: u16,
    tls: bool,
) -> Option<Response<ResponseBody>> {
    let scheme = redirect.scheme.as_deref().unwrap_or(if tls { "https" } else { "http" });
    let host = redirect.hostname.as_deref().unwrap_or(host);
    let well_known = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let port = redirect.port.or(redirect.scheme.is_some().then_some(well_known).flatten()).unwrap_or(port);
    let port = if Some(port) == well_known { String::new() } else { format!(":{port}") };
    let path = match &redirect.path {
        Some(change) => rewrite::path(change, matched, uri.path()),
        None => uri.path().into(),
    };
    let path = match uri.query() {
        Some(query) => rewrite::with_query(&path, query).into(),
        None => path,
    };
    // A request without a host, as HTTP/1.0 has it, stays where it is.
    let origin = if host.is_empty() { String::new() } else { format!("{scheme}://{host}{port}") };
    let location = HeaderValue::try_from(format!("{origin}{path}")).ok()?;
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = redirect.status;
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

/// The answer that sends a client to the normal form of its path.
pub(crate) fn to_normal_path(location: HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(header::LOCATION, location);
    response
}

#[cfg(test)]
mod tests {
    use pailou_snapshot::PathRewrite;

    use super::*;

    fn location(change: impl FnOnce(&mut Redirect), port: u16, tls: bool) -> String {
        let mut redirect = Redirect { scheme: None, hostname: None, path: None, port: None, status: StatusCode::FOUND };
        change(&mut redirect);
        let uri = Uri::from_static("/v1/x?q=1");
        let response = response(&redirect, &PathMatch::Prefix("/v1".into()), &uri, "a.test", port, tls).unwrap();
        response.headers()[header::LOCATION].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_port_is_explicit_then_the_schemes_then_the_listeners() {
        assert_eq!(location(|_| {}, 8080, false), "http://a.test:8080/v1/x?q=1");
        assert_eq!(location(|_| {}, 80, false), "http://a.test/v1/x?q=1");
        assert_eq!(location(|_| {}, 443, true), "https://a.test/v1/x?q=1");
        assert_eq!(location(|redirect| redirect.scheme = Some("https".into()), 8080, false), "https://a.test/v1/x?q=1");
        assert_eq!(location(|redirect| redirect.port = Some(8443), 80, false), "http://a.test:8443/v1/x?q=1");
        let both = |redirect: &mut Redirect| (redirect.scheme, redirect.port) = (Some("https".into()), Some(443));
        assert_eq!(location(both, 80, false), "https://a.test/v1/x?q=1");
    }

    #[test]
    fn without_a_host_the_location_has_none() {
        let redirect = Redirect { scheme: None, hostname: None, path: None, port: None, status: StatusCode::FOUND };
        let uri = Uri::from_static("/v1/x?q=1");
        let response = response(&redirect, &PathMatch::Prefix("".into()), &uri, "", 8080, false).unwrap();
        assert_eq!(response.headers()[header::LOCATION], "/v1/x?q=1");
    }

    #[test]
    fn host_and_path_can_change() {
        let change = |redirect: &mut Redirect| {
            redirect.hostname = Some("b.test".into());
            redirect.path = Some(PathRewrite::Prefix("/v2".into()));
        };
        assert_eq!(location(change, 80, false), "http://b.test/v2/x?q=1");
        let full = |redirect: &mut Redirect| redirect.path = Some(PathRewrite::Full("/new?a=b".into()));
        assert_eq!(location(full, 80, false), "http://a.test/new?a=b&q=1");
    }
}
