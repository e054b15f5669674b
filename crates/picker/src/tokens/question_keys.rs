//! Keys by which a question's answer is remembered, and those of the turns before it in the same conversation.

use std::borrow::Cow;

use xxhash_rust::xxh3::Xxh3;

/// Place of the prompt among a question's pieces.
const PROMPT: usize = 2;
/// Most messages before the last one after which an earlier turn may have ended.
const MAX_EARLIER: usize = 8;

/// Keys of one question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QuestionKeys {
    /// Of all of it.
    pub(super) whole: u128,
    /// Of the conversation as it was some messages ago, the longest first, each with the prompt's length in proportion to what it was then.
    pub(super) earlier: Vec<(u128, f64)>,
}

impl QuestionKeys {
    /// Keys of a question. The seed keeps clients from making questions whose keys meet.
    pub(super) fn new(seed: u64, pieces: &[Cow<'_, [u8]>], message_ends: &[usize]) -> Self {
        let mut hash = Xxh3::with_seed(seed);
        let prompt = pieces.get(PROMPT).map_or(&[][..], Cow::as_ref);
        for (place, piece) in pieces.iter().enumerate().filter(|(place, _)| *place != PROMPT) {
            hash.update(&place.to_le_bytes());
            hash.update(&piece.len().to_le_bytes());
            hash.update(piece);
        }
        let Some((last, before)) = message_ends.split_last() else {
            hash.update(prompt);
            return Self { whole: hash.digest128(), earlier: Vec::new() };
        };
        let (mut earlier, mut at) = (Vec::new(), 0);
        for end in &before[before.len().saturating_sub(MAX_EARLIER)..] {
            hash.update(prompt.get(at..*end).unwrap_or_default());
            earlier.push((hash.digest128(), *last as f64 / *end as f64));
            at = *end;
        }
        hash.update(prompt.get(at..*last).unwrap_or_default());
        earlier.reverse();
        Self { whole: hash.digest128(), earlier }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(other: &str, messages: &[&str]) -> QuestionKeys {
        let mut prompt = String::from("[");
        let mut ends = Vec::new();
        for message in messages {
            prompt.push_str(message);
            ends.push(prompt.len());
            prompt.push(',');
        }
        let pieces = ["{", "\"messages\":", &prompt, other, "}"].map(|piece| Cow::Borrowed(piece.as_bytes()));
        QuestionKeys::new(7, &pieces, &ends)
    }

    #[test]
    fn a_turn_has_the_keys_of_those_before_it() {
        let (first, second) = (keys("tools", &["system", "user"]), keys("tools", &["system", "user", "assistant", "user"]));
        let earlier: Vec<u128> = second.earlier.iter().map(|(key, _)| *key).collect();
        assert_eq!((earlier[1], earlier.len(), first.earlier.len()), (first.whole, 3, 1));
        assert!(second.earlier.iter().all(|(_, factor)| *factor > 1.0) && second.earlier[0].1 < second.earlier[1].1);
        assert_ne!(keys("other", &["system", "user"]).whole, first.whole);
        assert_ne!(keys("tools", &["system", "used"]).whole, first.whole);
        assert_eq!(keys("tools", &["m"; 100]).earlier.len(), MAX_EARLIER);
    }

    #[test]
    fn keys_differ_by_seed() {
        let pieces = ["{", "\"messages\":", "[1,2]", "}"].map(|piece| Cow::Borrowed(piece.as_bytes()));
        let [one, other] = [1, 2].map(|seed| QuestionKeys::new(seed, &pieces, &[2, 4]));
        assert!(one.whole != other.whole && one.earlier[0].0 != other.earlier[0].0);
    }
}
