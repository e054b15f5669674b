//! Cross-origin resource sharing. Source: the CORS filter of Gateway API's HTTPRoute, and the Fetch standard.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use pailou_snapshot::Cors;

use crate::response_body::ResponseBody;

/// The answer to a preflight request; `None` for any other request.
pub(super) fn request(cors: &Cors, method: &Method, headers: &HeaderMap) -> Option<Response<ResponseBody>> {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let origin = headers.get(header::ORIGIN)?;
    if method != Method::OPTIONS {
        return None;
    }
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    if !allow_origin(cors, origin, answer) {
        return Some(response);
    }
    // An asterisk has no meaning with credentials, and never covers Authorization (Fetch standard): what was asked for is allowed by name.
    let methods = match cors.any_method {
        true => Some(asked.clone()),
        false => joined(cors.allow_methods.iter().map(Method::as_str)),
    };
    insert(answer, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let names = match cors.any_header {
        true => all_asked(headers),
        false => joined(cors.allow_headers.iter().map(|name| name.as_str())),
    };
    insert(answer, header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    // Caches in between keep the answers apart.
    if cors.any_method {
        answer.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Method"));
    }
    if cors.any_header {
        answer.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    // The Fetch standard reads it from the actual response only; Gateway API's conformance suite asks for it here too. What an
    // asterisk exposes is not known before there is a response.
    if cors.expose_headers.iter().all(|name| &**name != "*") {
        insert(answer, header::ACCESS_CONTROL_EXPOSE_HEADERS, joined(cors.expose_headers.iter().map(|name| &**name)));
    }
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age));
    Some(response)
}

/// Adds to an actual response what lets the origin's scripts read it. What a backend says of its own is replaced.
pub(super) fn response(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let Some(origin) = origin else { return };
    for name in
        [header::ACCESS_CONTROL_ALLOW_ORIGIN, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, header::ACCESS_CONTROL_EXPOSE_HEADERS]
    {
        headers.remove(name);
    }
    if !allow_origin(cors, origin, headers) {
        return;
    }
    let names = if cors.allow_credentials && cors.expose_headers.iter().any(|name| &**name == "*") {
        // With credentials an asterisk has no meaning: the names themselves are what is exposed.
        joined(headers.keys().map(|name| name.as_str()).filter(|name| !name.starts_with("access-control-")))
    } else {
        joined(cors.expose_headers.iter().map(|name| &**name))
    };
    insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
}

fn allow_origin(cors: &Cors, origin: &HeaderValue, answer: &mut HeaderMap) -> bool {
    if !origin.to_str().is_ok_and(|text| cors.allows_origin(text)) {
        return false;
    }
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answer.append(header::VARY, HeaderValue::from_static("Origin"));
    if cors.allow_credentials {
        answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    true
}

/// The headers that a preflight asks for, on however many lines.
fn all_asked(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    match (lines.next()?, lines.next()) {
        (only, None) => Some(only.clone()),
        (first, Some(second)) => joined([first, second].into_iter().chain(lines).filter_map(|line| line.to_str().ok())),
    }
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let list = names.collect::<Vec<_>>().join(", ");
    if list.is_empty() { None } else { HeaderValue::try_from(list).ok() }
}

#[cfg(test)]
mod tests {
    use pailou_snapshot::CorsOrigin;

    use super::*;

    fn cors() -> Cors {
        Cors {
            allow_origins: vec![
                CorsOrigin::Exact("https://app.example".into()),
                CorsOrigin::Wildcard { prefix: "https://".into(), suffix: ".bar.com".into() },
            ],
            allow_methods: vec![Method::GET, Method::POST],
            allow_headers: vec![header::AUTHORIZATION],
            max_age: 5,
            ..Cors::default()
        }
    }

    fn ask(cors: &Cors, origin: &'static str) -> HeaderMap {
        let headers = HeaderMap::from_iter([
            (header::ORIGIN, HeaderValue::from_static(origin)),
            (header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT")),
            (header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-a")),
        ]);
        request(cors, &Method::OPTIONS, &headers).unwrap().headers().clone()
    }

    #[test]
    fn a_preflight_names_what_is_allowed() {
        let answer = ask(&cors(), "https://app.example");
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization");
        assert_eq!(answer[header::ACCESS_CONTROL_MAX_AGE], "5");
        assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }

    #[test]
    fn a_wildcard_spans_labels_and_ports_but_is_never_empty() {
        assert!(ask(&cors(), "https://a.b.bar.com").contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        for wrong in ["https://.bar.com", "http://a.bar.com", "https://a.bar.com.evil", "https://bar.com"] {
            assert!(!ask(&cors(), wrong).contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{wrong}");
        }
    }

    #[test]
    fn with_credentials_every_header_is_exposed_by_its_name() {
        let mut cors = Cors { allow_credentials: true, expose_headers: vec!["*".into()], ..cors() };
        let exposed = |cors: &Cors| {
            let mut headers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("x"))]);
            response(cors, Some(&HeaderValue::from_static("https://app.example")), &mut headers);
            headers[header::ACCESS_CONTROL_EXPOSE_HEADERS].clone()
        };
        assert_eq!(exposed(&cors), "etag, vary");
        cors.allow_credentials = false;
        assert_eq!(exposed(&cors), "*");
    }

    #[test]
    fn asterisks_allow_by_name_what_was_asked_for() {
        for allow_credentials in [true, false] {
            let cors = Cors {
                allow_origins: vec![CorsOrigin::Any],
                allow_credentials,
                any_method: true,
                any_header: true,
                ..Cors::default()
            };
            let answer = ask(&cors, "https://x.test");
            assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://x.test");
            assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_METHODS], "PUT");
            assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_HEADERS], "x-a");
            assert_eq!(answer.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), allow_credentials);
            let vary: Vec<_> = answer.get_all(header::VARY).iter().collect();
            assert_eq!(vary, ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"]);
            let mut headers = HeaderMap::new();
            response(&cors, Some(&HeaderValue::from_static("https://x.test")), &mut headers);
            assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://x.test");
        }
    }

    #[test]
    fn headers_asked_for_on_several_lines_are_allowed_together() {
        let mut headers = HeaderMap::new();
        assert_eq!(all_asked(&headers), None);
        for line in ["authorization", "content-type, x-a"] {
            headers.append(header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(line));
        }
        assert_eq!(all_asked(&headers).unwrap(), "authorization, content-type, x-a");
    }
}
