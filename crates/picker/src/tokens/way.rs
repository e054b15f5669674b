//! The way to a prompt's tokens, for receipts.

use super::{TokensOutcome, in_process::InProcessOutcome};

/// Way to a prompt's tokens, or to an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokensWay {
    outcome: TokensOutcome,
    /// End of the attempt in this process, where it has the model's files and they gave no tokens.
    in_process: Option<InProcessOutcome>,
}

impl TokensWay {
    pub(super) fn new(outcome: TokensOutcome, in_process: Option<InProcessOutcome>) -> Self {
        Self { outcome, in_process }
    }

    /// The way where tokens are of no use.
    pub fn unneeded() -> Self {
        Self::new(TokensOutcome::Unneeded, None)
    }

    /// Giver of the tokens: `in_process`, `engine`, `request`; `estimate` without tokens.
    pub fn by(self) -> &'static str {
        match self.outcome {
            TokensOutcome::Computed => "in_process",
            TokensOutcome::Remembered | TokensOutcome::Continued | TokensOutcome::Answered => "engine",
            TokensOutcome::Given => "request",
            _ => "estimate",
        }
    }

    /// The result, as the metric `pailou_prompt_tokenizations` names it.
    pub fn result(self) -> &'static str {
        self.outcome.name()
    }

    /// The reason why this process gave none, as the metric `pailou_prompt_in_process_tokenizations` names it.
    pub fn in_process(self) -> Option<&'static str> {
        self.in_process.map(InProcessOutcome::name)
    }
}
