//! Prompts as segments: equal segments in equal order are equal tokens, for engines and pickers alike.

/// Tokens of a KV block: vLLM's default.
pub(super) const BLOCK_TOKENS: u32 = 16;
/// Bytes of text that a token stands for, as in English prose.
const TOKEN_BYTES: usize = 4;

/// Tokens of one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Equal identities are equal tokens.
    pub(super) id: u64,
    pub(super) tokens: u32,
}

/// Tokens of all these segments.
pub(super) fn tokens(segments: &[Segment]) -> u32 {
    segments.iter().map(|segment| segment.tokens).sum()
}

/// The chained hashes of the full blocks of so many tokens. Prompts for different adapters share none.
pub(super) fn blocks(segments: impl Iterator<Item = Segment>, adapter: Option<u16>, block_tokens: u32) -> Vec<u64> {
    let mut hashes = Vec::new();
    let mut hash = mix(0x9e37_79b9, adapter.map_or(0, |adapter| u64::from(adapter) + 1));
    let mut filled = 0;
    for Segment { id, tokens } in segments {
        let mut offset = 0;
        while offset < tokens {
            let taken = (block_tokens - filled).min(tokens - offset);
            hash = mix(mix(hash, id), (u64::from(offset) << 32) | u64::from(taken));
            offset += taken;
            filled += taken;
            if filled == block_tokens {
                hashes.push(hash);
                filled = 0;
            }
        }
    }
    hashes
}

/// The prompt's text: 4 bytes a token, which differ wherever identities do.
pub(super) fn text(segments: &[Segment], into: &mut Vec<u8>) {
    into.clear();
    for Segment { id, tokens } in segments {
        for token in 0..*tokens {
            let bits = mix(*id, u64::from(token)).to_le_bytes();
            into.extend((0..TOKEN_BYTES).map(|at| b'a' + bits[at] % 26));
        }
    }
}

/// A hash of two numbers (the finalizer of SplitMix64).
pub(super) fn mix(one: u64, other: u64) -> u64 {
    let mut hash = one.rotate_left(29).wrapping_add(other).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(tokens: &[(u64, u32)]) -> Vec<Segment> {
        tokens.iter().map(|&(id, tokens)| Segment { id, tokens }).collect()
    }

    #[test]
    fn prompts_share_the_blocks_before_their_first_difference() {
        let hashes = |tokens: &[(u64, u32)], adapter| blocks(segments(tokens).into_iter(), adapter, BLOCK_TOKENS);
        let one = hashes(&[(1, 40), (2, 40)], None);
        let other = hashes(&[(1, 40), (3, 47)], None);
        assert_eq!((one.len(), other.len()), (5, 5));
        assert_eq!(one[..2], other[..2]);
        assert!(one[2..].iter().zip(&other[2..]).all(|(one, other)| one != other));
        assert_ne!(one[0], hashes(&[(1, 40)], Some(0))[0]);
    }

    #[test]
    fn text_is_equal_where_tokens_are() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        text(&segments(&[(1, 10), (2, 5)]), &mut one);
        text(&segments(&[(1, 10), (3, 5)]), &mut other);
        assert_eq!((one.len(), &one[..40]), (60, &other[..40]));
        assert_ne!(one[40..44], other[40..44]);
    }
}
