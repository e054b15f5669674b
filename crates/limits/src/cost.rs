//! Cost of a request and of its response.

use std::sync::Arc;

/// Cost, in the unit of the limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cost {
    /// The same for all.
    Number(u64),
    /// A number among the facts that authentication found; 0 if it is missing or no number.
    Metadata(MetadataKey),
    /// Tokens of the response.
    Tokens(TokenCount),
    /// Cost of the response that the Gateway writes under this key (`io.envoy.ai_gateway`), or one that is built in.
    Llm(Arc<str>),
}

/// Key of a fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetadataKey {
    /// Namespace of its writer.
    pub namespace: Arc<str>,
    /// Name in it.
    pub key: Arc<str>,
}

/// Tokens that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenCount {
    /// Those of the prompt.
    Input,
    /// Those of the prompt that came from a cache.
    CachedInput,
    /// Those of the prompt that were put into a cache.
    CacheCreationInput,
    /// Generated ones.
    Output,
    /// Generated ones of the reasoning.
    Reasoning,
    /// Those of the prompt and generated ones.
    Total,
}

/// Tokens of a model call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt, those of a cache included.
    pub input: u64,
    /// Of the prompt, from a cache.
    pub cached_input: u64,
    /// Of the prompt, put into a cache.
    pub cache_creation_input: u64,
    /// Generated, those of the reasoning included.
    pub output: u64,
    /// Generated for the reasoning.
    pub reasoning: u64,
    /// Of the prompt and generated; a service may count it otherwise than as the sum.
    pub total: u64,
}

impl Tokens {
    /// Tokens of a prompt and an answer of which nothing else is known.
    pub fn of(input: u64, output: u64) -> Self {
        Self { input, output, total: input.saturating_add(output), ..Self::default() }
    }
}

impl TokenCount {
    /// The number that counts.
    pub fn of(self, tokens: Tokens) -> u64 {
        match self {
            Self::Input => tokens.input,
            Self::CachedInput => tokens.cached_input,
            Self::CacheCreationInput => tokens.cache_creation_input,
            Self::Output => tokens.output,
            Self::Reasoning => tokens.reasoning,
            Self::Total => tokens.total,
        }
    }

    /// Whether lengths of prompt and answer tell it. Only the backend knows the others.
    pub fn is_estimable(self) -> bool {
        matches!(self, Self::Input | Self::Output | Self::Total)
    }
}
