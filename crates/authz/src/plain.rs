//! Authorization by HTTP: a request like the client's, without its body unless the policy sends it. 200 lets the request pass;
//! a 5xx decides nothing; the client gets any other answer. Source: GEP-1494.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header, response::Parts, uri::PathAndQuery};
use pailou_envoy_proto::{LocalReply, ext_proc::HeaderMutation};

use crate::{
    Allowed, AuthorizationRequest, Decision, Failure,
    changes::{describes_answer, is_open, set},
};

/// Path of a request to the server.
#[derive(Clone, Copy, Debug)]
pub enum ServerPath<'a> {
    /// The client's path and query, after this.
    Prefix(&'a str),
    /// This in place of them.
    Fixed(&'a str),
}

/// The request to the server. `allowed` names the client's headers to send, beside `Authorization`.
///
/// # Errors
/// The path is too long with the prefix.
pub fn request(
    original: &AuthorizationRequest<'_>,
    path: ServerPath<'_>,
    allowed: &[HeaderName],
) -> Result<Request<Bytes>, Failure> {
    let body = original.body.cloned().unwrap_or_default();
    let path = match path {
        ServerPath::Prefix(prefix) => PathAndQuery::try_from(format!("{prefix}{}", original.path)),
        ServerPath::Fixed(path) => PathAndQuery::try_from(path),
    };
    let path = path.map_err(|_| Failure::Query)?;
    let mut request = Request::new(body);
    *request.method_mut() = original.method.clone();
    *request.uri_mut() = path.into();
    let headers = request.headers_mut();
    for name in std::iter::once(&header::AUTHORIZATION).chain(allowed).filter(|name| is_open(name.as_str())) {
        if headers.contains_key(name) {
            continue;
        }
        for value in original.headers.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Ok(host) = HeaderValue::from_str(original.authority) {
        headers.insert(header::HOST, host);
    }
    // It tells the length of what is sent, be that nothing.
    let length = HeaderValue::from(request.body().len());
    request.headers_mut().insert(header::CONTENT_LENGTH, length);
    Ok(request)
}

/// Reads a response. `allowed` names its headers for a request that may pass; with `None` the request gets all that do not
/// describe the response itself. The server alone sets a named header: the client's own goes.
///
/// # Errors
/// The answer is a 5xx.
pub fn decision(head: Parts, body: Bytes, allowed: Option<&[HeaderName]>) -> Result<Decision, Failure> {
    if head.status != StatusCode::OK {
        if head.status.is_server_error() || head.status.is_informational() {
            return Err(Failure::Status(head.status));
        }
        return Ok(Decision::Denied(Box::new(denial(head, body))));
    }
    let is_given = |name: &HeaderName| match allowed {
        Some(allowed) => allowed.contains(name),
        None => !describes_answer(name),
    };
    let given = head.headers.iter().filter(|(name, _)| is_open(name.as_str()) && is_given(name));
    let named = allowed.unwrap_or_default().iter().filter(|name| is_open(name.as_str()));
    let headers = HeaderMutation {
        set_headers: given.map(|(name, value)| set(name, value)).collect(),
        remove_headers: named.map(ToString::to_string).collect(),
    };
    Ok(Decision::Allowed(Box::new(Allowed { headers, ..Allowed::default() })))
}

fn denial(head: Parts, body: Bytes) -> LocalReply {
    let open = head.headers.iter().filter(|(name, _)| is_open(name.as_str()));
    let headers: HeaderMap = open.map(|(name, value)| (name.clone(), value.clone())).collect();
    LocalReply::new(head.status, headers, body)
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn parts(status: u16, headers: &[(&str, &str)]) -> Parts {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    fn request_headers(decision: &Decision) -> Vec<String> {
        let Decision::Allowed(allowed) = decision else { panic!("{decision:?}") };
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-user", "evil"), ("host", "a.test"), ("content-type", "application/json"), ("x-tenant", "evil")] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        allowed.apply(&mut headers);
        let mut all: Vec<_> = headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        all.sort();
        all
    }

    #[test]
    fn consent_gives_headers_but_no_host_and_nothing_of_the_answer_itself() {
        let answer = || {
            let headers = [
                ("x-user", "a"),
                ("x-user", "b"),
                ("host", "evil.test"),
                ("content-length", "2"),
                ("content-type", "text/plain"),
                ("x-other", "1"),
            ];
            parts(200, &headers)
        };
        let all = decision(answer(), Bytes::from_static(b"ok"), None).unwrap();
        let expected = ["content-type=application/json", "host=a.test", "x-other=1", "x-tenant=evil", "x-user=a", "x-user=b"];
        assert_eq!(request_headers(&all), expected);
        let named = ["x-user", "x-tenant", "host"].map(HeaderName::from_static);
        let named = decision(answer(), Bytes::new(), Some(&named)).unwrap();
        assert_eq!(request_headers(&named), ["content-type=application/json", "host=a.test", "x-user=a", "x-user=b"]);
    }

    #[test]
    fn what_is_not_200_is_for_the_client_unless_the_server_is_at_fault() {
        let denied =
            decision(parts(302, &[("location", "/login"), ("connection", "close")]), Bytes::from_static(b"go"), None).unwrap();
        let Decision::Denied(denied) = denied else { panic!("{denied:?}") };
        let response = denied.response();
        assert_eq!(
            (response.status(), response.headers().len(), &response.headers()["location"]),
            (StatusCode::FOUND, 1, &HeaderValue::from_static("/login"))
        );
        assert_eq!(response.body(), "go");
        for status in [204, 401, 403] {
            assert!(matches!(decision(parts(status, &[]), Bytes::new(), None), Ok(Decision::Denied(_))), "{status}");
        }
        assert!(matches!(decision(parts(503, &[]), Bytes::new(), None), Err(Failure::Status(StatusCode::SERVICE_UNAVAILABLE))));
    }
}
