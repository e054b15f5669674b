//! Byte pair encoding: a word's symbols are joined in the order in which the merges were learnt.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use foldhash::fast::RandomState;

use super::{
    byte_level::alphabet,
    document::{self, Merge, Vocabulary},
};
use crate::{FileError, files};

/// Longest word whose merges are looked for in turn, in symbols; for longer ones they are kept in order.
const MAX_SCANNED: usize = 48;
/// No symbol: it has become part of the one before.
const GONE: u32 = u32::MAX;

/// A vocabulary with its merges.
#[derive(Debug)]
pub(super) struct BytePairs {
    symbols: Symbols,
    merges: Merges,
    /// Words that are a token, where such are not put together from symbols.
    words: Option<HashMap<Box<[u8]>, u32, RandomState>>,
}

/// The tokens of which words are put together.
#[derive(Debug)]
enum Symbols {
    /// One a byte; none for bytes that the vocabulary does not have.
    Bytes(Box<[Option<u32>; 256]>),
    Characters {
        tokens: HashMap<char, u32, RandomState>,
        /// One a byte, for characters that are no token.
        bytes: Option<Box<[u32; 256]>>,
        unknown: Option<u32>,
        fuses_unknown: bool,
    },
}

impl BytePairs {
    /// The model of a file. `is_byte_level`: its words are bytes, which the vocabulary writes as characters.
    pub(super) fn new(model: document::Model, is_byte_level: bool) -> Result<Self, FileError> {
        let refused = |field: &str, what: &str| Err(super::unsupported(format!("model.{field}"), what));
        match model.kind.as_deref() {
            Some("BPE") => {}
            None if !model.merges.is_empty() => {}
            kind => return refused("type", kind.unwrap_or("none")),
        }
        if model.dropout.is_some_and(|dropout| dropout != 0.0) {
            return refused("dropout", "chance");
        }
        let affix = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if affix(&model.continuing_subword_prefix) || affix(&model.end_of_word_suffix) {
            return refused("continuing_subword_prefix", "an affix of symbols");
        }
        let merges = merges(&model.vocab, &model.merges)?;
        let words = model.ignore_merges.then(|| words(&model.vocab, is_byte_level));
        let symbols = if is_byte_level { Symbols::bytes(&model.vocab) } else { Symbols::characters(&model) };
        Ok(Self { symbols, merges, words })
    }

    /// Appends the tokens of a word.
    pub(super) fn append(&self, word: &str, work: &mut Work, tokens: &mut Vec<u32>) {
        if let Some(token) = self.words.as_ref().and_then(|words| words.get(word.as_bytes())) {
            return tokens.push(*token);
        }
        work.symbols.clear();
        self.symbols.append(word, &mut work.symbols);
        if work.symbols.len() <= MAX_SCANNED {
            self.merge_scanning(&mut work.symbols);
            tokens.extend_from_slice(&work.symbols);
        } else {
            self.merge_ordered(work);
            tokens.extend(work.symbols.iter().filter(|symbol| **symbol != GONE));
        }
    }

    fn merge_scanning(&self, symbols: &mut Vec<u32>) {
        loop {
            let pairs = symbols.windows(2).enumerate();
            let merges = pairs.filter_map(|(place, pair)| Some((self.merges.get(&(pair[0], pair[1]))?, place)));
            let Some(((_, token), place)) = merges.min_by_key(|((rank, _), place)| (*rank, *place)) else { return };
            symbols[place] = *token;
            symbols.remove(place + 1);
        }
    }

    fn merge_ordered(&self, work: &mut Work) {
        let Work { symbols, before, after, queue } = work;
        // Texts are shorter than 4 GiB by far.
        let end = symbols.len() as u32;
        before.clear();
        before.extend((0..end).map(|place| place.wrapping_sub(1)));
        after.clear();
        after.extend(1..=end);
        queue.clear();
        // The merge of the symbol at a place with the next, if there is one.
        let merge = |symbols: &[u32], place: u32, next: u32| {
            let pair = (symbols[place as usize], *symbols.get(next as usize)?);
            self.merges.get(&pair).copied()
        };
        queue.extend((0..end).filter_map(|place| Some(candidate(merge(symbols, place, place + 1)?.0, place))));
        while let Some(Reverse(first)) = queue.pop() {
            let (rank, place) = ((first >> 32) as u32, first as u32);
            let other = after[place as usize];
            // One of the two may have been joined with another since: each pair of symbols has a rank of its own.
            let Some((_, token)) = merge(symbols, place, other).filter(|(found, _)| *found == rank) else { continue };
            symbols[place as usize] = token;
            symbols[other as usize] = GONE;
            let next = after[other as usize];
            after[place as usize] = next;
            if next < end {
                before[next as usize] = place;
                queue.extend(merge(symbols, place, next).map(|(rank, _)| candidate(rank, place)));
            }
            let previous = before[place as usize];
            if previous < end {
                queue.extend(merge(symbols, previous, place).map(|(rank, _)| candidate(rank, previous)));
            }
        }
    }
}

/// Room to work in, which words share.
#[derive(Default)]
pub(super) struct Work {
    symbols: Vec<u32>,
    /// Places of the symbols beside each, of long words.
    before: Vec<u32>,
    after: Vec<u32>,
    queue: BinaryHeap<Reverse<u64>>,
}

/// A merge that is possible: those of a lower rank come first, then those at an earlier place.
fn candidate(rank: u32, place: u32) -> Reverse<u64> {
    Reverse(u64::from(rank) << 32 | u64::from(place))
}

/// By the two tokens: place in the order, and the token that they become.
type Merges = HashMap<(u32, u32), (u32, u32), RandomState>;

fn merges(vocabulary: &Vocabulary, merges: &[Merge]) -> Result<Merges, FileError> {
    let token = |text: &str| {
        let malformed = || FileError::Malformed(files::TOKENIZER, format!("model.merges: {text:?} is not in the vocabulary"));
        vocabulary.0.get(text).copied().ok_or_else(malformed)
    };
    let mut all = HashMap::with_capacity_and_hasher(merges.len(), RandomState::default());
    for (rank, Merge(left, right)) in merges.iter().enumerate() {
        let joined = token(&format!("{left}{right}"))?;
        all.insert((token(left)?, token(right)?), (rank as u32, joined));
    }
    Ok(all)
}

fn words(vocabulary: &Vocabulary, is_byte_level: bool) -> HashMap<Box<[u8]>, u32, RandomState> {
    let bytes: HashMap<char, u8> = alphabet().into_iter().zip(0..=u8::MAX).collect();
    let all = vocabulary.0.iter().filter_map(|(word, token)| {
        let word: Option<Box<[u8]>> = match is_byte_level {
            true => word.chars().map(|character| bytes.get(&character).copied()).collect(),
            false => Some(word.as_bytes().into()),
        };
        Some((word?, *token))
    });
    all.collect()
}

impl Symbols {
    fn bytes(vocabulary: &Vocabulary) -> Self {
        let alphabet = alphabet();
        let token = |byte: usize| vocabulary.0.get(alphabet[byte].encode_utf8(&mut [0; 4]) as &str).copied();
        Self::Bytes(Box::new(std::array::from_fn(token)))
    }

    fn characters(model: &document::Model) -> Self {
        let vocabulary = &model.vocab.0;
        let single = |text: &str| text.chars().next().filter(|first| first.len_utf8() == text.len());
        let tokens = vocabulary.iter().filter_map(|(text, token)| Some((single(text)?, *token))).collect();
        let bytes: Option<Vec<u32>> = model
            .byte_fallback
            .then(|| (0..=u8::MAX).map(|byte| vocabulary.get(&format!("<0x{byte:02X}>")).copied()).collect())
            .flatten();
        let bytes = bytes.and_then(|bytes| Box::<[u32; 256]>::try_from(bytes.into_boxed_slice()).ok());
        let unknown = model.unk_token.as_ref().and_then(|text| vocabulary.get(text).copied());
        Self::Characters { tokens, bytes, unknown, fuses_unknown: model.fuse_unk }
    }

    fn append(&self, word: &str, symbols: &mut Vec<u32>) {
        match self {
            Self::Bytes(tokens) => symbols.extend(word.bytes().filter_map(|byte| tokens[usize::from(byte)])),
            Self::Characters { tokens, bytes, unknown, fuses_unknown } => {
                let mut was_unknown = false;
                for character in word.chars() {
                    let mut buffer = [0; 4];
                    match (tokens.get(&character), bytes) {
                        (Some(token), _) => symbols.push(*token),
                        (None, Some(bytes)) => {
                            symbols.extend(character.encode_utf8(&mut buffer).bytes().map(|byte| bytes[usize::from(byte)]));
                        }
                        (None, None) => {
                            let fused = was_unknown && *fuses_unknown;
                            symbols.extend(unknown.filter(|_| !fused));
                            was_unknown = true;
                            continue;
                        }
                    }
                    was_unknown = false;
                }
            }
        }
    }
}
