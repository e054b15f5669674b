//! Replaced responses (BackendTrafficPolicy `responseOverride`).

use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri, header::CONNECTION, header::CONTENT_TYPE};
use pailou_snapshot::{
    OverrideResponse, OverrideRule, PathMatch, RequestFact, ResponseOverride, RouteKind, RouteName, Template, TemplatePart,
};

use super::Source;
use crate::{
    error::Audience,
    error_response::{for_grpc_web, grpc, grpc_code, with_body},
    headers::REQUEST_ID,
    redirect,
    request_head::Head,
    response_body::ResponseBody,
    template::{self, cut, header},
    worker::Connection,
};

/// Facts of a request that a replacement may name.
pub(super) struct RequestFacts {
    uri: Uri,
    host: Box<str>,
    port: u16,
    is_tls: bool,
    facts: Vec<(RequestFact, String)>,
    audience: Audience,
    /// The headers that templates name.
    headers: HeaderMap,
}

impl RequestFacts {
    pub(super) fn of(rules: &ResponseOverride, head: &Head, connection: &Connection, route: &RouteName) -> Self {
        let parts = &head.parts;
        let facts = template::RequestFacts::of(head, connection, Some(route));
        let (mut named, mut texts) = (Vec::new(), Vec::new());
        for part in rules.0.iter().flat_map(templates).flat_map(|template| &template.0) {
            if let TemplatePart::RequestHeader(name, other, _) = part {
                named.extend(std::iter::once(name).chain(other));
            }
            if let TemplatePart::RequestHeaderOr(name, ..) = part {
                named.push(name);
            }
            if let TemplatePart::Request(fact, _) | TemplatePart::RequestHeaderOr(_, fact, _) = part {
                texts.push((*fact, facts.text(*fact)));
            }
        }
        let values = named.into_iter().filter_map(|name| Some((name.clone(), parts.headers.get(name)?.clone())));
        Self {
            headers: values.collect(),
            uri: parts.uri.clone(),
            host: head.host.clone(),
            port: connection.local.port(),
            is_tls: connection.tls.is_some(),
            facts: texts,
            audience: match head.audience {
                web @ Audience::GrpcWeb { .. } => web,
                _ if route.kind == RouteKind::Grpc => Audience::Grpc,
                other => other,
            },
        }
    }

    fn text(&self, fact: RequestFact) -> &str {
        self.facts.iter().find(|(known, _)| *known == fact).map_or("-", |(_, text)| text)
    }
}

fn templates(rule: &OverrideRule) -> impl Iterator<Item = &Template> {
    let (body, set, add) = match &rule.with {
        OverrideResponse::Response { body, set, add, .. } => (Some(body), &set[..], &add[..]),
        OverrideResponse::Redirect(_) => (None, &[][..], &[][..]),
    };
    body.into_iter().chain(set.iter().chain(add).map(|(_, template)| template))
}

/// The replacement by the first rule that matches, else the response as it is.
pub(super) fn response(
    rules: &ResponseOverride,
    facts: &RequestFacts,
    response: Response<ResponseBody>,
    source: Source<'_>,
) -> Response<ResponseBody> {
    let Some(rule) = rules.0.iter().find(|rule| is_match(rule, &response, source)) else { return response };
    let replacement = match &rule.with {
        OverrideResponse::Response { status, body, content_type, set, add } => {
            let original = Original { facts, response: &response, source };
            let status = status.unwrap_or(response.status());
            let text = original.fill(body);
            let mut replacement = match facts.audience {
                Audience::Grpc => grpc(grpc_code(status), &String::from_utf8_lossy(&text)),
                Audience::GrpcWeb { is_text } => for_grpc_web(grpc(grpc_code(status), &String::from_utf8_lossy(&text)), is_text),
                Audience::Model(_) | Audience::Objects(_) | Audience::Other => with_body(status, "text/plain", text.into()),
            };
            let headers = replacement.headers_mut();
            if let Some(content_type) = content_type {
                headers.insert(CONTENT_TYPE, content_type.clone());
            }
            original.edit(headers, set, |headers, name, value| drop(headers.insert(name, value)));
            original.edit(headers, add, |headers, name, value| {
                headers.append(name, value);
            });
            Some(replacement)
        }
        OverrideResponse::Redirect(to) => {
            redirect::response(to, &PathMatch::Prefix("".into()), &facts.uri, &facts.host, facts.port, facts.is_tls)
        }
    };
    let Some(mut replacement) = replacement else { return response };
    // Neither the connection's fate nor the request's name is the replacement's to decide.
    for name in [CONNECTION, REQUEST_ID] {
        if let Some(value) = response.headers().get(&name)
            && !replacement.headers().contains_key(&name)
        {
            replacement.headers_mut().insert(name, value.clone());
        }
    }
    response.into_body().discard(replacement.status());
    replacement
}

fn is_match(rule: &OverrideRule, response: &Response<ResponseBody>, source: Source<'_>) -> bool {
    let status = response.status().as_u16();
    let value = |name: &HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    rule.local.is_none_or(|local| local == matches!(source, Source::Local(_)))
        && (rule.statuses.is_empty() || rule.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)))
        && rule.headers.iter().all(|(name, condition)| value(name).is_some_and(|value| condition.matches(value)))
}

/// The original, as templates see it.
struct Original<'a> {
    facts: &'a RequestFacts,
    response: &'a Response<ResponseBody>,
    source: Source<'a>,
}

impl Original<'_> {
    fn fill(&self, template: &Template) -> Vec<u8> {
        let mut filled = Vec::new();
        let status = self.response.status();
        for part in &template.0 {
            let (value, length) = match part {
                TemplatePart::Text(text) => (text.as_bytes(), None),
                TemplatePart::Bytes(bytes) => (&**bytes, None),
                TemplatePart::ResponseCode => (status.as_str().as_bytes(), None),
                TemplatePart::LocalReplyBody => match self.source {
                    Source::Local(body) => (body.as_bytes(), None),
                    Source::Backend => continue,
                },
                TemplatePart::RequestHeader(name, other, length) => (header(&self.facts.headers, name, other.as_ref()), *length),
                TemplatePart::RequestHeaderOr(name, fact, length) => match self.facts.headers.get(name) {
                    Some(value) => (value.as_bytes(), *length),
                    None => (self.facts.text(*fact).as_bytes(), *length),
                },
                TemplatePart::Request(fact, length) => (self.facts.text(*fact).as_bytes(), *length),
                TemplatePart::ResponseHeader(name, other, length) => {
                    (header(self.response.headers(), name, other.as_ref()), *length)
                }
            };
            filled.extend_from_slice(cut(value, length));
        }
        filled
    }

    fn edit(
        &self,
        headers: &mut HeaderMap,
        edits: &[(HeaderName, Template)],
        apply: impl Fn(&mut HeaderMap, HeaderName, HeaderValue),
    ) {
        for (name, template) in edits {
            // Headers of the original are valid in a header, and so is a template's text.
            if let Ok(value) = HeaderValue::try_from(self.fill(template)) {
                apply(headers, name.clone(), value);
            }
        }
    }
}
