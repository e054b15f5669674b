//! Questions under way.

use std::{borrow::Cow, pin::pin, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::{timeout, timeout_at},
};

use super::{
    Engine, SilentEngines, Source, TokensOutcome,
    answer_cache::AnswerCache,
    client::{self, AskError, Client},
    stand_back::{QuestionEnd, StandBack},
    template::Templates,
};

/// How long an engine may take so that its answer is in time.
const IN_TIME_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 18_000 } else { 45 });
/// How long an engine may take, for requests to come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 1 });
/// Most questions under way.
const MAX_QUESTIONS: usize = 16;

/// Tokens, or why there are none.
type Answer = Result<Arc<[u32]>, TokensOutcome>;

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

impl Urgency {
    /// How long an answer is in time.
    fn timeout(self) -> Duration {
        match self {
            Self::Awaited => IN_TIME_TIMEOUT,
            Self::Background => ANSWER_TIMEOUT,
        }
    }
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

impl Asking {
    /// Asks an engine. An answer that comes too late for its request is kept for others, and compared with the earlier turn of its
    /// conversation.
    pub(super) fn ask(
        asking: &Arc<Self>,
        ask: Ask<'_>,
        runtime: &Handle,
        engine: impl FnOnce(&SilentEngines) -> Result<Engine, TokensOutcome>,
    ) -> Result<oneshot::Receiver<Answer>, TokensOutcome> {
        let Ok(permit) = asking.questions.0.clone().try_acquire_owned() else { return Err(TokensOutcome::Busy) };
        let engine = engine(&asking.silent.lock())?;
        let path = client::path(engine.kind).ok_or(TokensOutcome::Unsupported)?;
        // The last of all: what is not asked is no probe.
        let question = asking.stand_back.lock().begin(Instant::now()).ok_or(TokensOutcome::StandingBack)?;
        let (sender, receiver) = oneshot::channel();
        let mut sender = Some(sender);
        let mut send = move |answer: Answer| sender.take().map(|sender| sender.send(answer));
        let Ask { source, earlier, pieces, urgency } = ask;
        let (asking, body) = (Arc::clone(asking), Bytes::from(pieces.concat()));
        runtime.spawn(async move {
            let end_of_time = tokio::time::Instant::now() + ANSWER_TIMEOUT;
            let mut ask = pin!(asking.client.ask(engine.address, path, engine.transport, body));
            let in_time = timeout(urgency.timeout(), &mut ask).await;
            let is_late = in_time.is_err();
            let answer = match in_time {
                Ok(answer) => answer,
                Err(_) => {
                    send(Err(TokensOutcome::Timeout));
                    timeout_at(end_of_time, ask).await.unwrap_or(Err(AskError::Timeout))
                }
            };
            let end = match &answer {
                Ok(_) if is_late => QuestionEnd::Neutral,
                Ok(_) => QuestionEnd::Success,
                Err(AskError::Refused) => QuestionEnd::Neutral,
                Err(_) => QuestionEnd::Failure,
            };
            let now = Instant::now();
            asking.stand_back.lock().end(question, end, now);
            if answer == Err(AskError::Timeout) {
                asking.silent.lock().add(engine.address, now);
            }
            let answer = answer.map_err(outcome).map(Arc::from);
            answer.iter().for_each(|tokens| asking.keep(source, earlier.as_deref(), tokens));
            drop(permit);
            send(answer);
        });
        Ok(receiver)
    }

    fn keep(&self, source: Source, earlier: Option<&[u32]>, tokens: &Arc<[u32]>) {
        if let Some(earlier) = earlier {
            self.templates.lock().compare(source.model, earlier, tokens);
        }
        self.answers.lock().insert(source.question, Arc::clone(tokens));
    }
}

fn outcome(error: AskError) -> TokensOutcome {
    match error {
        AskError::Unreachable => TokensOutcome::Unreachable,
        AskError::Refused | AskError::Failed => TokensOutcome::Status,
        AskError::Malformed => TokensOutcome::Malformed,
        AskError::Timeout => TokensOutcome::Timeout,
    }
}
