//! Headers and edits of them.

use http::{HeaderName, HeaderValue};

use crate::{
    status::Problem,
    string_match::{string_match, value_match},
    template,
};
use pailou_api::{
    envoy::{client_headers::HeaderModifier, string_match::StringMatchType},
    header_filter::{HeaderFilter, HttpHeader},
};
use pailou_snapshot::{HeaderAction, HeaderEdit, TemplateEdit};

/// Edits of headers.
pub(crate) fn edit_of(spec: &HeaderFilter) -> Result<HeaderEdit, Problem> {
    header_edit(&spec.set, &spec.add, &spec.remove)
}

/// Edits of headers from their three lists.
pub(crate) fn header_edit(set: &[HttpHeader], add: &[HttpHeader], remove: &[String]) -> Result<HeaderEdit, Problem> {
    let mut edit =
        HeaderEdit { remove: remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?, ..HeaderEdit::default() };
    values(&mut edit, set, HeaderAction::Set)?;
    values(&mut edit, add, HeaderAction::Add)?;
    Ok(edit)
}

/// Edits of a ClientTrafficPolicy.
pub(crate) fn client_edit(spec: &HeaderModifier) -> Result<HeaderEdit, Problem> {
    let mut edit = header_edit(&spec.set, &spec.add, &spec.remove)?;
    values(&mut edit, &spec.add_if_absent, HeaderAction::AddIfAbsent)?;
    let names = spec.remove_on_match.iter().map(|name| match name.kind {
        StringMatchType::RegularExpression => string_match(name),
        // Names are in lower case.
        kind => value_match(kind, &name.value.to_ascii_lowercase()),
    });
    let names = names.collect::<Result<_, _>>();
    edit.remove_matching = names.map_err(|message| Problem::accepted("UnsupportedValue", format!("removeOnMatch: {message}")))?;
    Ok(edit)
}

fn values(edit: &mut HeaderEdit, fields: &[HttpHeader], action: HeaderAction) -> Result<(), Problem> {
    for field in fields {
        let (name, value) = (header_name(&field.name)?, header_value(&field.name, &field.value)?);
        if let Some(value) = template::lenient(&field.value) {
            edit.templates.push(TemplateEdit { name, value, action });
            continue;
        }
        match action {
            HeaderAction::Set => edit.set.push((name, value)),
            HeaderAction::Add => edit.add.push((name, value)),
            HeaderAction::AddIfAbsent => edit.add_if_absent.push((name, value)),
        }
    }
    Ok(())
}

/// A header's name in lower case.
pub(crate) fn header_name(name: &str) -> Result<HeaderName, Problem> {
    let wrong = |message| Problem::accepted("UnsupportedValue", message);
    // The object's own type says what is wrong, and quotes no value that stands beside the name.
    let name = pailou_api::HeaderName::try_from(name).map_err(|error| wrong(error.to_string()))?;
    HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(format!("{name:?} is no header name: {error}")))
}

/// A value of the header of this name. The error does not quote it: it may be a credential.
pub(crate) fn header_value(name: &str, value: &str) -> Result<HeaderValue, Problem> {
    let wrong =
        |_| Problem::accepted("UnsupportedValue", format!("the value of {name}, which is not shown, cannot stand in a header"));
    HeaderValue::from_str(value).map_err(wrong)
}
