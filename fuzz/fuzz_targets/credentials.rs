//! A credential that is found is one, and once it is removed no reading finds it.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::PathAndQuery};
use libfuzzer_sys::fuzz_target;
use pailou_auth::CredentialSource;

fuzz_target!(|input: (Vec<&[u8]>, &[u8], &str)| {
    let (cookies, query, name) = input;
    // No cookie has a name with a blank in it.
    if name.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return;
    }
    let mut headers = HeaderMap::new();
    for line in cookies.into_iter().take(16) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(header::COOKIE, value.clone());
            headers.append(HeaderName::from_static("x-api-key"), value);
        }
    }
    let path = PathAndQuery::try_from([b"/?", query].concat()).unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let mut uri = Uri::from(path);
    let header = |is_prefix_required| CredentialSource::Header {
        name: HeaderName::from_static("x-api-key"),
        prefix: "Bearer ".into(),
        is_prefix_required,
    };
    let sources = [CredentialSource::Cookie(name.into()), CredentialSource::Query(name.into()), header(true), header(false)];
    for source in &sources {
        let found = source.find(&headers, uri.query()).map(|found| found.into_owned());
        assert!(found.is_none_or(|found| !found.is_empty()));
    }
    for source in &sources {
        source.remove(&mut headers, &mut uri);
        assert_eq!(source.find(&headers, uri.query()), None, "{source:?}");
    }
    assert_eq!(uri.path(), "/");
});
