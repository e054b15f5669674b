//! Questions under way, which requests with the same prompt share.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

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

/// A request's part in a question.
pub(super) enum Joined {
    /// The question is under way.
    UnderWay(Pending),
    /// It begins with this request.
    Begun(Asked, Pending),
}

impl UnderWay {
    /// Joins a question, which begins if it is not under way: of requests that come together one asks.
    pub(super) fn join(&self, key: u128) -> Joined {
        match self.0.lock().entry(key) {
            Entry::Occupied(known) => Joined::UnderWay(Pending(known.get().clone())),
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(None);
                place.insert(receiver.clone());
                Joined::Begun(Asked { all: self.clone(), key, sender }, Pending(receiver))
            }
        }
    }
}

impl Asked {
    /// Ends it.
    pub(super) fn end(self, answer: Answer) {
        self.sender.send_replace(Some(answer));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Its own: no other begins while it is there.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_request_begins_a_question_and_the_others_share_its_answer() {
        let all = UnderWay::default();
        let Joined::Begun(asked, mut first) = all.join(1) else { panic!("it is under way") };
        let Joined::UnderWay(mut second) = all.join(1) else { panic!("it began twice") };
        let Joined::Begun(other, _) = all.join(2) else { panic!("another is under way") };
        asked.end(Ok([7].into()));
        assert_eq!((first.wait().await, second.wait().await), (Ok([7].into()), Ok([7].into())));
        assert!(matches!(all.join(2), Joined::UnderWay(_)), "the end of one ends no other");
        drop(other);
        assert!(matches!(all.join(2), Joined::Begun(..)));
        assert!(all.0.lock().is_empty());
    }
}
