//! Questions under way, which requests with the same prompt share.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::TokensOutcome;

/// Tokens, or why there are none.
pub(super) type Answer = Result<Arc<[u32]>, TokensOutcome>;

/// Questions by their keys: as many as are under way at once.
#[derive(Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<HashMap<u128, watch::Receiver<Option<Answer>>>>>);

/// An answer to come.
pub(super) struct Pending(watch::Receiver<Option<Answer>>);

/// The end of a question; it is under way until this drops.
pub(super) struct Asked {
    all: UnderWay,
    key: u128,
    sender: watch::Sender<Option<Answer>>,
}

impl UnderWay {
    /// The answer to come of a question, if that is under way.
    pub(super) fn join(&self, key: u128) -> Option<Pending> {
        self.0.lock().get(&key).cloned().map(Pending)
    }
}

impl Asked {
    /// Begins a question.
    pub(super) fn begin(all: &UnderWay, key: u128) -> (Self, Pending) {
        let (sender, receiver) = watch::channel(None);
        all.0.lock().insert(key, receiver.clone());
        (Self { all: all.clone(), key, sender }, Pending(receiver))
    }

    /// Ends it.
    pub(super) fn end(self, answer: Answer) {
        self.sender.send_replace(Some(answer));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.key);
    }
}

impl Pending {
    /// Waits for the answer.
    pub(super) async fn wait(&mut self) -> Answer {
        let answer = self.0.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        answer.unwrap_or(Err(TokensOutcome::Unreachable))
    }
}
