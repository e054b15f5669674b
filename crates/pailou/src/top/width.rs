//! Columns of a terminal that texts take: two for most characters of East Asia, none for a combining one.

use unicode_width::UnicodeWidthChar as _;

/// Columns of a text.
pub(super) fn of(text: &str) -> usize {
    text.chars().map(of_character).sum()
}

/// The beginning of a text that takes at most so many columns.
pub(super) fn cut(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, character)| {
        taken += of_character(*character);
        taken > columns
    });
    end.map_or(text, |(end, _)| &text[..end])
}

fn of_character(character: char) -> usize {
    character.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_character_takes_two_columns_or_is_left_out() {
        assert_eq!((of("größe"), of("模型"), of("e\u{301}")), (5, 4, 1));
        assert_eq!((cut("a模型", 3), cut("a模型", 2), cut("a模型", 9), cut("e\u{301}x", 1)), ("a模", "a", "a模型", "e\u{301}"));
    }
}
