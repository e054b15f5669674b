//! The rest of a line after a metric's name: labels and a value.

/// A sample without its name. Label values stay as they are written, escapes included: none that is read here has any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// The text between the braces.
    labels: &'a [u8],
    /// The value.
    pub(super) value: f64,
}

impl<'a> Sample<'a> {
    /// Reads `{labels} value [timestamp]`; `None` if it is not that.
    pub(super) fn parse(rest: &'a [u8]) -> Option<Self> {
        let (labels, rest) = match rest.trim_ascii_start().strip_prefix(b"{") {
            Some(inside) => inside.split_at_checked(closing_brace(inside)?).map(|(labels, rest)| (labels, &rest[1..]))?,
            None => (&[][..], rest),
        };
        let value = rest.trim_ascii_start().split(u8::is_ascii_whitespace).next()?;
        Some(Self { labels, value: std::str::from_utf8(value).ok()?.parse().ok()? })
    }

    /// A label's value.
    pub(super) fn label(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.labels;
        loop {
            let equals = memchr::memchr(b'=', rest)?;
            let found = rest[..equals].trim_ascii();
            let value = rest[equals + 1..].trim_ascii_start().strip_prefix(b"\"")?;
            let end = closing_quote(value)?;
            if found == name.as_bytes() {
                return Some(&value[..end]);
            }
            let after = value[end + 1..].trim_ascii_start();
            rest = after.strip_prefix(b",").unwrap_or(after);
        }
    }

    /// A label's value, if it is a number that is not negative.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let number: f64 = std::str::from_utf8(self.label(name)?).ok()?.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    }
}

/// End of a quoted text that has begun.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// End of labels that have begun; braces in quotes do not count.
fn closing_brace(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'}', text.get(at..)?)?;
        if text[at] == b'}' {
            return Some(at);
        }
        at += 1;
        at += closing_quote(text.get(at..)?)? + 1;
    }
}
