//! Added tokens: they are found before anything else, so that the texts between them are tokenized each by itself.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};

use super::{
    document::AddedToken,
    normalizer::{Normalizer, normalize},
};
use crate::{FileError, files};

/// Tokens that are looked for in a text.
#[derive(Debug, Default)]
pub(super) struct AddedTokens {
    finder: Option<AhoCorasick>,
    tokens: Vec<AddedToken>,
}

/// Part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Token(u32),
    /// A text, and its place.
    Text(&'t str, usize),
}

impl AddedTokens {
    /// Those that are found in a text as it comes, and those that are found once it is normalized.
    pub(super) fn both(all: &[AddedToken], normalizers: &[Normalizer]) -> Result<(Self, Self), FileError> {
        let (normalized, plain): (Vec<_>, Vec<_>) =
            all.iter().filter(|token| !token.content.is_empty()).cloned().partition(|token| token.normalized);
        let contents = normalized.iter().map(|token| normalize(normalizers, &token.content).into_owned()).collect();
        Ok((Self::new(plain.iter().map(|token| token.content.clone()).collect(), plain)?, Self::new(contents, normalized)?))
    }

    fn new(contents: Vec<String>, tokens: Vec<AddedToken>) -> Result<Self, FileError> {
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        let mut builder = AhoCorasickBuilder::new();
        // A table of all states would be the largest part of it.
        builder.match_kind(MatchKind::LeftmostLongest).kind(Some(AhoCorasickKind::ContiguousNFA));
        let finder = builder.build(&contents);
        let finder = finder.map_err(|error| FileError::Malformed(files::TOKENIZER, format!("added_tokens: {error}")))?;
        Ok(Self { finder: Some(finder), tokens })
    }

    pub(super) fn id(&self, content: &str) -> Option<u32> {
        self.tokens.iter().find(|token| token.content == content).map(|token| token.id)
    }

    /// Hands the parts of a text to `take`, in their order.
    pub(super) fn split<'t>(&self, text: &'t str, mut take: impl FnMut(Part<'t>)) {
        let mut at = 0;
        for found in self.finder.iter().flat_map(|finder| finder.find_iter(text)) {
            let token = &self.tokens[found.pattern().as_usize()];
            let (mut start, mut end) = (found.start(), found.end());
            if token.single_word && !(ends_word(&text[..start]) && ends_word_after(&text[end..])) {
                continue;
            }
            if token.lstrip {
                start = text[..start].trim_end().len().max(at);
            }
            if token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            if start > at {
                take(Part::Text(&text[at..start], at));
            }
            take(Part::Token(token.id));
            at = end;
        }
        if at < text.len() {
            take(Part::Text(&text[at..], at));
        }
    }
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn ends_word(before: &str) -> bool {
    !before.chars().next_back().is_some_and(is_of_word)
}

fn ends_word_after(after: &str) -> bool {
    !after.chars().next().is_some_and(is_of_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: u32, content: &str) -> AddedToken {
        AddedToken { id, content: content.into(), single_word: false, lstrip: false, rstrip: false, normalized: false }
    }

    #[test]
    fn the_longest_token_is_found_and_takes_blanks_and_words_as_it_says() {
        let all = [
            token(1, "<a>"),
            token(2, "<a><b>"),
            AddedToken { lstrip: true, rstrip: true, ..token(3, "<m>") },
            AddedToken { single_word: true, ..token(4, "end") },
        ];
        let (plain, _) = AddedTokens::both(&all, &[]).expect("tokens");
        let mut parts = Vec::new();
        plain.split("x <a><b><a>  <m> \ny ends the end", |part| parts.push(part));
        let expected =
            [Part::Text("x ", 0), Part::Token(2), Part::Token(1), Part::Token(3), Part::Text("y ends the ", 18), Part::Token(4)];
        assert_eq!(parts, expected);
    }
}
