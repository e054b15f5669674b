//! Tokens that this process computes itself, with a model's own files.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use super::{REQUEST_TIMEOUT, TokensOutcome};

/// Longest question that is answered at once, in bytes: a longer one would hold up others on its thread for a millisecond.
const MAX_INLINE_BYTES: usize = 8 << 10;
/// Most questions that are answered at the same time beside the threads that serve.
const MAX_AT_ONCE: usize = 4;

/// Tokenizers of models whose files this process has.
pub trait TokenSource: Send + Sync {
    /// The tokenizer of a model; `None` without files.
    fn tokenizer(&self, model: &str) -> Option<Arc<dyn PromptTokenizer>>;
}

/// A model's tokenizer.
pub trait PromptTokenizer: Send + Sync {
    /// Tokens of a prompt, which is the body of `POST /tokenize`. It may take as long as the prompt is long, and waits for nothing.
    ///
    /// # Errors
    /// The tokenizer is of no use, as yet or for this prompt.
    fn tokens(&self, question: &[u8]) -> Result<Vec<u32>, TokenSourceError>;
}

/// Reasons of a tokenizer to give no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSourceError {
    /// The files are being read.
    Loading,
    /// The files are of no use.
    Files,
    /// The prompt is none for it, or one that its template refuses.
    Prompt,
}

/// Ends of the attempts to find tokens in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InProcessOutcome {
    Tokenized,
    Loading,
    Files,
    Prompt,
    Doubted,
    Busy,
    Timeout,
}

impl InProcessOutcome {
    /// All, with their names in metrics.
    const ALL: [(Self, &'static str); 7] = [
        (Self::Tokenized, "tokenized"),
        (Self::Loading, "loading"),
        (Self::Files, "files"),
        (Self::Prompt, "prompt"),
        (Self::Doubted, "doubted"),
        (Self::Busy, "busy"),
        (Self::Timeout, "timeout"),
    ];
}

impl From<TokenSourceError> for InProcessOutcome {
    fn from(error: TokenSourceError) -> Self {
        match error {
            TokenSourceError::Loading => Self::Loading,
            TokenSourceError::Files => Self::Files,
            TokenSourceError::Prompt => Self::Prompt,
        }
    }
}

/// State of these attempts.
pub(super) struct InProcess {
    at_once: Arc<Semaphore>,
    outcomes: [AtomicU64; InProcessOutcome::ALL.len()],
}

impl Default for InProcess {
    fn default() -> Self {
        Self { at_once: Arc::new(Semaphore::new(MAX_AT_ONCE)), outcomes: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl InProcess {
    /// Tokens of a question; `None`: an engine is to be asked.
    ///
    /// # Errors
    /// The request has waited for as long as it may.
    pub(super) async fn tokens(
        &self,
        tokenizer: Arc<dyn PromptTokenizer>,
        pieces: &[Cow<'_, [u8]>],
        runtime: &Handle,
    ) -> Result<Option<Arc<[u32]>>, TokensOutcome> {
        let question = pieces.concat();
        let answer = if question.len() <= MAX_INLINE_BYTES {
            tokenizer.tokens(&question).map_err(InProcessOutcome::from)
        } else {
            self.tokens_elsewhere(tokenizer, question, runtime).await
        };
        self.count(answer.as_ref().map_or_else(|outcome| *outcome, |_| InProcessOutcome::Tokenized));
        match answer {
            Ok(tokens) => Ok(Some(tokens.into())),
            Err(InProcessOutcome::Timeout) => Err(TokensOutcome::Timeout),
            Err(_) => Ok(None),
        }
    }

    /// The same on a thread for work that takes long. Late tokens are of use to the next request: the tokenizer remembers them.
    async fn tokens_elsewhere(
        &self,
        tokenizer: Arc<dyn PromptTokenizer>,
        question: Vec<u8>,
        runtime: &Handle,
    ) -> Result<Vec<u32>, InProcessOutcome> {
        let permit = Arc::clone(&self.at_once).try_acquire_owned().map_err(|_| InProcessOutcome::Busy)?;
        let work = runtime.spawn_blocking(move || {
            let tokens = tokenizer.tokens(&question);
            drop(permit);
            tokens
        });
        let answer = timeout(REQUEST_TIMEOUT, work).await.map_err(|_| InProcessOutcome::Timeout)?;
        answer.map_err(|_| InProcessOutcome::Prompt)?.map_err(InProcessOutcome::from)
    }

    #[cfg(test)]
    pub(super) fn take_all(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.at_once.try_acquire_many(MAX_AT_ONCE as u32).expect("all are free")
    }

    pub(super) fn count(&self, outcome: InProcessOutcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Requests for models whose files are there, by what came of those.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        InProcessOutcome::ALL.into_iter().map(|(outcome, name)| (name, self.outcomes[outcome as usize].load(Relaxed)))
    }
}
