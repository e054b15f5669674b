//! Parts of a request that access logs, names and attributes of spans have by the configuration, kept until it ends.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use pailou_snapshot::{Captured, HeaderPlace, is_secret_name, is_secret_value, without_query_of_url};

use crate::cluster::EndpointState;

/// Written in place of a credential.
const REDACTED: HeaderValue = HeaderValue::from_static("REDACTED");

/// Connection that a request came by.
pub(crate) struct Origin {
    /// The address that the client connected to.
    pub(crate) local: SocketAddr,
    /// The server name asked for.
    pub(crate) server_name: Option<Arc<str>>,
    /// The client showed a certificate that was verified.
    pub(crate) is_mutual_tls: bool,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// Parts of a request.
pub(crate) struct RequestNotes {
    /// Parts that are kept.
    captured: Arc<Captured>,
    pub(crate) origin: Origin,
    /// The client, as the listener finds it.
    pub(crate) client: Option<IpAddr>,
    /// Host that the client asked for, with its port.
    pub(crate) authority: Box<str>,
    /// The gateway appends the client to `X-Forwarded-For`.
    pub(crate) appends_forwarded_for: bool,
    /// The endpoint that was tried last.
    pub(crate) endpoint: Option<Arc<EndpointState>>,
    /// Status of gRPC.
    pub(crate) grpc_status: Option<u8>,
    query: Option<Box<str>>,
    request: HeaderValues,
    response: HeaderValues,
    trailers: HeaderValues,
    all_request: Vec<(String, String)>,
    all_response: Vec<(String, String)>,
}

/// Values of headers by their places; empty before they are there.
type HeaderValues = Vec<Option<HeaderValue>>;

impl RequestNotes {
    /// Notes of a request that has just come.
    pub(crate) fn new(captured: Arc<Captured>, origin: Origin, (authority, query): (&str, Option<&str>), map: &HeaderMap) -> Self {
        let mut notes = Self {
            captured,
            origin,
            client: None,
            authority: authority.into(),
            appends_forwarded_for: false,
            endpoint: None,
            grpc_status: None,
            query: None,
            request: Vec::new(),
            response: Vec::new(),
            trailers: Vec::new(),
            all_request: Vec::new(),
            all_response: Vec::new(),
        };
        if notes.captured.query {
            notes.query = query.map(Into::into);
        }
        notes.keep_request(map);
        notes
    }

    /// Whether attempts are kept.
    pub(crate) fn wants_attempts(&self) -> bool {
        self.captured.attempts
    }

    /// Keeps headers of the request.
    pub(crate) fn keep_request(&mut self, map: &HeaderMap) {
        self.request = values(&self.captured.request, map);
        if self.captured.all_request {
            self.all_request = all(map);
        }
    }

    /// Keeps headers of the response.
    pub(crate) fn keep_response(&mut self, map: &HeaderMap) {
        self.response = values(&self.captured.response, map);
        if self.captured.all_response {
            self.all_response = all(map);
        }
        self.keep_grpc_status(map);
    }

    /// Keeps trailers of the response.
    pub(crate) fn keep_trailers(&mut self, map: &HeaderMap) {
        self.trailers = values(&self.captured.trailers, map);
        self.keep_grpc_status(map);
    }

    fn keep_grpc_status(&mut self, map: &HeaderMap) {
        let status = map.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
        self.grpc_status = status.or(self.grpc_status);
    }

    /// A header of the request.
    pub(crate) fn request_header(&self, place: HeaderPlace) -> Option<&HeaderValue> {
        self.request.get(place.0)?.as_ref()
    }

    /// A header of the response.
    pub(crate) fn response_header(&self, place: HeaderPlace) -> Option<&HeaderValue> {
        self.response.get(place.0)?.as_ref()
    }

    /// A trailer.
    pub(crate) fn trailer(&self, place: HeaderPlace) -> Option<&HeaderValue> {
        self.trailers.get(place.0)?.as_ref()
    }

    /// A header of the response, with its name.
    pub(crate) fn named_response_header(&self, place: HeaderPlace) -> Option<(&HeaderName, &HeaderValue)> {
        self.captured.response.get(place.0).zip(self.response_header(place))
    }

    /// A trailer, with its name.
    pub(crate) fn named_trailer(&self, place: HeaderPlace) -> Option<(&HeaderName, &HeaderValue)> {
        self.captured.trailers.get(place.0).zip(self.trailer(place))
    }

    /// The name of a header of the request.
    pub(crate) fn request_name(&self, place: HeaderPlace) -> Option<&str> {
        self.captured.request.get(place.0).map(HeaderName::as_str)
    }

    /// All headers of the request, for conditions.
    pub(crate) fn all_request(&self) -> &[(String, String)] {
        &self.all_request
    }

    /// All headers of the response, for conditions.
    pub(crate) fn all_response(&self) -> &[(String, String)] {
        &self.all_response
    }

    /// The query.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
}

/// Values of headers, without credentials.
fn values(names: &[HeaderName], map: &HeaderMap) -> HeaderValues {
    names.iter().map(|name| if is_secret(name, map) { Some(REDACTED) } else { joined(name, map) }).collect()
}

/// Headers that are no credentials.
fn all(map: &HeaderMap) -> Vec<(String, String)> {
    let kept = map.keys().filter(|name| !is_secret(name, map)).filter_map(|name| {
        let value = joined(name, map)?;
        Some((name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    kept.collect()
}

/// Whether the header is there, and may be a credential.
fn is_secret(name: &HeaderName, map: &HeaderMap) -> bool {
    map.contains_key(name)
        && (is_secret_name(name.as_str()) || map.get_all(name).iter().any(|value| is_secret_value(value.as_bytes())))
}

/// The values of a header, which may stand on several lines (RFC 9110, 5.3); of URLs no more than the path.
fn joined(name: &HeaderName, map: &HeaderMap) -> Option<HeaderValue> {
    let shown = |value| without_query_of_url(name.as_str(), HeaderValue::as_bytes(value));
    let mut lines = map.get_all(name).iter();
    let first = lines.next()?;
    if lines.next().is_none() && shown(first).len() == first.len() {
        return Some(first.clone());
    }
    let parts: Vec<_> = map.get_all(name).iter().map(shown).collect();
    HeaderValue::from_bytes(&parts.join(&b","[..])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_header_are_joined_and_urls_lose_their_query() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2, 10.0.0.3"),
            ("referer", "https://a/b?access_token=s3cret"),
            ("x-note", "fine"),
            ("x-note", "Bearer s3cret"),
            ("x-db", "postgres://u:s3cret@db"),
        ] {
            map.append(name, HeaderValue::from_static(value));
        }
        let names = ["x-forwarded-for", "referer", "x-note", "x-db", "x-none"].map(HeaderName::from_static);
        let shown: Vec<_> = values(&names, &map).into_iter().map(|value| value.map(|it| it.to_str().unwrap().to_owned())).collect();
        let expected = [Some("10.0.0.1,10.0.0.2, 10.0.0.3"), Some("https://a/b"), Some("REDACTED"), Some("REDACTED"), None];
        assert_eq!(shown, expected.map(|value| value.map(str::to_owned)));
        let mut conditions = all(&map);
        conditions.sort();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(conditions, [pair("referer", "https://a/b"), pair("x-forwarded-for", "10.0.0.1,10.0.0.2, 10.0.0.3")]);
    }
}
