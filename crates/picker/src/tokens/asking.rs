//! Questions under way.

use std::{borrow::Cow, pin::pin, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::{
    Engine, Source, TokensOutcome,
    answer_cache::AnswerCache,
    client::{self, AskError, Client},
    stand_back::StandBack,
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

/// State of questions under way.
#[derive(Default)]
pub(super) struct Asking {
    pub(super) answers: Mutex<AnswerCache>,
    client: Client,
    questions: Questions,
    pub(super) stand_back: Mutex<StandBack>,
    pub(super) templates: Mutex<Templates>,
}

struct Questions(Arc<Semaphore>);

impl Default for Questions {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_QUESTIONS)))
    }
}

impl Asking {
    /// Asks an engine. An answer that comes too late for its request is kept for others, and compared with the earlier turn of its
    /// conversation.
    pub(super) fn ask(
        asking: &Arc<Self>,
        source: Source,
        earlier: Option<Arc<[u32]>>,
        pieces: &[Cow<'_, [u8]>],
        runtime: &Handle,
        engine: impl FnOnce() -> Option<Engine>,
    ) -> Result<oneshot::Receiver<Answer>, TokensOutcome> {
        let Ok(permit) = asking.questions.0.clone().try_acquire_owned() else { return Err(TokensOutcome::Busy) };
        let engine = engine().ok_or(TokensOutcome::Unreachable)?;
        let path = client::path(engine.kind).ok_or(TokensOutcome::Unsupported)?;
        let (sender, answer) = oneshot::channel();
        let (asking, body) = (Arc::clone(asking), Bytes::from(pieces.concat()));
        runtime.spawn(async move {
            let mut ask = pin!(asking.client.ask(engine.address, path, engine.transport, body));
            let in_time = timeout(IN_TIME_TIMEOUT, &mut ask).await;
            let has_succeeded = matches!(in_time, Ok(Ok(_)));
            asking.stand_back.lock().ended(has_succeeded, Instant::now());
            let answer = match in_time {
                Ok(answer) => answer.map_err(outcome).map(Arc::from),
                Err(_) => {
                    _ = sender.send(Err(TokensOutcome::Timeout));
                    if let Ok(Ok(late)) = timeout(ANSWER_TIMEOUT, ask).await {
                        asking.keep(source, earlier.as_deref(), &late.into());
                    }
                    return drop(permit);
                }
            };
            answer.iter().for_each(|tokens| asking.keep(source, earlier.as_deref(), tokens));
            drop(permit);
            _ = sender.send(answer);
        });
        Ok(answer)
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
        AskError::Status => TokensOutcome::Status,
        AskError::Malformed => TokensOutcome::Malformed,
    }
}
