//! Names and attributes of spans by `telemetry.tracing` of an EnvoyProxy or a BackendTrafficPolicy: `spanName`, `customTags`, `tags`.

use std::{collections::BTreeMap, sync::Arc};

use pailou_api::envoy::telemetry::{CustomTag, CustomTagType, TracingSpanName};
use pailou_snapshot::{Captured, CustomSpans, LogPart, LogText, SpanTag};

use crate::gateway_logs::{
    format::log_text,
    operators::{environment, request},
};

/// Most attributes: with those of the gateway's own, a span has room for all.
const MAX_TAGS: usize = 64;
/// Longest name of an attribute, in bytes.
const MAX_NAME: usize = 255;
/// Names that the gateway's own attributes have, and beginnings of such: a span has each name once.
const OWN_NAMES: [&str; 9] = [
    "http.request.method",
    "http.request.method_original",
    "http.request.resend_count",
    "http.response.status_code",
    "http.route",
    "server.address",
    "server.port",
    "client.address",
    "error.type",
];
const OWN_BEGINNINGS: [&str; 10] =
    ["embedding.", "gen_ai.", "input.", "llm.", "network.", "openinference.", "output.", "pailou.", "rpc.", "url."];

/// Fields that give spans names and attributes.
#[derive(Clone, Copy)]
pub(crate) struct CustomFields<'s> {
    pub(crate) custom_tags: &'s BTreeMap<String, CustomTag>,
    pub(crate) tags: &'s BTreeMap<String, String>,
    pub(crate) span_name: Option<&'s TracingSpanName>,
}

/// Reads the fields; `None` where none is set.
///
/// # Errors
/// The first field, below `telemetry.tracing`, that is of no use.
pub(crate) fn read(fields: CustomFields<'_>) -> Result<Option<Arc<CustomSpans>>, String> {
    let CustomFields { custom_tags, tags, span_name } = fields;
    let mut captured = Captured::default();
    let mut all = Vec::new();
    for (name, tag) in custom_tags.iter().filter(|(name, _)| !tags.contains_key(*name)) {
        let read = named(name).and_then(|()| custom(tag, &mut captured));
        let (value, default) = read.map_err(|error| format!("customTags[{name:?}]{error}"))?;
        all.push(SpanTag { name: name.as_str().into(), value, default });
    }
    for (name, text) in tags {
        let read = named(name).and_then(|()| log_text(text, &mut captured).map_err(|error| format!(": {error}")));
        let value = read.map_err(|error| format!("tags[{name:?}]{error}"))?;
        all.push(SpanTag { name: name.as_str().into(), value, default: None });
    }
    if all.len() > MAX_TAGS {
        return Err(format!("tags: {} attributes with those of customTags, but {MAX_TAGS} are the most", all.len()));
    }
    let mut name = |text: &str, field: &str| match text {
        "" => Ok(None),
        text => log_text(text, &mut captured).map(Some).map_err(|error| format!("spanName.{field}: {error}")),
    };
    let (request_name, attempt_name) = match span_name {
        Some(TracingSpanName { client, server }) => (name(client, "client")?, name(server, "server")?),
        None => (None, None),
    };
    if all.is_empty() && request_name.is_none() && attempt_name.is_none() {
        return Ok(None);
    }
    Ok(Some(Arc::new(CustomSpans { request_name, attempt_name, tags: all, captured: Arc::new(captured) })))
}

/// Whether an attribute may have this name.
fn named(name: &str) -> Result<(), String> {
    let is_own = OWN_NAMES.contains(&name) || OWN_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning));
    match name.len() {
        0 => Err(": an attribute needs a name".to_owned()),
        length if length > MAX_NAME => Err(format!(": the name is longer than {MAX_NAME} bytes")),
        _ if is_own => Err(": the gateway has an attribute of this name; choose another".to_owned()),
        _ => Ok(()),
    }
}

/// The value of a tag, and the one in place of an empty one.
fn custom(tag: &CustomTag, captured: &mut Captured) -> Result<(LogText, Option<Box<str>>), String> {
    let missing = |field: &str| format!(".{field}: is required with its type");
    let (operator, named) = match tag.kind {
        CustomTagType::Literal => {
            let literal = tag.literal.as_ref().ok_or_else(|| missing("literal"))?;
            return Ok((LogText(vec![LogPart::Text(literal.value.as_str().into())]), None));
        }
        CustomTagType::Environment => {
            let named = tag.environment.as_ref().ok_or_else(|| missing("environment"))?;
            (environment(&named.name).map_err(|error| format!(".environment.name: {error}"))?, named)
        }
        CustomTagType::RequestHeader => {
            let named = tag.request_header.as_ref().ok_or_else(|| missing("requestHeader"))?;
            (request(&named.name, captured).map_err(|error| format!(".requestHeader.name: {error}"))?, named)
        }
    };
    let default = named.default_value.as_deref().filter(|value| !value.is_empty()).map(Into::into);
    Ok((LogText(vec![LogPart::Operator(operator, None)]), default))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn header(name: &str) -> CustomTag {
        serde_json::from_value(serde_json::json!({"type": "RequestHeader", "requestHeader": {"name": name}})).unwrap()
    }

    #[test]
    fn a_tag_takes_the_place_of_a_custom_one_and_headers_are_kept_once() {
        let custom = BTreeMap::from([("a".to_owned(), header("X-A")), ("b".to_owned(), header("X-B"))]);
        let tags = tags(&[("a", "%REQ(X-B)%/%RESP(X-C)%"), ("session.id", "%REQ(X-B)%")]);
        let read = read(CustomFields { custom_tags: &custom, tags: &tags, span_name: None }).unwrap().unwrap();
        assert_eq!(read.tags.iter().map(|tag| &*tag.name).collect::<Vec<_>>(), ["b", "a", "session.id"]);
        assert_eq!((read.captured.request.len(), read.captured.response.len()), (1, 1));
    }

    #[test]
    fn a_tag_that_cannot_be_had_says_why() {
        let none = BTreeMap::new();
        for (name, text, says) in [
            ("http.route", "x", "the gateway has an attribute of this name"),
            ("gen_ai.usage.cost", "x", "the gateway has an attribute of this name"),
            ("", "x", "needs a name"),
            ("a", "%NO%", "tags[\"a\"]: %NO% is no command operator"),
            ("a", "%ENVIRONMENT(API_KEY)%", "may be credentials"),
        ] {
            let tags = tags(&[(name, text)]);
            let error = read(CustomFields { custom_tags: &none, tags: &tags, span_name: None }).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let without = BTreeMap::from([("a".to_owned(), CustomTag::default())]);
        let error = read(CustomFields { custom_tags: &without, tags: &BTreeMap::new(), span_name: None }).unwrap_err();
        assert_eq!(error, "customTags[\"a\"].literal: is required with its type");
        let names = TracingSpanName { client: "%REQ(:PATH)%".to_owned(), server: "100%".to_owned() };
        let error = read(CustomFields { custom_tags: &none, tags: &BTreeMap::new(), span_name: Some(&names) }).unwrap_err();
        assert!(error.starts_with("spanName.server: a percent sign"), "{error}");
    }
}
