//! Pre-tokenizers: a text to the words within which bytes are paired.

use std::{borrow::Cow, ops::Range};

use serde_json::Value;

use super::{document::Step, pattern::Pattern};
use crate::FileError;

/// GPT-2's words, which `ByteLevel` splits by.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// A step of splitting.
#[derive(Debug)]
pub(super) enum Splitter {
    /// At matches of an expression.
    Pattern { pattern: Pattern, inverted: bool, behavior: Behavior },
    /// At digits, each alone or all that follow each other.
    Digits(Behavior),
    /// Puts a blank before the text if there is none.
    PrefixBlank,
    /// Puts a character in the place of blanks, and splits before each.
    Metaspace { replacement: char, prepends: Prepends, splits: bool },
}

/// Place of a match among the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behavior {
    Removed,
    Isolated,
    Contiguous,
    MergedWithPrevious,
    MergedWithNext,
}

/// Texts that begin with a blank in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prepends {
    All,
    First,
    None,
}

/// All steps, and whether the words are bytes for the model.
#[derive(Debug, Default)]
pub(super) struct PreTokenizer {
    pub(super) splitters: Vec<Splitter>,
    pub(super) is_byte_level: bool,
}

impl PreTokenizer {
    pub(super) fn new(step: Option<&Step>) -> Result<Self, FileError> {
        let mut all = Self::default();
        if let Some(step) = step {
            all.add(step, "pre_tokenizer")?;
        }
        Ok(all)
    }

    fn add(&mut self, step: &Step, field: &str) -> Result<(), FileError> {
        let text = |name: &str| step.get(name).and_then(Value::as_str);
        let flag = |name: &str, default: bool| step.get(name).and_then(Value::as_bool).unwrap_or(default);
        let refused = |what: &str| Err(super::unsupported(format!("{field}.type"), what));
        match text("type").unwrap_or_default() {
            // Bytes come last: an expression after them would be about other characters.
            kind if self.is_byte_level => return refused(&format!("{kind} after ByteLevel")),
            "Sequence" => {
                for (place, step) in step.get("pretokenizers").and_then(Value::as_array).into_iter().flatten().enumerate() {
                    let field = format!("{field}.pretokenizers[{place}]");
                    self.add(step.as_object().ok_or_else(|| super::unsupported(field.clone(), "no object"))?, &field)?;
                }
            }
            "Split" => self.splitters.push(split(step, field)?),
            "Digits" => {
                let individual = flag("individual_digits", false);
                self.splitters.push(Splitter::Digits(if individual { Behavior::Isolated } else { Behavior::Contiguous }));
            }
            "ByteLevel" => {
                if flag("add_prefix_space", true) {
                    self.splitters.push(Splitter::PrefixBlank);
                }
                if flag("use_regex", true) {
                    let Some(pattern) = Pattern::new(GPT2) else { return refused("ByteLevel") };
                    self.splitters.push(Splitter::Pattern { pattern, inverted: false, behavior: Behavior::Isolated });
                }
                self.is_byte_level = true;
            }
            "Metaspace" => {
                let replacement = text("replacement").and_then(|text| text.chars().next()).unwrap_or('▁');
                let prepends = match (text("prepend_scheme"), flag("add_prefix_space", true)) {
                    (Some("never"), _) | (None, false) => Prepends::None,
                    (Some("first"), _) => Prepends::First,
                    _ => Prepends::All,
                };
                self.splitters.push(Splitter::Metaspace { replacement, prepends, splits: flag("split", true) });
            }
            other => return refused(other),
        }
        Ok(())
    }

    /// Hands the words of a text to `take`, in their order. `starts`: the text begins the prompt.
    pub(super) fn words(&self, text: &str, starts: bool, take: &mut dyn FnMut(&str)) {
        apply(&self.splitters, text, starts, take);
    }
}

fn split(step: &Step, field: &str) -> Result<Splitter, FileError> {
    let named = |name: &str| step.get("pattern").and_then(|it| it.get(name)).and_then(Value::as_str);
    let pattern = match (named("String"), named("Regex")) {
        (Some(text), _) => Pattern::literal(text),
        (_, Some(expression)) => Pattern::new(expression),
        _ => None,
    };
    let shown = || named("Regex").or(named("String")).unwrap_or("no pattern").to_owned();
    let pattern = pattern.ok_or_else(|| super::unsupported(format!("{field}.pattern"), &shown()))?;
    let behavior = match step.get("behavior").and_then(Value::as_str).unwrap_or_default() {
        "Removed" => Behavior::Removed,
        "Isolated" => Behavior::Isolated,
        "Contiguous" => Behavior::Contiguous,
        "MergedWithPrevious" => Behavior::MergedWithPrevious,
        "MergedWithNext" => Behavior::MergedWithNext,
        other => return Err(super::unsupported(format!("{field}.behavior"), other)),
    };
    let inverted = step.get("invert").and_then(Value::as_bool).unwrap_or(false);
    Ok(Splitter::Pattern { pattern, inverted, behavior })
}

fn apply(splitters: &[Splitter], text: &str, starts: bool, take: &mut dyn FnMut(&str)) {
    let Some((splitter, rest)) = splitters.split_first() else {
        if !text.is_empty() {
            take(text);
        }
        return;
    };
    let mut at_start = starts;
    let mut next = |part: &str| apply(rest, part, std::mem::take(&mut at_start), &mut *take);
    match splitter {
        Splitter::Pattern { pattern, inverted, behavior } => {
            parts(text, *inverted, *behavior, |from| pattern.find(text, from), &mut next);
        }
        Splitter::Digits(behavior) => parts(text, false, *behavior, |from| digit(text, from), &mut next),
        Splitter::PrefixBlank => next(&prefixed(text, ' ', !text.starts_with(' '))),
        Splitter::Metaspace { replacement, prepends, splits } => {
            let mut buffer = [0; 4];
            let replaced = text.replace(' ', replacement.encode_utf8(&mut buffer));
            let prepends = *prepends == Prepends::All || *prepends == Prepends::First && starts;
            let replaced = prefixed(&replaced, *replacement, prepends && !replaced.starts_with(*replacement));
            let found = |from: usize| {
                let start = from + replaced[from..].find(*replacement)?;
                Some((start, start + replacement.len_utf8()))
            };
            match splits {
                true => parts(&replaced, false, Behavior::MergedWithNext, found, &mut next),
                false => next(&replaced),
            }
        }
    }
}

fn prefixed(text: &str, character: char, is_missing: bool) -> Cow<'_, str> {
    if is_missing { format!("{character}{text}").into() } else { text.into() }
}

fn digit(text: &str, from: usize) -> Option<(usize, usize)> {
    let (place, digit) = text[from..].char_indices().find(|(_, character)| character.is_numeric())?;
    Some((from + place, from + place + digit.len_utf8()))
}

/// Hands on the parts of a text, between matches and at them.
fn parts(
    text: &str,
    inverted: bool,
    behavior: Behavior,
    mut find: impl FnMut(usize) -> Option<(usize, usize)>,
    take: &mut dyn FnMut(&str),
) {
    let mut parts = Parts { text, behavior, last: None, was_match: false, take };
    let mut at = 0;
    while let Some((from, to)) = find(at) {
        if from > at {
            parts.push(at..from, inverted);
        }
        parts.push(from..to, !inverted);
        at = to;
    }
    if at < text.len() {
        parts.push(at..text.len(), inverted);
    }
    parts.end();
}

/// Parts of a text.
struct Parts<'a> {
    text: &'a str,
    behavior: Behavior,
    /// The one that the next may join.
    last: Option<Range<usize>>,
    was_match: bool,
    take: &'a mut dyn FnMut(&str),
}

impl Parts<'_> {
    fn push(&mut self, part: Range<usize>, is_match: bool) {
        let joins = match self.behavior {
            Behavior::Removed | Behavior::Isolated => false,
            Behavior::Contiguous => is_match == self.was_match,
            Behavior::MergedWithPrevious => is_match && !self.was_match,
            Behavior::MergedWithNext => !is_match && self.was_match,
        };
        match &mut self.last {
            Some(last) if joins => last.end = part.end,
            _ => {
                self.end();
                self.last = (!is_match || self.behavior != Behavior::Removed).then_some(part);
            }
        }
        self.was_match = is_match;
    }

    fn end(&mut self) {
        if let Some(last) = self.last.take() {
            (self.take)(&self.text[last]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_go_where_the_behavior_says() {
        let split = |behavior| {
            let (text, mut all) = ("-a-final--b-", Vec::new());
            let found = |from: usize| text[from..].find('-').map(|at| (from + at, from + at + 1));
            parts(text, false, behavior, found, &mut |part| all.push(part.to_owned()));
            all.join(" ")
        };
        assert_eq!(split(Behavior::Removed), "a final b");
        assert_eq!(split(Behavior::Isolated), "- a - final - - b -");
        assert_eq!(split(Behavior::Contiguous), "- a - final -- b -");
        assert_eq!(split(Behavior::MergedWithPrevious), "- a- final- - b-");
        assert_eq!(split(Behavior::MergedWithNext), "-a -final - -b -");
    }
}
