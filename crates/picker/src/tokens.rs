//! Tokens of prompts, as the engines of a pool compute them: what their KV events name.
//!
//! The picker has no tokenizer. It asks an engine of the pool (`POST /tokenize`, by connections as those for metrics), remembers the
//! answer, and asks no more for a while where engines do not answer or answer wrong. A request waits for 50 ms at most; without tokens
//! its cached prefixes are estimated.

mod answer_cache;
mod client;
mod doubt;
mod stand_back;

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use pailou_kv_events::Prompt;
use pailou_snapshot::ModelServer;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::timeout,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use self::{
    answer_cache::AnswerCache,
    client::{AskError, Client},
    doubt::Doubts,
    stand_back::StandBack,
};
use crate::scrape::Transport;

/// How long a request waits for its tokens.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 20_000 } else { 50 });
/// How long an engine may take, for requests to come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 1 });
/// Most questions under way.
const MAX_QUESTIONS: usize = 16;
/// Longest question, in bytes.
const MAX_QUESTION_BYTES: usize = 8 << 20;

/// A request's prompt, for the question about its tokens.
#[derive(Clone, Copy, Debug)]
pub struct TokenQuestion<'a> {
    /// The engine's name of the model.
    pub model: &'a str,
    /// The request's `cache_salt`.
    pub cache_salt: Option<&'a str>,
    /// The prompt.
    pub prompt: PromptForm<'a>,
}

/// How a request gives its prompt.
#[derive(Clone, Copy, Debug)]
pub enum PromptForm<'a> {
    /// Slices of which the whole is the body of `POST /tokenize`.
    Body(&'a [Cow<'a, [u8]>]),
    /// In tokens.
    Tokens(&'a [u32]),
    /// In a form that the tokenizer does not take.
    Other,
}

/// A prompt whose tokens are known.
#[derive(Clone, Debug)]
pub struct PromptTokens {
    tokens: Arc<[u32]>,
    adapter: Option<Box<[u8]>>,
    cache_salt: Option<Box<[u8]>>,
    /// The question that they answer; `None` if the request gave them.
    source: Option<Source>,
}

/// Tokens, and the way to them.
struct Found {
    tokens: Arc<[u32]>,
    source: Option<Source>,
    outcome: TokensOutcome,
}

/// What an answer was for.
#[derive(Clone, Copy, Debug)]
struct Source {
    question: u128,
    model: u64,
}

impl PromptTokens {
    /// These tokens of a prompt, for the adapter and with the salt.
    pub fn new(tokens: Arc<[u32]>, adapter: Option<&str>, cache_salt: Option<&str>) -> Self {
        let bytes = |text: &str| Box::from(text.as_bytes());
        Self { tokens, adapter: adapter.map(bytes), cache_salt: cache_salt.map(bytes), source: None }
    }

    /// The prompt as the index of KV events looks it up.
    pub fn prompt(&self) -> Prompt<'_> {
        Prompt { tokens: &self.tokens, adapter: self.adapter.as_deref(), cache_salt: self.cache_salt.as_deref(), images: &[] }
    }

    /// All tokens.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Whether blocks of the one can serve the other: they are of the same adapter and have the same salt.
    pub(crate) fn shares_cache_with(&self, other: &Self) -> bool {
        self.adapter == other.adapter && self.cache_salt == other.cache_salt
    }

    pub(crate) fn set_adapter(&mut self, name: &str) {
        self.adapter = Some(name.as_bytes().into());
    }
}

/// Ways to come to a prompt's tokens, or to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokensOutcome {
    /// From an earlier answer.
    Remembered,
    /// An engine answered in time.
    Answered,
    /// The request gave them.
    Given,
    /// The prompt is of a form or an API that the tokenizer does not take, or too long.
    Unsupported,
    /// No answer within 50 ms.
    Timeout,
    /// No connection, or one that broke.
    Unreachable,
    /// An answer of another status than 200.
    Status,
    /// An answer that is none.
    Malformed,
    /// Too many questions are under way.
    Busy,
    /// Nothing is asked after failures in a row.
    StandingBack,
    /// Answers for this model did not agree with the engine's own count.
    Doubted,
}

impl TokensOutcome {
    /// All.
    pub(crate) const ALL: [Self; 11] = [
        Self::Remembered,
        Self::Answered,
        Self::Given,
        Self::Unsupported,
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
            Self::Answered => "answered",
            Self::Given => "given",
            Self::Unsupported => "unsupported",
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

/// Tokens of a pool's prompts.
#[derive(Default)]
pub(crate) struct Tokenizer {
    answers: Arc<Mutex<AnswerCache>>,
    client: Arc<Client>,
    questions: Questions,
    stand_back: Mutex<StandBack>,
    doubts: Mutex<Doubts>,
    outcomes: [AtomicU64; TokensOutcome::ALL.len()],
    mismatches: AtomicU64,
    is_mismatch_reported: AtomicBool,
}

struct Questions(Arc<Semaphore>);

impl Default for Questions {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_QUESTIONS)))
    }
}

/// An engine to ask.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    pub(crate) kind: ModelServer,
    pub(crate) transport: Option<Arc<dyn Transport>>,
}

impl Tokenizer {
    /// Tokens of a prompt. `engine` chooses the one to ask, should that be necessary.
    pub(crate) async fn tokens(
        &self,
        question: &TokenQuestion<'_>,
        runtime: &Handle,
        engine: impl FnOnce() -> Option<Engine>,
    ) -> Option<PromptTokens> {
        let found = self.find(question, runtime, engine).await;
        let outcome = found.as_ref().map_or_else(|outcome| *outcome, |found| found.outcome);
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
        let Found { tokens, source, .. } = found.ok()?;
        Some(PromptTokens { source, ..PromptTokens::new(tokens, None, question.cache_salt.filter(|salt| !salt.is_empty())) })
    }

    async fn find(
        &self,
        question: &TokenQuestion<'_>,
        runtime: &Handle,
        engine: impl FnOnce() -> Option<Engine>,
    ) -> Result<Found, TokensOutcome> {
        let body = match question.prompt {
            PromptForm::Tokens(tokens) if !tokens.is_empty() => {
                return Ok(Found { tokens: tokens.into(), source: None, outcome: TokensOutcome::Given });
            }
            PromptForm::Body(body) if body.iter().map(|piece| piece.len()).sum::<usize>() <= MAX_QUESTION_BYTES => body,
            _ => return Err(TokensOutcome::Unsupported),
        };
        let source = Source { question: key(body), model: xxh3_64(question.model.as_bytes()) };
        let now = Instant::now();
        if self.doubts.lock().is_doubted(source.model, now) {
            return Err(TokensOutcome::Doubted);
        }
        if let Some(tokens) = self.answers.lock().find(source.question) {
            return Ok(Found { tokens, source: Some(source), outcome: TokensOutcome::Remembered });
        }
        if !self.stand_back.lock().may_ask(now) {
            return Err(TokensOutcome::StandingBack);
        }
        let asked = self.ask(source.question, body, runtime, engine).await;
        match asked {
            Ok(_) => self.stand_back.lock().succeeded(),
            Err(TokensOutcome::Busy | TokensOutcome::Unsupported) => {}
            Err(_) => self.stand_back.lock().failed(Instant::now()),
        }
        asked.map(|tokens| Found { tokens, source: Some(source), outcome: TokensOutcome::Answered })
    }

    /// Asks an engine. An answer that comes too late for this request is kept for others.
    async fn ask(
        &self,
        key: u128,
        body: &[Cow<'_, [u8]>],
        runtime: &Handle,
        engine: impl FnOnce() -> Option<Engine>,
    ) -> Result<Arc<[u32]>, TokensOutcome> {
        let Ok(permit) = self.questions.0.clone().try_acquire_owned() else { return Err(TokensOutcome::Busy) };
        let engine = engine().ok_or(TokensOutcome::Unreachable)?;
        let path = client::path(engine.kind).ok_or(TokensOutcome::Unsupported)?;
        let (sender, answer) = oneshot::channel();
        let (client, answers, body) = (self.client.clone(), self.answers.clone(), Bytes::from(body.concat()));
        runtime.spawn(async move {
            let answer = timeout(ANSWER_TIMEOUT, client.ask(engine.address, path, engine.transport, body)).await;
            let answer = answer.map_err(|_| TokensOutcome::Timeout).and_then(|answer| answer.map_err(outcome)).map(Arc::from);
            if let Ok(tokens) = &answer {
                answers.lock().insert(key, Arc::clone(tokens));
            }
            drop(permit);
            _ = sender.send(answer);
        });
        match timeout(REQUEST_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(TokensOutcome::Unreachable),
            Err(_) => Err(TokensOutcome::Timeout),
        }
    }

    /// Takes an engine's own count of a prompt. Returns whether the operator is to know that it disagrees.
    pub(crate) fn verify(&self, prompt: &PromptTokens, counted: u64) -> bool {
        let Some(source) = prompt.source else { return false };
        let agrees = prompt.tokens.len() as u64 == counted;
        self.doubts.lock().verified(source.model, agrees, Instant::now());
        if agrees {
            return false;
        }
        self.answers.lock().remove(source.question);
        self.mismatches.fetch_add(1, Relaxed);
        !self.is_mismatch_reported.swap(true, Relaxed)
    }

    /// Requests by the way in which their tokens were found, or by the reason why they were not.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TokensOutcome::ALL.into_iter().map(|outcome| (outcome.name(), self.outcomes[outcome as usize].load(Relaxed)))
    }

    /// Answers that did not agree with the engine's own count of a prompt.
    pub(crate) fn mismatches(&self) -> u64 {
        self.mismatches.load(Relaxed)
    }

    /// Tokens of remembered answers.
    pub(crate) fn remembered_tokens(&self) -> usize {
        self.answers.lock().tokens()
    }
}

fn key(body: &[Cow<'_, [u8]>]) -> u128 {
    let mut hash = Xxh3::new();
    body.iter().for_each(|piece| hash.update(piece));
    hash.digest128()
}

fn outcome(error: AskError) -> TokensOutcome {
    match error {
        AskError::Unreachable => TokensOutcome::Unreachable,
        AskError::Status => TokensOutcome::Status,
        AskError::Malformed => TokensOutcome::Malformed,
    }
}

#[cfg(test)]
mod tests;
