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
    /// Generated ones.
    Output,
    /// Both.
    Total,
}

/// Tokens of a model call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub input: u64,
    /// Generated.
    pub output: u64,
    /// Both; a service may count it otherwise than as the sum.
    pub total: u64,
}

impl TokenCount {
    /// The number that counts.
    pub fn of(self, tokens: Tokens) -> u64 {
        match self {
            Self::Input => tokens.input,
            Self::Output => tokens.output,
            Self::Total => tokens.total,
        }
    }
}
