//! Tokens of prompts, as the engines of a pool compute them: what their KV events name.
//!
//! A tokenizer in this process gives them where the model's files are there (`in_process`). Otherwise the picker asks an engine of
//! the pool (`POST /tokenize`, by connections as those for metrics), remembers the answer, and asks no more for a while where
//! engines do not answer or answer wrong. A request waits for 50 ms at most in all, and not at all where all answers come later
//! than that; without tokens its cached prefixes are estimated. Requests with one prompt share a question.

mod answer_cache;
mod asking;
mod client;
mod doubt;
mod in_process;
mod late_sizes;
mod lateness;
mod outcome;
mod prompt_permits;
mod question_keys;
mod question_kind;
mod silent;
mod stand_back;
mod template;
mod under_way;
mod way;

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use pailou_kv_events::Prompt;
use pailou_snapshot::ModelServer;
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::timeout_at};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::{
    asking::{Ask, Asking, Urgency},
    doubt::Doubts,
    in_process::{InProcess, InProcessOutcome, LocalQuestion},
    question_keys::QuestionKeys,
    question_kind::QuestionKind,
};
pub(crate) use self::{in_process::LocalTokenizer, outcome::TokensOutcome, silent::SilentEngines};
pub use self::{
    in_process::{PromptTokenizer, TokenSource, TokenSourceError},
    prompt_permits::PromptPermits,
    way::TokensWay,
};
use crate::scrape::Transport;

/// How long a request waits for its tokens.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 20_000 } else { 50 });
/// Longest question, in bytes.
const MAX_QUESTION_BYTES: usize = 8 << 20;
/// Longest `cache_salt`, in bytes: it is kept with the tokens.
const MAX_SALT_BYTES: usize = 1 << 10;
/// Part of the keys of prompts and models whose tokens this process has computed: they are doubted apart from engines' answers.
const IN_PROCESS_KEY: u64 = 0x9e37_79b9_7f4a_7c15;

/// A request's prompt, for the question about its tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenQuestion<'a> {
    /// The engine's name of the model.
    pub model: &'a str,
    /// The request's `cache_salt`.
    pub cache_salt: Option<&'a str>,
    /// The prompt.
    pub prompt: PromptForm<'a>,
    /// The request's [`crate::PickRequest::subset`]: no other engine learns of the prompt.
    pub subset: Option<&'a [SocketAddr]>,
    /// Its [`crate::PickRequest::avoided`].
    pub avoided: &'a [bool],
}

/// How a request gives its prompt.
#[derive(Clone, Copy, Debug, Default)]
pub enum PromptForm<'a> {
    /// The body of `POST /tokenize`.
    Body {
        /// Its pieces. The third is the prompt.
        pieces: &'a [Cow<'a, [u8]>],
        /// Places in the prompt where each of a chat's messages ends.
        message_ends: &'a [usize],
        /// It is what an engine is expected to make of a request in another form: doubts about it concern such requests alone.
        is_converted: bool,
    },
    /// In tokens.
    Tokens(&'a [u32]),
    /// In a form that the tokenizer does not take.
    #[default]
    Other,
}

/// A prompt whose tokens are known.
#[derive(Clone, Debug)]
pub struct PromptTokens {
    tokens: Arc<[u32]>,
    /// How many of them begin the prompt: all, or what an earlier turn of the conversation shares with it.
    known: usize,
    /// Tokens of the whole prompt, estimated if not all are known.
    total: usize,
    adapter: Option<Box<[u8]>>,
    cache_salt: Option<Box<[u8]>>,
    /// The question that they answer, and the model's name; `None` if the request gave them.
    source: Option<(Source, Arc<str>)>,
    way: Option<TokensWay>,
}

/// Tokens, and the way to them.
struct Found {
    tokens: Arc<[u32]>,
    /// How many of them begin the prompt, and its length; `None` if they are all of it.
    part: Option<(usize, usize)>,
    source: Option<Source>,
    outcome: TokensOutcome,
}

/// Request that the answer was for.
#[derive(Clone, Copy, Debug)]
struct Source {
    question: u128,
    /// The model's key; another one for requests in other forms.
    model: u64,
    /// Key of the model's questions of the same kind, which are doubted together.
    doubt: u64,
    tokenizer: TokenizerPlace,
}

/// Place of the tokenizer that gave tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenizerPlace {
    InProcess,
    Engine,
}

/// An answer that a prompt's tokens came from, to be verified by the engine's own count.
#[derive(Clone, Debug)]
pub(crate) struct AskedTokens {
    source: Source,
    pub(crate) model: Arc<str>,
    /// Number of its tokens.
    pub(crate) count: usize,
}

impl PromptTokens {
    /// These tokens of a prompt, for the adapter and with the salt.
    pub fn new(tokens: Arc<[u32]>, adapter: Option<&str>, cache_salt: Option<&str>) -> Self {
        let bytes = |text: &str| Box::from(text.as_bytes());
        let known = tokens.len();
        Self {
            tokens,
            known,
            total: known,
            adapter: adapter.map(bytes),
            cache_salt: cache_salt.map(bytes),
            source: None,
            way: None,
        }
    }

    /// The way to them; `None` if they were made otherwise.
    pub fn way(&self) -> Option<TokensWay> {
        self.way
    }

    /// The prompt as the index of KV events looks it up.
    pub fn prompt(&self) -> Prompt<'_> {
        Prompt { tokens: self.tokens(), adapter: self.adapter.as_deref(), cache_salt: self.cache_salt.as_deref(), images: &[] }
    }

    /// The tokens that are known, from the prompt's beginning.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens[..self.known.min(self.tokens.len())]
    }

    /// Tokens of the whole prompt, estimated if not all are known.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Whether blocks of the one can serve the other: they are of the same adapter and have the same salt.
    pub(crate) fn shares_cache_with(&self, other: &Self) -> bool {
        self.adapter == other.adapter && self.cache_salt == other.cache_salt
    }

    /// The answer that they are; `None` if the request gave them, or if they are those of an earlier turn.
    pub(crate) fn asked(&self) -> Option<AskedTokens> {
        let (source, model) = self.source.as_ref()?;
        Some(AskedTokens { source: *source, model: Arc::clone(model), count: self.tokens.len() })
    }

    /// Memory that it takes, in tokens of 4 bytes.
    pub(crate) fn cost(&self) -> usize {
        let bytes = |text: &Option<Box<[u8]>>| text.as_ref().map_or(0, |text| text.len());
        self.tokens.len() + (bytes(&self.adapter) + bytes(&self.cache_salt)).div_ceil(size_of::<u32>())
    }

    pub(crate) fn set_adapter(&mut self, name: &str) {
        self.adapter = Some(name.as_bytes().into());
    }
}

/// Tokens of a pool's prompts.
pub(crate) struct Tokenizer {
    /// Of all keys here: clients choose what they stand for.
    seed: u64,
    asking: Arc<Asking>,
    doubts: Mutex<Doubts>,
    in_process: InProcess,
    outcomes: [AtomicU64; TokensOutcome::ALL.len()],
    mismatches: AtomicU64,
}

/// An engine to ask.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    pub(crate) kind: ModelServer,
    pub(crate) transport: Option<Arc<dyn Transport>>,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self {
            seed: fastrand::u64(..),
            asking: Arc::default(),
            doubts: Mutex::default(),
            in_process: InProcess::default(),
            outcomes: std::array::from_fn(|_| AtomicU64::new(0)),
            mismatches: AtomicU64::new(0),
        }
    }
}

impl Tokenizer {
    /// Tokens of a prompt. `engine` chooses the one to ask, should that be necessary, for the model with a key.
    ///
    /// # Errors
    /// They are not known: they are to be estimated.
    pub(crate) async fn tokens(
        &self,
        question: &TokenQuestion<'_>,
        runtime: &Handle,
        (local, engine): (Option<LocalTokenizer>, impl Fn(&SilentEngines, u64) -> Result<Engine, TokensOutcome>),
    ) -> Result<PromptTokens, TokensWay> {
        let mut in_process = None;
        let found = self.find(question, runtime, (local, engine), &mut in_process).await;
        let outcome = found.as_ref().map_or_else(|outcome| *outcome, |found| found.outcome);
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
        let way = TokensWay::new(outcome, in_process);
        let Found { tokens, part, source, .. } = found.map_err(|_| way)?;
        let (known, total) = part.unwrap_or((tokens.len(), tokens.len()));
        let prompt = PromptTokens::new(tokens, None, question.cache_salt.filter(|salt| !salt.is_empty()));
        let source = source.map(|source| (source, Arc::from(question.model)));
        Ok(PromptTokens { known, total, source, way: Some(way), ..prompt })
    }

    async fn find(
        &self,
        question: &TokenQuestion<'_>,
        runtime: &Handle,
        (local, engine): (Option<LocalTokenizer>, impl Fn(&SilentEngines, u64) -> Result<Engine, TokensOutcome>),
        in_process: &mut Option<InProcessOutcome>,
    ) -> Result<Found, TokensOutcome> {
        let deadline = tokio::time::Instant::now() + REQUEST_TIMEOUT;
        if question.cache_salt.is_some_and(|salt| salt.len() > MAX_SALT_BYTES) {
            return Err(TokensOutcome::Unsupported);
        }
        let (pieces, message_ends, is_converted) = match question.prompt {
            PromptForm::Tokens(tokens) if !tokens.is_empty() => {
                return Ok(Found { tokens: tokens.into(), part: None, source: None, outcome: TokensOutcome::Given });
            }
            PromptForm::Body { pieces, message_ends, is_converted } => (pieces, message_ends, is_converted),
            _ => return Err(TokensOutcome::Unsupported),
        };
        if pieces.iter().map(|piece| piece.len()).sum::<usize>() > MAX_QUESTION_BYTES {
            return Err(TokensOutcome::Unsupported);
        }
        let keys = QuestionKeys::new(self.seed, pieces, message_ends);
        let model = self.key_of_model(question.model) ^ u64::from(is_converted);
        let kind = QuestionKind::new(pieces, is_converted);
        let source = Source { question: keys.whole, model, doubt: kind.key(model), tokenizer: TokenizerPlace::Engine };
        if let Some(local) = local {
            engine(&SilentEngines::default(), source.model)?;
            let question = LocalQuestion { pieces, model, is_chat: kind.is_chat, deadline };
            match self.compute(local, question, source, runtime).await {
                Ok(found) => return Ok(found),
                Err(outcome) => *in_process = Some(outcome),
            }
        }
        if self.doubts.lock().is_doubted(source.doubt, Instant::now()) {
            return Err(TokensOutcome::Doubted);
        }
        let (whole, earlier) = {
            let mut answers = self.asking.answers.lock();
            let whole = answers.find(keys.whole);
            let mut earlier = || keys.earlier.iter().find_map(|(key, factor)| Some((answers.find(*key)?, *factor)));
            let earlier = if whole.is_none() { earlier() } else { None };
            (whole, earlier)
        };
        if let Some(tokens) = whole {
            return Ok(Found { tokens, part: None, source: Some(source), outcome: TokensOutcome::Remembered });
        }
        let usable = earlier.as_ref().and_then(|(tokens, _)| self.asking.templates.lock().usable(source.model, tokens.len()));
        let ask = Ask {
            source,
            earlier: earlier.as_ref().map(|(tokens, _)| Arc::clone(tokens)),
            pieces,
            urgency: if usable.is_some() { Urgency::Background } else { Urgency::Awaited },
        };
        let asked = Asking::ask(&self.asking, ask, runtime, |silent| engine(silent, source.model));
        if let Some(((tokens, factor), known)) = earlier.zip(usable) {
            let total = (tokens.len() as f64 * factor) as usize;
            return Ok(Found { tokens, part: Some((known, total.max(known))), source: None, outcome: TokensOutcome::Continued });
        }
        let mut answer = asked?;
        if self.asking.lateness.lock().is_usual() {
            return Err(TokensOutcome::StandingBack);
        }
        let answer = timeout_at(deadline, answer.wait()).await.map_err(|_| TokensOutcome::Timeout)?;
        let tokens = answer?;
        Ok(Found { tokens, part: None, source: Some(source), outcome: TokensOutcome::Answered })
    }

    /// Tokens that this process computes.
    ///
    /// # Errors
    /// An engine is to be asked.
    async fn compute(
        &self,
        local: LocalTokenizer,
        local_question: LocalQuestion<'_>,
        Source { question, model, doubt, .. }: Source,
        runtime: &Handle,
    ) -> Result<Found, InProcessOutcome> {
        let (question, doubt) = (question ^ u128::from(IN_PROCESS_KEY), doubt ^ IN_PROCESS_KEY);
        let source = Source { question, model, doubt, tokenizer: TokenizerPlace::InProcess };
        if self.doubts.lock().is_doubted(source.doubt, Instant::now()) {
            self.in_process.count(InProcessOutcome::Doubted);
            return Err(InProcessOutcome::Doubted);
        }
        let tokens = self.in_process.tokens(local, local_question, runtime).await?;
        Ok(Found { tokens, part: None, source: Some(source), outcome: TokensOutcome::Computed })
    }

    fn key_of_model(&self, model: &str) -> u64 {
        xxh3_64_with_seed(model.as_bytes(), self.seed)
    }

    /// Takes an engine's own count of a prompt. Gives the tokenizer that is doubted from now on, for the operator to know.
    pub(crate) fn verify(&self, asked: &AskedTokens, counted: u64) -> Option<TokenizerPlace> {
        let AskedTokens { source, count, .. } = asked;
        let agrees = *count as u64 == counted;
        let begins = self.doubts.lock().verified(source.doubt, agrees, Instant::now());
        if !agrees {
            self.asking.answers.lock().remove(source.question);
            self.mismatches.fetch_add(1, Relaxed);
        }
        begins.then_some(source.tokenizer)
    }

    /// Requests by the way in which their tokens were found, or by the reason why they were not.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TokensOutcome::ALL.into_iter().map(|outcome| (outcome.name(), self.outcomes[outcome as usize].load(Relaxed)))
    }

    /// Requests for models whose files are there, by what came of those.
    pub(crate) fn in_process_outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.in_process.outcomes()
    }

    /// Answers that did not agree with the engine's own count of a prompt.
    pub(crate) fn mismatches(&self) -> u64 {
        self.mismatches.load(Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn silent(&self) -> parking_lot::MutexGuard<'_, SilentEngines> {
        self.asking.silent.lock()
    }

    /// Tokens of remembered answers.
    pub(crate) fn remembered_tokens(&self) -> usize {
        self.asking.answers.lock().tokens()
    }
}

#[cfg(test)]
mod tests;
