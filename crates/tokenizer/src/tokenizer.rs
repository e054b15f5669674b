//! A text to tokens, as `tokenizer.json` says.
//!
//! The steps are those of Hugging Face's `tokenizers`: added tokens, normalizer, pre-tokenizer, byte pairs, special tokens.

mod added_tokens;
mod byte_level;
mod byte_pairs;
mod document;
mod normalizer;
mod pattern;
mod pre_tokenizer;
mod special_tokens;

pub(crate) use self::special_tokens::SpecialTokens;
use self::{
    added_tokens::{AddedTokens, Part},
    byte_pairs::{BytePairs, Work},
    document::Document,
    normalizer::{Normalizer, normalize, normalizers},
    pre_tokenizer::PreTokenizer,
};
use crate::{FileError, PromptError, files, segment_cache::SegmentCache};

/// Longest text, in bytes. A single word takes most memory: measured up to 20 MB beside the text, for 1 MiB.
pub(crate) const MAX_TEXT_BYTES: usize = 1 << 20;
/// Longest part of a text after its normalizers, in bytes: some make 11 bytes of one.
const MAX_NORMALIZED_BYTES: usize = 2 * MAX_TEXT_BYTES;

/// A tokenizer.
pub struct Tokenizer {
    plain: AddedTokens,
    normalized: AddedTokens,
    normalizers: Vec<Normalizer>,
    pre_tokenizer: PreTokenizer,
    model: BytePairs,
    pub(crate) special: SpecialTokens,
    segments: SegmentCache,
}

impl Tokenizer {
    /// The tokenizer of a `tokenizer.json`.
    ///
    /// # Errors
    /// The file is malformed, or asks for a model or a step that is not supported: any model but byte pairs, for one.
    pub fn new(file: &[u8]) -> Result<Self, FileError> {
        let document: Document =
            serde_json::from_slice(file).map_err(|error| FileError::Malformed(files::TOKENIZER, error.to_string()))?;
        let normalizers = normalizers(document.normalizer.as_ref())?;
        let (plain, normalized) = AddedTokens::both(&document.added_tokens, &normalizers)?;
        let pre_tokenizer = PreTokenizer::new(document.pre_tokenizer.as_ref())?;
        let special = SpecialTokens::new(document.post_processor.as_ref())?;
        let model = BytePairs::new(document.model, pre_tokenizer.is_byte_level)?;
        Ok(Self { plain, normalized, normalizers, pre_tokenizer, model, special, segments: SegmentCache::new() })
    }

    /// Tokens of a text. `adds_special_tokens`: with those that begin and end a prompt.
    ///
    /// # Errors
    /// It is longer than 1 MiB, or its normalizers make it longer than 2 MiB.
    pub fn tokens(&self, text: &str, adds_special_tokens: bool) -> Result<Vec<u32>, PromptError> {
        self.all_tokens(text, adds_special_tokens, Some(&self.segments))
    }

    /// The same, and nothing is remembered.
    ///
    /// # Errors
    /// The same.
    pub fn tokens_anew(&self, text: &str, adds_special_tokens: bool) -> Result<Vec<u32>, PromptError> {
        self.all_tokens(text, adds_special_tokens, None)
    }

    /// The id of an added token.
    pub(crate) fn added_token(&self, content: &str) -> Option<u32> {
        self.plain.id(content).or_else(|| self.normalized.id(content))
    }

    /// Memory of remembered tokens, in bytes.
    pub fn remembered_bytes(&self) -> usize {
        self.segments.bytes()
    }

    fn all_tokens(&self, text: &str, adds_special_tokens: bool, segments: Option<&SegmentCache>) -> Result<Vec<u32>, PromptError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(PromptError::TooLong);
        }
        let mut is_too_long = false;
        let mut tokens = Vec::with_capacity(text.len() / 4);
        let mut work = Work::default();
        if adds_special_tokens {
            tokens.extend_from_slice(&self.special.before);
        }
        self.plain.split(text, |part| match part {
            Part::Token(token) => tokens.push(token),
            Part::Text(text, place) => {
                let starts = place == 0;
                let mut tokenize = |tokens: &mut Vec<u32>| {
                    let has_all = self.append(text, starts, &mut work, tokens);
                    is_too_long |= !has_all;
                    has_all
                };
                match segments {
                    Some(segments) => segments.append(text, starts, &mut tokens, tokenize),
                    None => _ = tokenize(&mut tokens),
                }
            }
        });
        if is_too_long {
            return Err(PromptError::TooLong);
        }
        if adds_special_tokens {
            tokens.extend_from_slice(&self.special.after);
        }
        Ok(tokens)
    }

    /// Appends the tokens of a text without added tokens, but for those that are found in normalized texts. Gives whether it is not
    /// too long.
    fn append(&self, text: &str, starts: bool, work: &mut Work, tokens: &mut Vec<u32>) -> bool {
        let text = normalize(&self.normalizers, text);
        if text.len() > MAX_NORMALIZED_BYTES {
            return false;
        }
        self.normalized.split(&text, |part| match part {
            Part::Token(token) => tokens.push(token),
            Part::Text(text, place) => {
                let starts = starts && place == 0;
                self.pre_tokenizer.words(text, starts, &mut |word| self.model.append(word, work, tokens));
            }
        });
        true
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").finish_non_exhaustive()
    }
}

fn unsupported(field: String, what: &str) -> FileError {
    FileError::Unsupported { file: files::TOKENIZER, field, what: what.chars().take(200).collect() }
}
