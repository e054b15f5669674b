//! Ways to a prompt's tokens.

/// Ways to come to a prompt's tokens, or to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokensOutcome {
    /// From an earlier answer.
    Remembered,
    /// Those of an earlier turn of the conversation; an engine is asked for the present one meanwhile.
    Continued,
    /// This process computed them.
    Computed,
    /// An engine answered in time.
    Answered,
    /// The request gave them.
    Given,
    /// The prompt is of a form or an API that the tokenizer does not take, or it or its salt is too long.
    Unsupported,
    /// One endpoint at most may serve the request: there is nothing to choose by tokens.
    Unneeded,
    /// No tokens within 50 ms, of this process and of an engine together.
    Timeout,
    /// No connection, or one that broke.
    Unreachable,
    /// An answer of another status than 200.
    Status,
    /// An answer that is none.
    Malformed,
    /// Too many questions are under way.
    Busy,
    /// Nothing is asked after failures in a row, or awaited after late answers in a row.
    StandingBack,
    /// Answers for this model did not agree with the engine's own count.
    Doubted,
}

impl TokensOutcome {
    /// All.
    pub(crate) const ALL: [Self; 14] = [
        Self::Remembered,
        Self::Continued,
        Self::Computed,
        Self::Answered,
        Self::Given,
        Self::Unsupported,
        Self::Unneeded,
        Self::Timeout,
        Self::Unreachable,
        Self::Status,
        Self::Malformed,
        Self::Busy,
        Self::StandingBack,
        Self::Doubted,
    ];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Remembered => "remembered",
            Self::Continued => "continued",
            Self::Computed => "computed",
            Self::Answered => "answered",
            Self::Given => "given",
            Self::Unsupported => "unsupported",
            Self::Unneeded => "unneeded",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
            Self::StandingBack => "standing_back",
            Self::Doubted => "doubted",
        }
    }
}
