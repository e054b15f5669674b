//! Tokens that this process computes itself, with a model's own files.

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{
    REQUEST_TIMEOUT,
    late_sizes::{Expectation, LateSizes, PromptKind},
    prompt_permits::PromptPermits,
};

/// Longest question that is answered at once, in bytes: a longer one would hold up others on its thread for a millisecond.
const MAX_INLINE_BYTES: usize = 8 << 10;
/// Longest question, in bytes: engines take longer ones.
const MAX_QUESTION_BYTES: usize = 2 << 20;
/// How long a request waits for tokens that are expected to be late: those of a conversation whose beginning is remembered are
/// there by then.
const LATE_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 4_000 } else { 10 });

/// Tokenizers of models whose files this process has.
pub trait TokenSource: Send + Sync {
    /// The tokenizer of a model; `None` without files.
    fn tokenizer(&self, model: &str) -> Option<Arc<dyn PromptTokenizer>>;

    /// Permits of long prompts, which are tokenized beside the threads that serve: one each, whatever their pools.
    fn permits(&self) -> PromptPermits;
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
    /// The prompt is longer than it takes.
    TooLong,
}

/// A model's tokenizer in this process.
pub(crate) struct LocalTokenizer {
    pub(crate) tokenizer: Arc<dyn PromptTokenizer>,
    pub(crate) permits: PromptPermits,
}

/// A question for it.
pub(super) struct LocalQuestion<'a> {
    pub(super) pieces: &'a [Cow<'a, [u8]>],
    pub(super) model: u64,
    pub(super) is_chat: bool,
    /// End of the request's patience.
    pub(super) deadline: Instant,
}

/// Ends of the attempts to find tokens in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InProcessOutcome {
    Tokenized,
    Loading,
    Files,
    Prompt,
    TooLong,
    Doubted,
    Busy,
    /// Tokens were expected to be late, and nobody waited for them.
    Late,
    Timeout,
}

impl InProcessOutcome {
    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// All, with their names in metrics.
    const ALL: [(Self, &'static str); 9] = [
        (Self::Tokenized, "tokenized"),
        (Self::Loading, "loading"),
        (Self::Files, "files"),
        (Self::Prompt, "prompt"),
        (Self::TooLong, "too_long"),
        (Self::Doubted, "doubted"),
        (Self::Busy, "busy"),
        (Self::Late, "late"),
        (Self::Timeout, "timeout"),
    ];
}

impl From<TokenSourceError> for InProcessOutcome {
    fn from(error: TokenSourceError) -> Self {
        match error {
            TokenSourceError::Loading => Self::Loading,
            TokenSourceError::Files => Self::Files,
            TokenSourceError::Prompt => Self::Prompt,
            TokenSourceError::TooLong => Self::TooLong,
        }
    }
}

/// State of these attempts.
pub(super) struct InProcess {
    late_sizes: Arc<Mutex<LateSizes>>,
    outcomes: [AtomicU64; InProcessOutcome::ALL.len()],
}

impl Default for InProcess {
    fn default() -> Self {
        Self { late_sizes: Arc::default(), outcomes: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl InProcess {
    /// Tokens of a question.
    ///
    /// # Errors
    /// An engine is to be asked.
    pub(super) async fn tokens(
        &self,
        local: LocalTokenizer,
        question: LocalQuestion<'_>,
        runtime: &Handle,
    ) -> Result<Arc<[u32]>, InProcessOutcome> {
        let length: usize = question.pieces.iter().map(|piece| piece.len()).sum();
        let answer = if length <= MAX_INLINE_BYTES {
            local.tokenizer.tokens(&question.pieces.concat()).map_err(InProcessOutcome::from)
        } else if length <= MAX_QUESTION_BYTES {
            self.tokens_elsewhere(local, question, length, runtime).await
        } else {
            Err(InProcessOutcome::TooLong)
        };
        self.count(answer.as_ref().map_or_else(|outcome| *outcome, |_| InProcessOutcome::Tokenized));
        answer.map(Arc::from)
    }

    /// The same on a thread for work that takes long. Late tokens of chats are of use to the next request: the tokenizer remembers
    /// them.
    async fn tokens_elsewhere(
        &self,
        local: LocalTokenizer,
        question: LocalQuestion<'_>,
        length: usize,
        runtime: &Handle,
    ) -> Result<Vec<u32>, InProcessOutcome> {
        let kind = PromptKind::new(question.model, question.is_chat, length);
        let now = Instant::now();
        let LocalTokenizer { tokenizer, permits } = local;
        let (permit, is_late) = {
            let mut late_sizes = self.late_sizes.lock();
            let is_late = match late_sizes.expect(kind, now.into_std()) {
                Expectation::InTime => false,
                Expectation::Late => true,
                Expectation::Useless => return Err(InProcessOutcome::Late),
            };
            let permit = permits.try_acquire(is_late).ok_or(InProcessOutcome::Busy)?;
            late_sizes.begun(kind, now.into_std());
            (permit, is_late)
        };
        let (until, late) = match is_late {
            false => (question.deadline, InProcessOutcome::Timeout),
            true => (question.deadline.min(now + LATE_TIMEOUT), InProcessOutcome::Late),
        };
        let body = question.pieces.concat();
        let mut work = runtime.spawn_blocking(move || {
            let tokens = tokenizer.tokens(&body);
            drop(permit);
            tokens
        });
        let late_sizes = Arc::clone(&self.late_sizes);
        let (sender, tokens) = oneshot::channel();
        // It goes on where the request does not wait, and learns whether that was right.
        runtime.spawn(async move {
            let answer = timeout(REQUEST_TIMEOUT, &mut work).await;
            // A prompt that is refused says nothing of how long others take.
            if matches!(answer, Err(_) | Ok(Ok(Ok(_)))) {
                late_sizes.lock().ended(kind, answer.is_err(), Instant::now().into_std());
            }
            if let Ok(tokens) = answer {
                _ = sender.send(tokens.unwrap_or(Err(TokenSourceError::Prompt)));
            }
        });
        match timeout_at(until, tokens).await {
            Ok(Ok(tokens)) => tokens.map_err(InProcessOutcome::from),
            Ok(Err(_)) | Err(_) => Err(late),
        }
    }

    pub(super) fn count(&self, outcome: InProcessOutcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Requests for models whose files are there, by what came of those.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        InProcessOutcome::ALL.into_iter().map(|(outcome, name)| (name, self.outcomes[outcome as usize].load(Relaxed)))
    }
}
