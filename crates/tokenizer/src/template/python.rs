//! Values as Python writes them.

use std::fmt::Write as _;

use minijinja::{Error, ErrorKind, Output, State, Value, value::ValueKind};

use super::MAX_PROMPT_BYTES;

/// Deepest value that is written.
const MAX_DEPTH: usize = 64;
/// Longest text of a value, in bytes: a little more than that of a prompt.
const MAX_BYTES: usize = 2 * MAX_PROMPT_BYTES;

/// Layout of JSON.
pub(super) struct JsonForm {
    /// Blanks for each level; `None`: all in one line.
    pub(super) indent: Option<usize>,
    /// Members are ordered by their names.
    pub(super) sorted: bool,
}

/// Writes a value as `str` in Python does.
pub(super) fn format(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Bool | ValueKind::None | ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
            let mut text = String::new();
            write_repr(&mut text, value, 0)?;
            Ok(output.write_str(&text)?)
        }
        _ => minijinja::escape_formatter(output, state, value),
    }
}

/// Writes a value as `repr` in Python does.
fn write_repr(text: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    check(depth, text)?;
    match value.kind() {
        ValueKind::None => text.push_str("None"),
        ValueKind::Bool => text.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => push_quoted(text, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            text.push('[');
            for (place, item) in value.try_iter()?.enumerate() {
                text.push_str(if place > 0 { ", " } else { "" });
                write_repr(text, &item, depth + 1)?;
            }
            text.push(']');
        }
        ValueKind::Map => {
            text.push('{');
            for (place, key) in value.try_iter()?.enumerate() {
                text.push_str(if place > 0 { ", " } else { "" });
                write_repr(text, &key, depth + 1)?;
                text.push_str(": ");
                write_repr(text, &value.get_item(&key)?, depth + 1)?;
            }
            text.push('}');
        }
        ValueKind::Number => push_number(text, value)?,
        _ => push(text, value)?,
    }
    Ok(())
}

/// Writes a value as `json.dumps(…, ensure_ascii=False)` does.
pub(super) fn write_json(text: &mut String, value: &Value, form: &JsonForm, depth: usize) -> Result<(), Error> {
    check(depth, text)?;
    match value.kind() {
        ValueKind::None => text.push_str("null"),
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::String => push_json_string(text, value.as_str().unwrap_or_default()),
        ValueKind::Number => push_number(text, value)?,
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_all(text, form, depth, ['[', ']'], &items, |text, item| write_json(text, item, form, depth + 1))?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if form.sorted {
                keys.sort();
            }
            write_all(text, form, depth, ['{', '}'], &keys, |text, key| {
                push_json_string(text, &key.to_string());
                text.push_str(": ");
                write_json(text, &value.get_item(key)?, form, depth + 1)
            })?;
        }
        other => return Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: {other} is no JSON"))),
    }
    Ok(())
}

fn write_all(
    text: &mut String,
    form: &JsonForm,
    depth: usize,
    [open, close]: [char; 2],
    items: &[Value],
    mut write: impl FnMut(&mut String, &Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |text: &mut String, depth: usize| {
        if let Some(indent) = form.indent.filter(|_| !items.is_empty()) {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent.min(16) * depth));
        }
    };
    text.push(open);
    for (place, item) in items.iter().enumerate() {
        match (place, form.indent) {
            (0, _) => {}
            (_, Some(_)) => text.push(','),
            (_, None) => text.push_str(", "),
        }
        line(text, depth + 1);
        write(text, item)?;
    }
    line(text, depth);
    text.push(close);
    Ok(())
}

/// Blanks before lines make much of a little: the text is bounded while it is written.
fn check(depth: usize, text: &str) -> Result<(), Error> {
    match depth > MAX_DEPTH || text.len() > MAX_BYTES {
        true => Err(Error::new(ErrorKind::InvalidOperation, "the value is too deep or too long")),
        false => Ok(()),
    }
}

/// Writes a number as Python does: 1e-07, 1e+16, 0.1.
fn push_number(text: &mut String, value: &Value) -> Result<(), Error> {
    let Some(number) = f64::try_from(value.clone()).ok().filter(|number| !value.is_integer() && number.is_finite()) else {
        return push(text, value);
    };
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return push(text, value) };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    match exponent {
        -4..16 => text.push_str(&format!("{number:?}")),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            text.push_str(&format!("{digits}e{sign}{:02}", exponent.unsigned_abs()));
        }
    }
    Ok(())
}

fn push(text: &mut String, value: &Value) -> Result<(), Error> {
    write!(text, "{value}").map_err(|_| Error::new(ErrorKind::InvalidOperation, "the value has no text"))
}

fn push_json_string(text: &mut String, content: &str) {
    text.push('"');
    for character in content.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\0'..'\u{20}' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => text.push(character),
        }
    }
    text.push('"');
}

/// Python's quotes: single ones unless the text has such and no double ones.
fn push_quoted(text: &mut String, content: &str) {
    let quote = if content.contains('\'') && !content.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for character in content.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            _ if character == quote => text.extend(['\\', character]),
            '\0'..'\u{20}' | '\u{7f}' => text.push_str(&format!("\\x{:02x}", u32::from(character))),
            _ => text.push(character),
        }
    }
    text.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &str, indent: Option<usize>) -> Result<String, Error> {
        let value: Value = serde_json::from_str(value).expect("JSON");
        let mut text = String::new();
        write_json(&mut text, &value, &JsonForm { indent, sorted: false }, 0)?;
        Ok(text)
    }

    #[test]
    fn numbers_are_written_as_python_does() {
        let numbers = "[1, -2, 1.0, 0.1, 1e-5, 0.0001, 1e16, 1.5e300, 123456789012345.6, 1e15, -0.0, 18446744073709551615]";
        let expected =
            "[1, -2, 1.0, 0.1, 1e-05, 0.0001, 1e+16, 1.5e+300, 123456789012345.6, 1000000000000000.0, -0.0, 18446744073709551615]";
        assert_eq!(json(numbers, None).expect("numbers"), expected);
    }

    /// The text had 130 bytes for each of the value.
    #[test]
    fn blanks_before_lines_are_bounded_while_they_are_written() {
        let nested = format!("{}{}{}", "[".repeat(40), "1,".repeat(100_000) + "1", "]".repeat(40));
        assert!(json(&nested, Some(16)).is_err());
        assert!(json(&nested, None).is_ok());
    }
}
