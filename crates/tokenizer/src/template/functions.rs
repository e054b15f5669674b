//! Functions and filters that `transformers` gives chat templates.

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};
use minijinja::{Environment, Error, ErrorKind, State, Value, value::Kwargs};

use super::python;

pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_function("raise_exception", raise);
    environment.add_function("strftime_now", now);
    environment.add_filter("tojson", to_json);
}

fn raise(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The time in UTC, as engines in containers have it.
fn now(format: &str) -> Result<String, Error> {
    let time = Timestamp::now().to_zoned(TimeZone::UTC);
    strtime::format(format, &time).map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// JSON as Python's `json.dumps` writes it, with characters beyond ASCII as they are.
fn to_json(state: &mut State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let separators: Option<Value> = options.get("separators")?;
    options.assert_all_used()?;
    if ascii == Some(true) || separators.is_some_and(|it| !it.is_none()) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: ensure_ascii and separators are not supported"));
    }
    let mut text = String::new();
    python::write_json(&mut text, value, &python::JsonForm { indent, sorted: sorted.unwrap_or(false) }, 0)?;
    state.consume_fuel(text.len() as u64 / 64)?;
    Ok(text.into())
}
