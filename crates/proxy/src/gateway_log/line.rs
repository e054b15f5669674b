//! A line: a text, or an object of JSON.

use std::io::Write as _;

use pailou_snapshot::{LogFormat, LogPart, LogText};

use super::{
    facts::Facts,
    operator::{Value, value},
};
use crate::access_log::escape;

/// Longest value of an operator, in bytes.
const MAX_VALUE: usize = 16 << 10;

/// Appends the line of an event, with its end.
pub(super) fn write(line: &mut Vec<u8>, format: &LogFormat, facts: &Facts<'_>) {
    match format {
        LogFormat::Text(text) => {
            let text = shown(text, facts);
            line.extend_from_slice(text.trim_end_matches('\n').as_bytes());
        }
        LogFormat::Json(members) => {
            for (place, (name, text)) in members.iter().enumerate() {
                line.push(if place == 0 { b'{' } else { b',' });
                quoted(line, name);
                line.push(b':');
                member(line, text, facts);
            }
            line.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
        }
    }
    line.push(b'\n');
}

/// The value of a member: of one operator with its type, and `null` where it is absent, as Envoy writes them.
fn member(line: &mut Vec<u8>, text: &LogText, facts: &Facts<'_>) {
    let [LogPart::Operator(operator, length)] = text.0.as_slice() else { return quoted(line, &shown(text, facts)) };
    match value(operator, facts) {
        None => line.extend_from_slice(b"null"),
        Some(Value::Text(text)) => quoted(line, cut(&text, *length)),
        // Writing to a vector does not fail.
        Some(Value::Number(number)) => drop(write!(line, "{number}")),
        Some(Value::Amount(amount)) => drop(write!(line, "{amount}")),
    }
}

fn quoted(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    escape(line, text);
    line.push(b'"');
}

/// A text of a line: absent values are `-`.
pub(super) fn shown(text: &LogText, facts: &Facts<'_>) -> String {
    text_of(text, facts, "-")
}

/// A text with the values of its operators, and another text for those that are absent. Control characters of values become spaces, so that a
/// line stays one.
pub(crate) fn text_of(text: &LogText, facts: &Facts<'_>, absent: &str) -> String {
    let mut out = String::new();
    for part in &text.0 {
        match part {
            LogPart::Text(text) => out.push_str(text),
            LogPart::Operator(operator, length) => match value(operator, facts) {
                None => out.push_str(absent),
                Some(Value::Text(text)) => {
                    out.extend(cut(&text, *length).chars().map(|letter| if letter.is_control() { ' ' } else { letter }));
                }
                Some(Value::Number(number)) => out.push_str(cut(&number.to_string(), *length)),
                Some(Value::Amount(amount)) => out.push_str(cut(&amount.to_string(), *length)),
            },
        }
    }
    out
}

fn cut(text: &str, length: Option<usize>) -> &str {
    &text[..text.floor_char_boundary(length.unwrap_or(MAX_VALUE).min(MAX_VALUE))]
}
