//! Regular expressions of pre-tokenizers, in time that grows with the text alone.
//!
//! They are written for engines that look around and go back. Those in use do so in one place: `\s+(?!\S)` leaves the last blank of
//! several to the word after them. That is done here by hand, and an expression with more of the kind is refused.

use regex_automata::{Input, PatternID, meta::Regex};

/// The end of nearly all such expressions.
const BLANKS: &str = r"|\s+(?!\S)|\s+";
/// Parts that forbid going back where nothing could be found by it, and the same without.
const POSSESSIVE: [(&str, &str); 2] =
    [(r"[^\r\n\p{L}\p{N}]?+\p{L}", r"[^\r\n\p{L}\p{N}]?\p{L}"), (r"[^\s\p{L}\p{N}]++[\r\n]*", r"[^\s\p{L}\p{N}]+[\r\n]*")];

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
        let words = plain.strip_suffix(BLANKS);
        if is_foreign(words.unwrap_or(&plain)) {
            return None;
        }
        Some(match words {
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

/// Whether an expression has something that means something else in Oniguruma, as its Ruby syntax has it: quantifiers that never go
/// back, lines' ends, a class of ASCII, options within. `{1,3}+` repeats in both.
pub(super) fn is_foreign(expression: &str) -> bool {
    let (mut depth, mut before) = (0_u32, 'a');
    let has_option = expression.match_indices("(?").any(|(place, _)| {
        let option = &expression[place + 2..];
        let is_known = option.starts_with(':') || option.starts_with("i:") || place == 0 && option.starts_with("i)");
        !is_known && !expression[..place].ends_with('\\')
    });
    if has_option || expression.contains("[:") && expression.contains(":]") || has_optional_count(expression) {
        return true;
    }
    let mut characters = expression.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                // An escaped character is no quantifier, nor is a property's name.
                match characters.next() {
                    Some('p' | 'P') if characters.peek() == Some(&'{') => {
                        characters.by_ref().find(|character| *character == '}');
                    }
                    // The beginning and the end of a word, and those brackets there.
                    Some('<' | '>') => return true,
                    _ => {}
                }
                before = 'a';
                continue;
            }
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '+' if depth == 0 && matches!(before, '+' | '*' | '?') => return true,
            '^' | '$' if depth == 0 => return true,
            _ => {}
        }
        before = character;
    }
    false
}

/// Whether a count such as `{2}` is followed by `?`: there it may be left out, here it is lazy.
fn has_optional_count(expression: &str) -> bool {
    expression.match_indices("}?").any(|(end, _)| {
        let count = expression[..end].rsplit_once('{').map_or("", |(_, count)| count);
        !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit())
    })
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

    /// As `tokenizers` splits them.
    #[test]
    fn a_count_that_is_repeated_has_no_end() {
        assert_eq!(split(r"\p{N}{1,3}+|x", "1234567x12"), ["1234567", "x", "12"]);
        assert_eq!(split(r"\p{N}{1,3}?", "123"), ["1", "2", "3"]);
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        let foreign = [
            r"(?<=a)b",
            r"a(?!b)",
            r"a++",
            r"\p{L}*+x",
            r"^a",
            r"a$",
            r"(?>a)",
            "(",
            r"a(?i)b|c",
            r"(?m)a.",
            r"(?i-m:a)",
            r"[[:alpha:]]+",
            r"\p{N}{2}?",
            r"\<a",
        ];
        for expression in foreign {
            assert!(Pattern::new(expression).is_none(), "{expression}");
        }
        let cl100k =
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
        assert_eq!(split(cl100k, "It's  12345 !!\n\n"), ["It", "'s", " ", " ", "123", "45", " !!\n\n"]);
        assert!(Pattern::new(r"[^$+]\+|\$").is_some());
        assert!(Pattern::new(r"(?i)b|c").is_some() && Pattern::new(r"\p{L}?x").is_some());
    }
}
