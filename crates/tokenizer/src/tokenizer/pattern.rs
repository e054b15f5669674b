//! Regular expressions of pre-tokenizers, in time that grows with the text alone.
//!
//! They are written for engines that look around and go back. Those in use do so in one place: `\s+(?!\S)` leaves the last blank of several to the
//! word after them. That is done here by hand, and an expression with more of the kind is refused.

use regex_automata::{Input, PatternID, meta::Regex};

/// The end of nearly all such expressions.
const BLANKS: &str = r"|\s+(?!\S)|\s+";
/// Parts that forbid going back where nothing could be found by it, and the same without.
const POSSESSIVE: [(&str, &str); 3] = [
    (r"[^\r\n\p{L}\p{N}]?+\p{L}", r"[^\r\n\p{L}\p{N}]?\p{L}"),
    (r"[^\s\p{L}\p{N}]++[\r\n]*", r"[^\s\p{L}\p{N}]+[\r\n]*"),
    (r"\p{N}{1,3}+|", r"\p{N}{1,3}|"),
];

/// An expression.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// The part that matches blanks of which the last may be left.
    blanks: Option<PatternID>,
}

impl Pattern {
    /// An expression of Oniguruma's syntax; `None` where it needs more than is done here.
    pub(super) fn new(expression: &str) -> Option<Self> {
        let plain = POSSESSIVE.iter().fold(expression.to_owned(), |text, (from, to)| text.replace(from, to));
        if is_foreign(&plain) {
            return None;
        }
        Some(match plain.strip_suffix(BLANKS) {
            Some(words) => Self { regex: Regex::new_many(&[words, r"\s+"]).ok()?, blanks: Some(PatternID::must(1)) },
            None => Self { regex: Regex::new(&plain).ok()?, blanks: None },
        })
    }

    /// An expression that matches a text.
    pub(super) fn literal(text: &str) -> Option<Self> {
        Some(Self { regex: Regex::new(&regex::escape(text)).ok()?, blanks: None })
    }

    /// The first match from a place on; none that is empty.
    pub(super) fn find(&self, text: &str, mut from: usize) -> Option<(usize, usize)> {
        while from <= text.len() {
            let found = self.regex.find(Input::new(text).range(from..))?;
            let (start, mut end) = (found.start(), found.end());
            if start == end {
                from = end + text[end..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            if Some(found.pattern()) == self.blanks && end < text.len() {
                let last = text[start..end].char_indices().next_back().map_or(0, |(place, _)| place);
                end = if last > 0 { start + last } else { end };
            }
            return Some((start, end));
        }
        None
    }
}

/// Whether an expression has quantifiers that never go back, or anchors, which mean something else in Oniguruma.
fn is_foreign(expression: &str) -> bool {
    let (mut depth, mut before) = (0_u32, 'a');
    let mut characters = expression.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                // An escaped character is no quantifier, nor is a property's name.
                if matches!(characters.next(), Some('p' | 'P')) && characters.peek() == Some(&'{') {
                    characters.by_ref().find(|character| *character == '}');
                }
                before = 'a';
                continue;
            }
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '+' if depth == 0 && matches!(before, '+' | '*' | '?' | '}') => return true,
            '^' | '$' if depth == 0 => return true,
            _ => {}
        }
        before = character;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'t>(expression: &str, text: &'t str) -> Vec<&'t str> {
        let pattern = Pattern::new(expression).expect("an expression");
        let (mut parts, mut at) = (Vec::new(), 0);
        while let Some((start, end)) = pattern.find(text, at) {
            parts.push(&text[start..end]);
            at = end;
        }
        parts
    }

    #[test]
    fn the_last_of_several_blanks_is_left_to_the_word_after_them() {
        let words = r" ?\p{L}+|\s+(?!\S)|\s+";
        assert_eq!(split(words, "a   b \n"), ["a", "  ", " b", " \n"]);
        assert_eq!(split(words, "a\u{3000}\u{3000}b"), ["a", "\u{3000}", "\u{3000}", "b"]);
        assert_eq!(split("x*", "axxbx"), ["xx", "x"], "no empty match");
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        for expression in [r"(?<=a)b", r"a(?!b)", r"a++", r"\p{L}*+x", r"^a", r"a$", r"(?>a)", "("] {
            assert!(Pattern::new(expression).is_none(), "{expression}");
        }
        let cl100k =
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
        assert_eq!(split(cl100k, "It's  12345 !!\n\n"), ["It", "'s", " ", " ", "123", "45", " !!\n\n"]);
        assert!(Pattern::new(r"[^$+]\+|\$").is_some());
    }
}
