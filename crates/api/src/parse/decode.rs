//! JSON values as typed objects.

use serde_json::{Map, Value};

use super::error::{ParseError, Problem};
use super::foreign::{self, ForeignObject};
use super::metadata::RawMeta;
use super::unknown_field::UnknownField;
use super::{Decoded, Reader, path, suggest, typed};
use crate::undecodable::Undecodable;
use crate::validate::Violation;
use crate::{Kind, Object};

/// Place of a document.
pub(super) struct Source<'a> {
    /// Its first line, from 1.
    pub(super) line: usize,
    /// The line of a field, where it can be found.
    pub(super) find_line: &'a dyn Fn(&str) -> Option<usize>,
}

/// Hands the objects of one document, and its errors, to the reader.
pub(super) fn decode(mut value: Value, source: &Source<'_>, reader: &mut Reader<'_>) {
    drop_nulls(&mut value);
    if value != Value::Null {
        decode_item(value, "", 0, source, reader);
    }
}

/// Kubernetes prunes nulls from fields that are not nullable, which is all of them here, before it
/// applies defaults.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn decode_item(value: Value, root: &str, depth: usize, source: &Source<'_>, reader: &mut Reader<'_>) {
    let found = match value {
        Value::Object(mut fields) => {
            let is_list = fields.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
            if is_list && let Some(Value::Array(items)) = fields.remove("items") {
                return decode_list(&fields, items, root, depth, source, reader);
            }
            return decode_object(fields, root, source, reader);
        }
        Value::Array(_) => "a list",
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => "nothing",
    };
    let error = ParseError::of_input(reader.origin, Problem::NotAnObject(found));
    reader.fail(located(error, root, source));
}

fn decode_list(
    list: &Map<String, Value>,
    items: Vec<Value>,
    root: &str,
    depth: usize,
    source: &Source<'_>,
    reader: &mut Reader<'_>,
) {
    if depth > 1 {
        let error = ParseError::of_input(reader.origin, Problem::NestedList);
        return reader.fail(located(error, root, source));
    }
    for (index, mut item) in items.into_iter().enumerate() {
        if !reader.has_room() {
            return;
        }
        // The items of a typed list, such as an HTTPRouteList, may leave out what the list says.
        if let Value::Object(fields) = &mut item {
            let kind = list.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
            if let (Some(kind), false) = (kind.filter(|kind| !kind.is_empty()), fields.contains_key("kind")) {
                fields.insert("kind".to_owned(), kind.into());
                if let Some(version) = list.get("apiVersion") {
                    fields.entry("apiVersion").or_insert_with(|| version.clone());
                }
            }
        }
        decode_item(item, &path::join(root, &format!("items[{index}]")), depth + 1, source, reader);
    }
}

/// An error at a path, with the line of that path or else of the document.
fn located(error: ParseError, path: &str, source: &Source<'_>) -> ParseError {
    let line = (source.find_line)(path).unwrap_or(source.line);
    let path = (!path.is_empty()).then(|| path.to_owned());
    ParseError { line: Some(line), path, ..error }
}

fn decode_object(fields: Map<String, Value>, root: &str, source: &Source<'_>, reader: &mut Reader<'_>) {
    let identity = identity(&fields, reader.origin);
    let named = identity.api_version.as_deref().zip(identity.kind.as_deref());
    if let Some(advice) = named.and_then(|(api_version, kind)| foreign::judge(api_version, kind)) {
        return reader.parsed.foreign.push(ForeignObject {
            api_version: identity.api_version.unwrap_or_default(),
            kind: identity.kind.unwrap_or_default(),
            namespace: identity.namespace,
            name: identity.name,
            line: source.line,
            advice,
        });
    }
    let copy = reader.keeps_undecodable.then(|| Value::Object(fields.clone()));
    let mut ignored = Vec::new();
    match typed_object(fields, reader, &mut ignored) {
        Ok(object) => {
            for field in &mut ignored {
                field.path = path::join(root, &field.path);
                field.line = (source.find_line)(&field.path).unwrap_or(source.line);
            }
            reader.parsed.objects.push(Decoded { object, ignored, line: source.line });
        }
        Err(failures) => {
            let error = |(field, problem): &(String, Problem)| ParseError {
                path: Some(field.clone()).filter(|field| !field.is_empty()),
                problem: problem.clone(),
                ..identity.clone()
            };
            let errors: Vec<ParseError> = failures.iter().map(error).collect();
            reader.parsed.undecodable.extend(copy.and_then(|copy| Undecodable::new(&copy, reader.namespace, &errors)));
            for (field, problem) in failures {
                let error = ParseError { problem, ..identity.clone() };
                reader.fail(located(error, &path::join(root, &field), source));
            }
        }
    }
}

/// The object's name for errors, whatever else is wrong with it.
fn identity(fields: &Map<String, Value>, origin: &str) -> ParseError {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let metadata = fields.get("metadata");
    ParseError {
        api_version: text(fields.get("apiVersion")),
        kind: text(fields.get("kind")),
        namespace: text(metadata.and_then(|meta| meta.get("namespace"))),
        name: text(metadata.and_then(|meta| meta.get("name"))),
        ..ParseError::of_input(origin, Problem::Missing)
    }
}

/// Failures of one object, each with its field's path.
pub(super) type Failures = Vec<(String, Problem)>;

fn typed_object(fields: Map<String, Value>, reader: &Reader<'_>, ignored: &mut Vec<UnknownField>) -> Result<Object, Failures> {
    let one = |field: &str, problem| vec![(field.to_owned(), problem)];
    let text = |field: &'static str| match fields.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(one(field, Problem::Value(format!("expected a text, found {other}")))),
        None => Err(one(field, Problem::Missing)),
    };
    let (api_version, kind_name) = (text("apiVersion")?, text("kind")?);
    let (kind, version) = find_kind(&api_version, &kind_name).map_err(|problem| {
        let field = if matches!(problem, Problem::UnknownVersion { .. }) { "apiVersion" } else { "kind" };
        one(field, problem)
    })?;

    let metadata = fields.get("metadata").cloned().unwrap_or(Value::Object(Map::new()));
    let raw: RawMeta = typed::field(metadata, "metadata", ignored)?;
    let meta = raw.checked(kind, reader.namespace).map_err(|(field, why)| one(field, Problem::Value(why)))?;
    if !kind.is_namespaced() && fields.get("metadata").is_some_and(|meta| meta.get("namespace").is_some()) {
        ignored.push(UnknownField::named("metadata.namespace"));
    }

    let object = typed::object(kind, version, meta, fields, ignored)?;
    let misunderstood: Failures = ignored.iter().filter(|field| guards(kind, &field.path)).map(misunderstood).collect();
    if !misunderstood.is_empty() {
        return Err(misunderstood);
    }
    let violations = object.validate(version);
    if violations.is_empty() {
        return Ok(object);
    }
    Err(violations.into_iter().map(|Violation { path, message }| (path, Problem::Rule(message))).collect())
}

/// Whether a field is of what keeps clients out: without it a policy may mean something else.
fn guards(kind: Kind, path: &str) -> bool {
    match kind {
        Kind::SecurityPolicy => path.starts_with("spec."),
        Kind::BackendTrafficPolicy => path.starts_with("spec.rateLimit."),
        _ => false,
    }
}

fn misunderstood(field: &UnknownField) -> (String, Problem) {
    let hint = field.meant.map(|meant| format!(": did you mean {meant}?")).unwrap_or_default();
    (field.path.clone(), Problem::UnknownField { hint })
}

/// The kind and the version that `apiVersion` and `kind` name.
fn find_kind<'a>(api_version: &'a str, kind: &str) -> Result<(Kind, &'a str), Problem> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let Some(found) = Kind::find(group, kind) else {
        return Err(Problem::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            hint: suggest::hint(api_version, kind),
        });
    };
    let served = found.versions(group);
    if served.contains(&version) {
        return Ok((found, version));
    }
    let prefix = if group.is_empty() { String::new() } else { format!("{group}/") };
    let served: Vec<String> = served.iter().map(|version| format!("{prefix}{version}")).collect();
    Err(Problem::UnknownVersion { api_version: api_version.to_owned(), kind: found.name(), served: served.join(" or ") })
}
