//! Text of the simulated model: readable, and a function of seed and prompt alone.

use std::ops::Range;

use crate::tokenizer;

const WORDS: [&str; 64] = [
    "the", "gate", "stands", "over", "a", "quiet", "street", "and", "every", "request", "that", "passes", "under", "it", "finds",
    "its", "own", "way", "to", "one", "of", "many", "engines", "where", "tokens", "are", "counted", "in", "blocks", "while",
    "others", "wait", "for", "their", "turn", "as", "lanterns", "along", "river", "light", "each", "stone", "with", "patient",
    "care", "so", "nothing", "is", "lost", "between", "question", "answer", "morning", "market", "opens", "when", "bells", "ring",
    "twice", "then", "bridges", "carry", "small", "boats",
];

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinishReason {
    Stop,
    Length,
    ToolCalls,
}

impl FinishReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
        }
    }
}

/// A text and its tokens, known before the engine has computed the first of them.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) text: String,
    pub(crate) finish: FinishReason,
    /// End of each token in `text`.
    ends: Vec<u32>,
}

impl Completion {
    /// `text` up to the first of `stop`, and at most `max_tokens` of it; `natural` is how it ends if neither cuts it.
    pub(crate) fn new(mut text: String, max_tokens: u32, stop: &[String], natural: FinishReason) -> Self {
        let mut finish = natural;
        let cut = stop.iter().filter(|s| !s.is_empty()).filter_map(|s| text.find(s.as_str())).min();
        if let Some(cut) = cut {
            text.truncate(cut);
            finish = FinishReason::Stop;
        }
        let mut ends = Vec::new();
        let mut end = 0;
        for token in tokenizer::tokens(&text) {
            if ends.len() == max_tokens as usize {
                finish = FinishReason::Length;
                break;
            }
            end += token.len();
            ends.push(end as u32);
        }
        text.truncate(end);
        Completion { text, finish, ends }
    }

    /// Tokens to generate: at least one, the end of sequence, even when the text is empty.
    pub(crate) fn tokens(&self) -> u32 {
        (self.ends.len() as u32).max(1)
    }

    /// Span of token `index`; empty past the end.
    pub(crate) fn piece(&self, index: u32) -> &str {
        &self.text[self.span(index)]
    }

    fn span(&self, index: u32) -> Range<usize> {
        let index = index as usize;
        let end = self.ends.get(index).map_or(self.text.len(), |end| *end as usize);
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(end, |end| *end as usize),
            None => 0,
        };
        start..end
    }
}

/// At least `tokens` tokens of prose that begin with a quotation of `quote`, if there is one.
pub(crate) fn prose(seed: u64, quote: &str, tokens: u32) -> String {
    let target = tokens as usize * 4;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut text = String::with_capacity(target + 16);
    let quote = quote.trim();
    if !quote.is_empty() && tokens > 8 {
        let short: String = quote.chars().take(32).map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.push_str("You said \"");
        text.push_str(&short);
        text.push_str("\". ");
    }
    let mut in_sentence = 0;
    // One token is up to four bytes, so enough bytes of ASCII are enough tokens.
    let target = target + text.len();
    while text.len() < target {
        let word = WORDS[rng.usize(..WORDS.len())];
        if in_sentence == 0 {
            text.push_str(&word[..1].to_ascii_uppercase());
            text.push_str(&word[1..]);
        } else {
            text.push_str(word);
        }
        in_sentence += 1;
        let last = in_sentence >= 5 && rng.u8(..6) == 0;
        text.push_str(if last { ". " } else { " " });
        if last {
            in_sentence = 0;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_concatenate_to_the_text(text in any::<String>(), max in 0u32..40) {
            let completion = Completion::new(text.clone(), max, &[], FinishReason::Stop);
            let joined: String = (0..completion.tokens()).map(|i| completion.piece(i)).collect();
            prop_assert_eq!(&joined, &completion.text);
            prop_assert!(text.starts_with(&joined));
            prop_assert_eq!(completion.finish == FinishReason::Stop, joined == text);
        }
    }

    #[test]
    fn prose_is_long_enough_and_deterministic() {
        for tokens in [1, 7, 64, 500] {
            let text = prose(3, "你好,世界", tokens);
            assert!(tokenizer::tokens(&text).count() >= tokens as usize);
            assert_eq!(text, prose(3, "你好,世界", tokens));
        }
        assert_ne!(prose(3, "", 64), prose(4, "", 64));
    }

    #[test]
    fn stop_cuts_before_the_earliest_stop_sequence() {
        let stop = ["three".to_owned(), "two".to_owned(), String::new()];
        let completion = Completion::new("one two three".to_owned(), 100, &stop, FinishReason::Stop);
        assert_eq!((completion.text.as_str(), completion.finish), ("one ", FinishReason::Stop));
    }
}
