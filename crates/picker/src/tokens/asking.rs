//! Questions under way.

use std::{borrow::Cow, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Engine, SilentEngines, Source, TokensOutcome,
    answer_cache::AnswerCache,
    client::{self, AskError, Client},
    lateness::Lateness,
    stand_back::{Question, QuestionEnd, StandBack},
    template::Templates,
    under_way::{Joined, Pending, UnderWay},
};

/// How long an engine may take so that its answer is in time.
const IN_TIME_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 18_000 } else { 45 });
/// How long an engine may take, for requests to come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 1 });
/// Most questions under way.
const MAX_QUESTIONS: usize = 16;

/// A question to be asked.
pub(super) struct Ask<'a> {
    pub(super) source: Source,
    /// Tokens of an earlier turn of the conversation.
    pub(super) earlier: Option<Arc<[u32]>>,
    pub(super) pieces: &'a [Cow<'a, [u8]>],
    pub(super) urgency: Urgency,
}

/// Requests that a question is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// One that waits for the answer.
    Awaited,
    /// Those to come.
    Background,
}

/// State of questions under way.
#[derive(Default)]
pub(super) struct Asking {
    pub(super) answers: Mutex<AnswerCache>,
    client: Client,
    pub(super) questions: Questions,
    pub(super) silent: Mutex<SilentEngines>,
    pub(super) stand_back: Mutex<StandBack>,
    pub(super) templates: Mutex<Templates>,
    pub(super) lateness: Mutex<Lateness>,
    under_way: UnderWay,
}

pub(super) struct Questions(Arc<Semaphore>);

impl Default for Questions {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_QUESTIONS)))
    }
}

#[cfg(test)]
impl Questions {
    pub(super) fn are_under_way(&self) -> bool {
        self.0.available_permits() < MAX_QUESTIONS
    }

    pub(super) fn take_all(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.0.try_acquire_many(MAX_QUESTIONS as u32).expect("all are free")
    }
}

/// A question that may be asked.
struct Admitted {
    permit: OwnedSemaphorePermit,
    engine: Engine,
    path: &'static str,
    question: Question,
}

impl Asking {
    /// Asks an engine, unless the same question is under way. An answer that comes too late for its request is kept for others, and compared
    /// with the earlier turn of its conversation.
    pub(super) fn ask(
        asking: &Arc<Self>,
        ask: Ask<'_>,
        runtime: &Handle,
        engine: impl FnOnce(&SilentEngines) -> Result<Engine, TokensOutcome>,
    ) -> Result<Pending, TokensOutcome> {
        let (asked, pending) = match asking.under_way.join(ask.source.question) {
            Joined::UnderWay(pending) => return Ok(pending),
            Joined::Begun(asked, pending) => (asked, pending),
        };
        let Admitted { permit, engine, path, question } = match asking.admit(engine) {
            Ok(admitted) => admitted,
            Err(outcome) => {
                // Others may have joined meanwhile.
                asked.end(Err(outcome));
                return Err(outcome);
            }
        };
        let Ask { source, earlier, pieces, urgency } = ask;
        let (asking, body) = (Arc::clone(asking), Bytes::from(pieces.concat()));
        runtime.spawn(async move {
            let begun = tokio::time::Instant::now();
            let answer = timeout(ANSWER_TIMEOUT, asking.client.ask(engine.address, path, engine.transport, body)).await;
            let answer = answer.unwrap_or(Err(AskError::Timeout));
            let is_late = begun.elapsed() > IN_TIME_TIMEOUT;
            let end = match &answer {
                Ok(_) if is_late && urgency == Urgency::Awaited => QuestionEnd::Neutral,
                Ok(_) => QuestionEnd::Success,
                Err(AskError::Refused | AskError::Missing | AskError::Bare) => QuestionEnd::Neutral,
                Err(_) => QuestionEnd::Failure,
            };
            let now = Instant::now();
            asking.stand_back.lock().end(question, end, now);
            match &answer {
                Ok(_) => asking.lateness.lock().answered(is_late),
                Err(AskError::Timeout) => asking.silent.lock().add(engine.address, now),
                Err(AskError::Bare) => asking.silent.lock().add_bare(engine.address, now),
                Err(AskError::Missing) => asking.silent.lock().add_missing(engine.address, source.model, now),
                Err(_) => {}
            }
            let answer = answer.map_err(outcome).map(Arc::from);
            answer.iter().for_each(|tokens| asking.keep(source, earlier.as_deref(), tokens));
            drop(permit);
            asked.end(answer);
        });
        Ok(pending)
    }

    /// All that a question needs.
    fn admit(&self, engine: impl FnOnce(&SilentEngines) -> Result<Engine, TokensOutcome>) -> Result<Admitted, TokensOutcome> {
        let permit = Arc::clone(&self.questions.0).try_acquire_owned().map_err(|_| TokensOutcome::Busy)?;
        let engine = engine(&self.silent.lock())?;
        let path = client::path(engine.kind).ok_or(TokensOutcome::Unsupported)?;
        // The last of all: what is not asked is no probe.
        let question = self.stand_back.lock().begin(Instant::now()).ok_or(TokensOutcome::StandingBack)?;
        Ok(Admitted { permit, engine, path, question })
    }

    fn keep(&self, source: Source, earlier: Option<&[u32]>, tokens: &Arc<[u32]>) {
        if let Some(earlier) = earlier {
            self.templates.lock().compare(source.model, earlier, tokens);
        }
        let gone = self.answers.lock().insert(source.question, Arc::clone(tokens));
        // Without the lock.
        drop(gone);
    }
}

fn outcome(error: AskError) -> TokensOutcome {
    match error {
        AskError::Unreachable => TokensOutcome::Unreachable,
        AskError::Refused | AskError::Bare | AskError::Missing | AskError::Failed => TokensOutcome::Status,
        AskError::Malformed => TokensOutcome::Malformed,
        AskError::Timeout => TokensOutcome::Timeout,
    }
}
