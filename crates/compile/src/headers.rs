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
            let (name, value) = (header_name(&field.name)?, header_value(&field.value)?);
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
    let wrong = |_| Problem::accepted("UnsupportedValue", format!("{name:?} is no header name"));
    HeaderName::from_bytes(name.as_bytes()).map_err(wrong)
}

/// A header's value.
pub(crate) fn header_value(value: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(value).map_err(|_| Problem::accepted("UnsupportedValue", format!("{value:?} cannot stand in a header")))
}
