//! Texts with Envoy's command operators: values of headers, bodies of the gateway's own answers.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, uri::PathAndQuery};
use jiff::Timestamp;
use pailou_snapshot::{HeaderEdit, RequestFact, RouteName, Template, TemplatePart};

use crate::{headers, request_head::Head, worker::Connection};

/// Facts of a request, beside its headers.
pub(crate) struct RequestFacts<'a> {
    head: &'a Head,
    connection: &'a Connection,
    route: Option<&'a RouteName>,
}

impl<'a> RequestFacts<'a> {
    /// Facts of a request as it stands.
    pub(crate) fn of(head: &'a Head, connection: &'a Connection, route: Option<&'a RouteName>) -> Self {
        Self { head, connection, route }
    }

    /// The text of a fact; `-` for one that the request has not.
    pub(crate) fn text(&self, fact: RequestFact) -> String {
        let (peer, local) = (self.connection.peer, self.connection.destination);
        let (parts, tls) = (&self.head.parts, self.connection.tls.as_ref());
        match fact {
            RequestFact::Method => parts.method.to_string(),
            RequestFact::Path => parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
            RequestFact::Authority => self.head.authority.to_string(),
            RequestFact::Scheme => if tls.is_some() { "https" } else { "http" }.to_owned(),
            RequestFact::Protocol => protocol(parts.version).to_owned(),
            RequestFact::ClientAddress => peer.to_string(),
            RequestFact::ClientIp => peer.ip().to_canonical().to_string(),
            RequestFact::ClientPort => peer.port().to_string(),
            RequestFact::LocalAddress => local.to_string(),
            RequestFact::LocalIp => local.ip().to_canonical().to_string(),
            RequestFact::LocalPort => local.port().to_string(),
            RequestFact::ServerName => tls.and_then(|tls| tls.sni.as_deref()).unwrap_or("-").to_owned(),
            RequestFact::RouteName => self.route.map_or_else(|| "-".to_owned(), ToString::to_string),
            RequestFact::StartTime => format!("{:.3}", Timestamp::now()),
        }
    }

    /// A template of which only what concerns the response is left. `map` are the request's headers.
    fn resolve(&self, template: &Template, map: &HeaderMap) -> Template {
        let part = |part: &TemplatePart| match part {
            TemplatePart::RequestHeader(name, other, length) => value(header(map, name, other.as_ref()), *length),
            TemplatePart::Request(fact, length) => value(self.text(*fact).as_bytes(), *length),
            TemplatePart::RequestHeaderOr(name, fact, length) => match map.get(name) {
                Some(header) => value(header.as_bytes(), *length),
                None => value(self.text(*fact).as_bytes(), *length),
            },
            part => part.clone(),
        };
        Template(template.0.iter().map(part).collect())
    }

    /// An edit of response headers of which only what concerns the response is left.
    pub(crate) fn resolve_edit<'e>(&self, edit: &'e HeaderEdit, map: &HeaderMap) -> Cow<'e, HeaderEdit> {
        if edit.templates.is_empty() {
            return Cow::Borrowed(edit);
        }
        let mut edit = edit.clone();
        edit.templates.iter_mut().for_each(|it| it.value = self.resolve(&it.value, map));
        Cow::Owned(edit)
    }

    /// Edits a request's headers.
    pub(crate) fn edit_request(&self, map: &mut HeaderMap, edit: &HeaderEdit) {
        if edit.templates.is_empty() {
            return headers::edit(map, edit);
        }
        let edit = self.resolve_edit(edit, map);
        headers::edit_with(map, &edit, &values(&edit, None));
    }

    /// Edits the headers of an answer of the gateway's own.
    pub(crate) fn edit_answer(&self, map: &mut HeaderMap, status: StatusCode, edit: &HeaderEdit, request: &HeaderMap) {
        edit_response(map, status, &self.resolve_edit(edit, request));
    }

    /// The text of an answer's body.
    pub(crate) fn body(&self, template: &Template, status: StatusCode, request: &HeaderMap) -> Vec<u8> {
        fill(&self.resolve(template, request), Some((status, &HeaderMap::new())))
    }
}

/// Edits a response's headers by an edit that was [resolved](RequestFacts::resolve_edit).
pub(crate) fn edit_response(map: &mut HeaderMap, status: StatusCode, edit: &HeaderEdit) {
    if edit.templates.is_empty() {
        return headers::edit(map, edit);
    }
    let values = values(edit, Some((status, map)));
    headers::edit_with(map, edit, &values);
}

/// The values of an edit's templates; those that cannot stand in a header are left out.
fn values(edit: &HeaderEdit, response: Option<(StatusCode, &HeaderMap)>) -> Vec<Option<HeaderValue>> {
    edit.templates.iter().map(|it| HeaderValue::try_from(fill(&it.value, response)).ok()).collect()
}

/// The text of a template whose request parts are resolved. Before there is a response, its parts are `-`.
fn fill(template: &Template, response: Option<(StatusCode, &HeaderMap)>) -> Vec<u8> {
    let mut filled = Vec::new();
    for part in &template.0 {
        match (part, response) {
            (TemplatePart::Text(text), _) => filled.extend_from_slice(text.as_bytes()),
            (TemplatePart::Bytes(bytes), _) => filled.extend_from_slice(bytes),
            (TemplatePart::ResponseCode, Some((status, _))) => filled.extend_from_slice(status.as_str().as_bytes()),
            (TemplatePart::ResponseHeader(name, other, length), Some((_, map))) => {
                filled.extend_from_slice(cut(header(map, name, other.as_ref()), *length));
            }
            _ => filled.push(b'-'),
        }
    }
    filled
}

/// A part with this value, which is text as a rule.
fn value(value: &[u8], length: Option<usize>) -> TemplatePart {
    let value = cut(value, length);
    match str::from_utf8(value) {
        Ok(text) => TemplatePart::Text(text.into()),
        Err(_) => TemplatePart::Bytes(Bytes::copy_from_slice(value)),
    }
}

/// A header's value, whatever its bytes; `-` where neither is present, as Envoy prints it.
pub(crate) fn header<'m>(map: &'m HeaderMap, name: &HeaderName, other: Option<&HeaderName>) -> &'m [u8] {
    map.get(name).or_else(|| map.get(other?)).map_or(&b"-"[..], HeaderValue::as_bytes)
}

/// At most so many bytes of a value; of text no part of a character.
pub(crate) fn cut(value: &[u8], length: Option<usize>) -> &[u8] {
    let length = length.map_or(value.len(), |length| length.min(value.len()));
    let length = str::from_utf8(value).map_or(length, |text| text.floor_char_boundary(length));
    &value[..length]
}

/// A version as Envoy prints it.
pub(crate) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_parts_are_filled_in_from_the_response() {
        let name = |name| HeaderName::from_static(name);
        let part = |part| Template(vec![part]);
        let map = HeaderMap::from_iter([(name("server"), HeaderValue::from_static("vllm"))]);
        let response = Some((StatusCode::CREATED, &map));
        assert_eq!(fill(&part(TemplatePart::ResponseCode), response), b"201");
        assert_eq!(fill(&part(TemplatePart::ResponseCode), None), b"-");
        assert_eq!(fill(&part(TemplatePart::ResponseHeader(name("x"), Some(name("server")), Some(2))), response), b"vl");
        assert_eq!(fill(&part(TemplatePart::ResponseHeader(name("x"), None, None)), response), b"-");
    }

    #[test]
    fn values_are_cut_to_a_number_of_bytes_and_need_not_be_text() {
        assert_eq!(cut("é".as_bytes(), Some(1)), b"", "no part of a character");
        assert_eq!(value("é".as_bytes(), None), TemplatePart::Text("é".into()));
        assert_eq!(value(b"\xe9\xe8", Some(1)), TemplatePart::Bytes(Bytes::from_static(b"\xe9")));
    }
}
