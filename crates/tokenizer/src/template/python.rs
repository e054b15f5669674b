//! Values as Python writes them.

use std::fmt::Write as _;

use minijinja::{Error, ErrorKind, Output, State, Value, value::ValueKind};

/// Deepest value that is written.
const MAX_DEPTH: usize = 64;

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
        ValueKind::Bool | ValueKind::None | ValueKind::Seq | ValueKind::Map => {
            let mut text = String::new();
            write_repr(&mut text, value, 0)?;
            Ok(output.write_str(&text)?)
        }
        _ => minijinja::escape_formatter(output, state, value),
    }
}

/// Writes a value as `repr` in Python does.
fn write_repr(text: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    check(depth)?;
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
        _ => push(text, value)?,
    }
    Ok(())
}

/// Writes a value as `json.dumps(…, ensure_ascii=False)` does.
pub(super) fn write_json(text: &mut String, value: &Value, form: &JsonForm, depth: usize) -> Result<(), Error> {
    check(depth)?;
    match value.kind() {
        ValueKind::None => text.push_str("null"),
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::String => push_json_string(text, value.as_str().unwrap_or_default()),
        ValueKind::Number => push(text, value)?,
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

fn check(depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH { Err(Error::new(ErrorKind::InvalidOperation, "the value is too deep")) } else { Ok(()) }
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
