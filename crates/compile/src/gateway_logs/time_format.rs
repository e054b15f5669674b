//! Forms of times: `strftime` with Envoy's additions `%s`, `%f`, `%3f` and `%E3S`.

use jiff::{Timestamp, fmt::strtime};
use pailou_snapshot::{TimeFormat, TimePart};

/// Longest form, in bytes.
const MAX_FORM: usize = 256;

/// Reads a form; RFC 3339 to the millisecond where there is none.
///
/// # Errors
/// A specifier is unknown.
pub(super) fn time_format(form: Option<&str>) -> Result<TimeFormat, String> {
    let Some(form) = form.filter(|form| !form.is_empty()) else { return Ok(TimeFormat::Rfc3339) };
    if form.len() > MAX_FORM {
        return Err(format!("its form is longer than {MAX_FORM} bytes"));
    }
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = form;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let Some((before, part, length)) = specifier(after) else {
            let end = after.chars().next().map_or(0, char::len_utf8);
            plain.push('%');
            plain.push_str(&after[..end]);
            rest = &after[end..];
            continue;
        };
        plain.push_str(before);
        flush(&mut parts, &mut plain)?;
        parts.push(part);
        rest = &after[length..];
    }
    plain.push_str(rest);
    flush(&mut parts, &mut plain)?;
    Ok(TimeFormat::Parts(parts))
}

/// An addition of Envoy's at the beginning of what follows a percent sign: a text before it, itself, and its length. `None` for
/// specifiers of `strftime`.
fn specifier(text: &str) -> Option<(&'static str, TimePart, usize)> {
    let digits = |byte: u8| (b'1'..=b'9').contains(&byte).then_some(TimePart::Fraction(byte - b'0'));
    match *text.as_bytes() {
        [b's', ..] => Some(("", TimePart::UnixSeconds, 1)),
        [b'f', ..] => Some(("", TimePart::Fraction(9), 1)),
        [count, b'f', ..] => digits(count).map(|part| ("", part, 2)),
        [b'E', count, b'S', ..] => digits(count).map(|part| ("%S.", part, 3)),
        [b'E', count, b'f', ..] => digits(count).map(|part| ("", part, 3)),
        _ => None,
    }
}

fn flush(parts: &mut Vec<TimePart>, plain: &mut String) -> Result<(), String> {
    if plain.is_empty() {
        return Ok(());
    }
    let text = std::mem::take(plain);
    strtime::format(&text, Timestamp::UNIX_EPOCH).map_err(|_| format!("{text:?} has a specifier that is unknown"))?;
    parts.push(TimePart::Strftime(text.into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_have_envoys_additions() {
        let plain = |text: &str| TimePart::Strftime(text.into());
        for (form, expected) in [
            ("%Y/%m/%dT%H:%M:%S%z %s", vec![plain("%Y/%m/%dT%H:%M:%S%z "), TimePart::UnixSeconds]),
            ("%s.%3f", vec![TimePart::UnixSeconds, plain("."), TimePart::Fraction(3)]),
            ("%H:%E6SZ", vec![plain("%H:%S."), TimePart::Fraction(6), plain("Z")]),
            ("%f%%", vec![TimePart::Fraction(9), plain("%%")]),
        ] {
            assert_eq!(time_format(Some(form)), Ok(TimeFormat::Parts(expected)), "{form}");
        }
        assert_eq!(time_format(None), Ok(TimeFormat::Rfc3339));
        assert!(time_format(Some("%!")).is_err());
        assert!(time_format(Some("50%")).is_err());
    }
}
