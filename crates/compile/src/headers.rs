//! Headers and edits of them.

use http::{HeaderName, HeaderValue};

use crate::{status::Problem, template};
use pailou_api::header_filter::{HeaderFilter, HttpHeader};
use pailou_snapshot::{HeaderEdit, TemplateEdit};

/// Edits of headers.
pub(crate) fn edit_of(spec: &HeaderFilter) -> Result<HeaderEdit, Problem> {
    header_edit(&spec.set, &spec.add, &spec.remove)
}

/// Edits of headers from their three lists.
pub(crate) fn header_edit(set: &[HttpHeader], add: &[HttpHeader], remove: &[String]) -> Result<HeaderEdit, Problem> {
    let mut edit =
        HeaderEdit { remove: remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?, ..HeaderEdit::default() };
    for (fields, appends) in [(set, false), (add, true)] {
        for field in fields {
            let (name, value) = (header_name(&field.name)?, header_value(&field.name, &field.value)?);
            match (template::lenient(&field.value), appends) {
                (Some(value), _) => edit.templates.push(TemplateEdit { name, value, appends }),
                (None, false) => edit.set.push((name, value)),
                (None, true) => edit.add.push((name, value)),
            }
        }
    }
    Ok(edit)
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
