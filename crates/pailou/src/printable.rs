//! Text for a terminal. Names, values and errors come from files and from other programs: a character that a terminal would act on, or
//! that would begin a line of its own, is written as an escape.

use std::fmt::{self, Display, Write};

/// Shows a value as one line of printable characters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printable<T>(pub(crate) T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Writes text with escapes as Rust has them, such as `\n` and `\u{1b}`.
pub(crate) struct Escaping<'a, W>(pub(crate) &'a mut W);

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        while let Some((at, character)) = text.char_indices().find(|(_, character)| is_unprintable(*character)) {
            write!(self.0, "{}{}", &text[..at], character.escape_default())?;
            text = &text[at + character.len_utf8()..];
        }
        self.0.write_str(text)
    }
}

/// Escapes what JSON lets stand for itself within a text. Line feeds between values stay.
pub(crate) fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push(character),
            // JSON has escaped all others; those here have four digits.
            _ if is_unprintable(character) => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Control characters, and those that break lines or change the direction of text (Unicode's `Bidi_Control`).
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_to_act_on() {
        let shown = |text: &str| Printable(text).to_string();
        assert_eq!(shown("GatewayClass größe 模型"), "GatewayClass größe 模型");
        assert_eq!(shown("\u{1b}[2Ja\r\nb\u{9b}c\u{7f}"), r"\u{1b}[2Ja\r\nb\u{9b}c\u{7f}");
        assert_eq!(shown("admin\u{202e}nimda"), r"admin\u{202e}nimda");
    }

    #[test]
    fn json_stays_what_it_is() {
        let text = "a\u{9b}\u{7f}\u{2028}\u{1b}\n";
        let shown = json(&serde_json::to_string_pretty(&[text]).unwrap());
        assert_eq!(shown, "[\n  \"a\\u009b\\u007f\\u2028\\u001b\\n\"\n]");
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), [text]);
    }
}
