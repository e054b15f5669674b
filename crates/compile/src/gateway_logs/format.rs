//! Forms of lines: texts and objects with Envoy's command operators.

use pailou_api::envoy::access_log::{AccessLogFormat, AccessLogFormatType};
use pailou_snapshot::{Captured, LogFormat, LogPart, LogText};

use super::{default_format::default_format, operators};

/// Longest text, in bytes, and most members of an object.
const MAX_TEXT: usize = 16 << 10;
const MAX_MEMBERS: usize = 128;
/// Most parts of a text.
const MAX_PARTS: usize = 256;

/// Reads a form; Envoy Gateway's where there is none.
///
/// # Errors
/// The field below `format`, and what is wrong with it.
pub(super) fn read(format: Option<&AccessLogFormat>, captured: &mut Captured) -> Result<LogFormat, String> {
    let Some(AccessLogFormat { kind, text, json }) = format else { return Ok(default_format(captured)) };
    match (kind, text, json) {
        (None | Some(AccessLogFormatType::Text), Some(text), None) => {
            log_text(text, captured).map(LogFormat::Text).map_err(|error| format!(".text: {error}"))
        }
        (None | Some(AccessLogFormatType::Json), None, Some(json)) => {
            let members_of = json.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            members(members_of, captured).map(LogFormat::Json).map_err(|error| format!(".json{error}"))
        }
        (None, None, None) => Ok(default_format(captured)),
        (Some(AccessLogFormatType::Text), _, _) => Err(": set `text` alone where the type is Text".to_owned()),
        (Some(AccessLogFormatType::Json), _, _) => Err(": set `json` alone where the type is JSON".to_owned()),
        (None, Some(_), Some(_)) => Err(": set `text` or `json`, not both".to_owned()),
    }
}

/// Reads members of an object.
///
/// # Errors
/// The first that cannot be read.
pub(super) fn members(all: Vec<(&str, &str)>, captured: &mut Captured) -> Result<Vec<(Box<str>, LogText)>, String> {
    if all.len() > MAX_MEMBERS {
        return Err(format!(": {} members, but {MAX_MEMBERS} are the most", all.len()));
    }
    all.into_iter()
        .map(|(name, value)| Ok((name.into(), log_text(value, captured).map_err(|error| format!("[{name:?}]: {error}"))?)))
        .collect()
}

/// Reads a text with command operators; `%%` is a percent sign.
///
/// # Errors
/// An operator is unknown, or the text is too long.
pub(crate) fn log_text(text: &str, captured: &mut Captured) -> Result<LogText, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("is longer than {MAX_TEXT} bytes"));
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let (operator, after) = operators::split(after).ok_or("a percent sign begins no operator; write it as %%")?;
        let part = operators::read(&operator, captured)?;
        if !literal.is_empty() {
            parts.push(LogPart::Text(std::mem::take(&mut literal).into()));
        }
        parts.push(LogPart::Operator(part, operator.length));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(LogPart::Text(literal.into()));
    }
    if parts.len() > MAX_PARTS {
        return Err(format!("has more than {MAX_PARTS} parts"));
    }
    Ok(LogText(parts))
}
