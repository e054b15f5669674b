//! A tokenizer without a vocabulary: up to four bytes of UTF-8 are one token, and never part of a character.
//!
//! English comes to four characters a token, Chinese to one, which is close enough to real tokenizers for lengths,
//! costs and cache blocks to look right. A token's id is its bytes, so ids can be turned back into text.

/// Names of role markers in chats.
const ROLES: [&str; 7] = ["system", "developer", "user", "assistant", "tool", "tools", "end"];

/// Splits `text` into tokens, which concatenate to it.
pub fn tokens(text: &str) -> Tokens<'_> {
    Tokens { rest: text }
}

/// The id of a token: its bytes, little-endian.
pub fn token_id(token: &str) -> u32 {
    let mut bytes = [0; 4];
    for (to, from) in bytes.iter_mut().zip(token.bytes()) {
        *to = from;
    }
    u32::from_le_bytes(bytes)
}

/// The id of a token that no text spells, such as a role marker: bytes that are no UTF-8.
pub fn special_id(name: &str) -> u32 {
    0xff00_0000 | hash_bytes(name.as_bytes()) as u32
}

/// The text that `ids` stand for; `None` when an id is not one that [`token_id`] gives.
pub fn detokenize(ids: &[u32]) -> Option<String> {
    let mut text = Vec::with_capacity(ids.len() * 4);
    for id in ids {
        let bytes = id.to_le_bytes();
        // A zero byte stands for itself only when it stands alone.
        let length = 4 - bytes.iter().rev().take_while(|byte| **byte == 0).count();
        text.extend_from_slice(&bytes[..length.max(1)]);
    }
    String::from_utf8(text).ok()
}

/// Iterator over the tokens of a text.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.rest.as_bytes();
        let first = *bytes.first()?;
        let mut end = bytes.len().min(4);
        if first == 0 {
            end = 1;
        } else if let Some(zero) = bytes[..end].iter().position(|byte| *byte == 0) {
            end = zero;
        }
        while !self.rest.is_char_boundary(end) {
            end -= 1;
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

/// Chains the hashes of a token sequence's KV blocks.
///
/// A block's hash covers everything before it, and the chain starts from a seed, so that equal text under another
/// model, adapter or cache salt shares nothing.
#[derive(Clone, Debug)]
pub struct BlockHasher {
    block_size: u32,
    state: u64,
    length: u32,
    hashes: Vec<u64>,
    /// The tokens, if they are kept.
    tokens: Option<Vec<u32>>,
}

impl BlockHasher {
    /// An empty sequence; `block_size` in tokens, at least 1.
    pub fn new(block_size: u32, seed: u64) -> Self {
        BlockHasher { block_size: block_size.max(1), state: mix(seed, 0x5eed), length: 0, hashes: Vec::new(), tokens: None }
    }

    /// The same, but it keeps the tokens.
    pub fn keeping_tokens(self) -> Self {
        BlockHasher { tokens: Some(Vec::new()), ..self }
    }

    /// Appends the tokens of `text`.
    pub fn text(&mut self, text: &str) {
        for token in tokens(text) {
            self.token(token_id(token), token_id(token).into());
        }
    }

    /// Appends tokens by their ids; a role marker's is the one of its name.
    pub fn ids(&mut self, ids: &[u32]) {
        for id in ids {
            match ROLES.into_iter().find(|name| special_id(name) == *id) {
                Some(name) => self.special(name),
                None => self.token(*id, u64::from(*id)),
            }
        }
    }

    /// Appends one token that no text spells, such as a role marker.
    pub fn special(&mut self, name: &str) {
        self.token(special_id(name), hash_bytes(name.as_bytes()) | 1 << 63);
    }

    /// Tokens appended so far.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// A hash of everything appended so far.
    pub fn digest(&self) -> u64 {
        mix(self.state, u64::from(self.length))
    }

    /// Hashes of the full blocks.
    pub fn into_hashes(self) -> Vec<u64> {
        self.hashes
    }

    /// Hashes of the full blocks, and all tokens if they were kept.
    pub fn into_parts(self) -> (Vec<u64>, Vec<u32>) {
        (self.hashes, self.tokens.unwrap_or_default())
    }

    fn token(&mut self, id: u32, identity: u64) {
        self.tokens.iter_mut().for_each(|tokens| tokens.push(id));
        self.state = mix(self.state, identity);
        self.length = self.length.saturating_add(1);
        if self.length.is_multiple_of(self.block_size) {
            self.hashes.push(self.state);
        }
    }
}

/// FNV-1a over 64 bits, which any client can compute to compare.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Folds `value` into `state`: the finaliser of splitmix64, one round.
pub fn mix(state: u64, value: u64) -> u64 {
    let mut z = (state ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_concatenate_to_the_text_and_ids_turn_back_into_it(text in any::<String>()) {
            prop_assert_eq!(tokens(&text).collect::<String>(), text.clone());
            prop_assert!(tokens(&text).all(|token| !token.is_empty() && token.len() <= 4));
            let ids: Vec<u32> = tokens(&text).map(token_id).collect();
            prop_assert_eq!(detokenize(&ids), Some(text));
        }

        #[test]
        fn any_ids_are_text_or_refused(ids in proptest::collection::vec(any::<u32>(), 0..64)) {
            if let Some(text) = detokenize(&ids) {
                prop_assert!(text.len() <= ids.len() * 4);
            }
        }

        #[test]
        fn a_common_prefix_of_blocks_has_equal_hashes(head in "[a-z]{64,200}", tail in "[a-z]{0,80}") {
            let hashes = |text: &str| {
                let mut hasher = BlockHasher::new(4, 9);
                hasher.text(text);
                hasher.into_hashes()
            };
            let (short, long) = (hashes(&head), hashes(&format!("{head}{tail}")));
            // The head's last token, if it is a short one, ends otherwise when more follows.
            let common = head.len() / 16;
            prop_assert_eq!(&long[..common], &short[..common]);
            prop_assert!(common >= 4);
        }
    }

    #[test]
    fn english_has_four_characters_a_token_and_chinese_one() {
        assert_eq!(tokens(&"the quick brown fox ".repeat(10)).count(), 50);
        assert_eq!(tokens("牌樓是中國街道上的門").count(), 10);
        assert_eq!(tokens("🦀🦀").count(), 2);
    }

    #[test]
    fn a_prompt_by_its_ids_has_the_same_blocks() {
        let mut by_text = BlockHasher::new(4, 1).keeping_tokens();
        by_text.special("user");
        by_text.text("the quick brown fox 牌樓");
        by_text.special("end");
        let mut by_ids = BlockHasher::new(4, 1);
        by_ids.ids(by_text.tokens.as_deref().unwrap());
        assert_eq!((by_ids.digest(), by_ids.into_hashes()), (by_text.digest(), by_text.into_hashes()));
    }

    #[test]
    fn another_seed_shares_no_block() {
        let hashes = |seed| {
            let mut hasher = BlockHasher::new(1, seed);
            hasher.text("same text");
            hasher.into_hashes()
        };
        assert!(hashes(1).iter().all(|hash| !hashes(2).contains(hash)));
    }
}
