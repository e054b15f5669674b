//! Logins whose code has been exchanged. A `state` counts once, however often somebody sends it: the provider hears of it no second time.
//!
//! A client that leaves during the exchange does not end it. It may come back with the same `state` for a while, and gets the answer then.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use pailou_auth::{LoginId, PendingLogin, TokenResponse, TokenResponseError};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep},
};

/// Most logins that are remembered. Beyond that the gateway forgets those that end first, and the provider refuses their codes.
const MAX_LOGINS: usize = 32 << 10;
/// Most exchanges of one login: one that the provider does not answer may be repeated.
const MAX_EXCHANGES: u8 = 3;
/// Time for which the answer is kept for a client that has left.
const KEPT_ANSWER: Duration = Duration::from_secs(30);
/// How often answers whose time is over are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(5);
/// Most answers that are kept so.
const MAX_KEPT_ANSWERS: usize = 1024;

/// Answer to a login's exchange.
pub(crate) type LoginOutcome = Result<TokenResponse, LoginFailure>;

/// Reason why a login has no tokens.
#[derive(Clone, Debug)]
pub(crate) enum LoginFailure {
    /// The provider refuses the code.
    Refused(TokenResponseError),
    /// Too many exchanges are under way: the provider was not asked.
    Busy,
    /// The provider gave no answer, for this reason.
    Unavailable(Arc<str>),
}

/// Logins whose code has been exchanged, or is being exchanged. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct UsedLogins(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    logins: HashMap<LoginId, UsedLogin>,
    /// The logins by their end, in seconds since 1970.
    by_end: BTreeSet<(i64, LoginId)>,
    /// Exchanges whose client has left before it had a response.
    left: HashMap<LoginId, LeftExchange>,
    /// A task forgets those whose time is over.
    forgets: bool,
}

#[derive(Default)]
struct UsedLogin {
    exchanges: u8,
    /// Another exchange may begin.
    is_open: bool,
}

/// Outcome of an exchange that brought no answer of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswered {
    /// The provider was not asked.
    NotAsked,
    /// The provider gave no answer.
    Asked,
}

struct LeftExchange {
    since: Instant,
    outcome: Exchange,
}

/// An exchange under way, or through.
type Exchange = watch::Receiver<Option<LoginOutcome>>;

/// A client that waits for the exchange of its login. Dropped before [`Self::complete`], it leaves the answer to its next request.
pub(crate) struct WaitingClient {
    logins: UsedLogins,
    id: LoginId,
    /// `None` once the login is over.
    exchange: Option<Exchange>,
}

impl UsedLogins {
    /// Has the code of a login exchanged by `ask`, in a task of its own; or, if a client has left during the exchange, gives the answer to that.
    /// `None`: the login is over, or another request waits for it. `now` is in seconds since 1970.
    pub(crate) fn enter(
        &self,
        login: &PendingLogin,
        now: i64,
        ask: impl Future<Output = LoginOutcome> + Send + 'static,
    ) -> Option<WaitingClient> {
        let PendingLogin { id, end, .. } = *login;
        let exchange = if self.begin(id, end, now) { self.ask(id, ask) } else { self.take_left(id)? };
        Some(WaitingClient { logins: self.clone(), id, exchange: Some(exchange) })
    }

    fn ask(&self, id: LoginId, ask: impl Future<Output = LoginOutcome> + Send + 'static) -> Exchange {
        let (sender, exchange) = watch::channel(None);
        let logins = self.clone();
        tokio::spawn(async move {
            let outcome = ask.await;
            match &outcome {
                Ok(_) | Err(LoginFailure::Refused(_)) => {}
                Err(LoginFailure::Busy) => logins.reopen(id, Unanswered::NotAsked),
                Err(LoginFailure::Unavailable(_)) => logins.reopen(id, Unanswered::Asked),
            }
            // Nobody may be there any more.
            sender.send_replace(Some(outcome));
        });
        exchange
    }

    fn leave(&self, id: LoginId, outcome: Exchange) {
        // The login is open again, or the gateway stops.
        let is_unanswered = match &*outcome.borrow() {
            Some(outcome) => matches!(outcome, Err(LoginFailure::Busy | LoginFailure::Unavailable(_))),
            None => outcome.has_changed().is_err(),
        };
        if is_unanswered {
            return;
        }
        if self.0.lock().keep_left(id, outcome) {
            self.keep_forgetting();
        }
    }

    /// Forgets answers whose time is over, for as long as there are any: nobody may come for tokens that were left.
    fn keep_forgetting(&self) {
        let logins = Arc::downgrade(&self.0);
        let forget = async move {
            loop {
                sleep(FORGET_INTERVAL).await;
                let Some(logins) = logins.upgrade() else { return };
                let mut state = logins.lock();
                state.forget_left();
                state.forgets = !state.left.is_empty();
                if !state.forgets {
                    return;
                }
            }
        };
        match Handle::try_current() {
            Ok(tasks) => drop(tasks.spawn(forget)),
            // The worker has gone; so do the answers. The logins stay used.
            Err(_) => {
                let mut state = self.0.lock();
                state.left.clear();
                state.forgets = false;
            }
        }
    }

    fn take_left(&self, id: LoginId) -> Option<Exchange> {
        let mut state = self.0.lock();
        state.forget_left();
        state.left.remove(&id).map(|left| left.outcome)
    }

    /// Begins the exchange of a login that ends at `end`, in seconds since 1970 as `now` is. Gives back whether it may begin.
    fn begin(&self, id: LoginId, end: i64, now: i64) -> bool {
        let mut state = self.0.lock();
        while let Some((first, id)) = state.by_end.first().copied()
            && (first < now || state.by_end.len() >= MAX_LOGINS)
        {
            state.by_end.remove(&(first, id));
            state.logins.remove(&id);
            state.left.remove(&id);
        }
        let login = state.logins.entry(id).or_insert(UsedLogin { exchanges: 0, is_open: true });
        if !std::mem::take(&mut login.is_open) {
            return false;
        }
        login.exchanges += 1;
        state.by_end.insert((end, id));
        true
    }

    /// Lets an exchange be repeated that came to nothing through no fault of the client.
    fn reopen(&self, id: LoginId, outcome: Unanswered) {
        if let Some(login) = self.0.lock().logins.get_mut(&id) {
            login.exchanges -= u8::from(outcome == Unanswered::NotAsked);
            login.is_open = login.exchanges < MAX_EXCHANGES;
        }
    }
}

impl State {
    /// Keeps an answer, in the place of the oldest if there are too many. Gives back whether nobody forgets them yet, which the caller is
    /// to begin.
    fn keep_left(&mut self, id: LoginId, outcome: Exchange) -> bool {
        self.forget_left();
        if self.left.len() >= MAX_KEPT_ANSWERS
            && let Some(oldest) = self.left.iter().min_by_key(|(_, left)| left.since).map(|(id, _)| *id)
        {
            self.left.remove(&oldest);
        }
        self.left.insert(id, LeftExchange { since: Instant::now(), outcome });
        !std::mem::replace(&mut self.forgets, true)
    }

    /// Tokens are kept no longer than need be.
    fn forget_left(&mut self) {
        self.left.retain(|_, left| left.since.elapsed() < KEPT_ANSWER);
    }
}

impl WaitingClient {
    /// Waits for the answer.
    pub(crate) async fn outcome(&mut self) -> LoginOutcome {
        let stopped = || Err(LoginFailure::Unavailable("the gateway stops".into()));
        let Some(exchange) = &mut self.exchange else { return stopped() };
        let found = exchange.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.unwrap_or_else(stopped)
    }

    /// Ends the login: the client has its response.
    pub(crate) fn complete(mut self) {
        self.exchange = None;
    }
}

impl Drop for WaitingClient {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.logins.leave(self.id, exchange);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> LoginId {
        LoginId((number as u128).to_be_bytes())
    }

    #[test]
    fn a_login_is_exchanged_once_and_a_few_times_if_the_provider_is_silent() {
        let logins = UsedLogins::default();
        assert!(logins.begin(id(1), 600, 0) && !logins.begin(id(1), 600, 0) && logins.begin(id(2), 600, 0));
        logins.reopen(id(1), Unanswered::NotAsked);
        for _ in 0..MAX_EXCHANGES {
            assert!(logins.begin(id(1), 600, 1) && !logins.begin(id(1), 600, 1));
            logins.reopen(id(1), Unanswered::Asked);
        }
        assert!(!logins.begin(id(1), 600, 600));
    }

    #[tokio::test]
    async fn the_answer_waits_for_a_client_that_has_left_and_for_no_other() {
        let logins = UsedLogins::default();
        let refused = || Err(LoginFailure::Refused(TokenResponseError::Form));
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        assert!(logins.begin(id(1), 600, 0));
        let exchange = logins.ask(id(1), async move {
            let _ = held.await;
            refused()
        });
        let waiting = |exchange| WaitingClient { logins: logins.clone(), id: id(1), exchange: Some(exchange) };
        let first = waiting(exchange);
        assert!(!logins.begin(id(1), 600, 0) && logins.take_left(id(1)).is_none(), "while the first is there");
        drop(first);
        assert!(logins.take_left(id(2)).is_none());
        let mut second = waiting(logins.take_left(id(1)).unwrap());
        assert!(logins.take_left(id(1)).is_none(), "while the second is there");
        release.send(()).unwrap();
        assert!(matches!(second.outcome().await, Err(LoginFailure::Refused(_))));
        // It has left before it had a response.
        drop(second);
        let third = waiting(logins.take_left(id(1)).unwrap());
        third.complete();
        assert!(!logins.begin(id(1), 600, 0) && logins.take_left(id(1)).is_none());
    }

    #[tokio::test]
    async fn an_exchange_without_an_answer_is_left_to_nobody() {
        let logins = UsedLogins::default();
        assert!(logins.begin(id(1), 600, 0));
        let exchange = logins.ask(id(1), async { Err(LoginFailure::Unavailable("silent".into())) });
        let mut waiting = WaitingClient { logins: logins.clone(), id: id(1), exchange: Some(exchange) };
        assert!(waiting.outcome().await.is_err());
        drop(waiting);
        assert!(logins.take_left(id(1)).is_none() && logins.begin(id(1), 600, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_that_nobody_comes_for_are_forgotten_without_another_login() {
        let logins = UsedLogins::default();
        let (_sender, exchange) = watch::channel(None);
        logins.leave(id(1), exchange.clone());
        sleep(KEPT_ANSWER / 2).await;
        logins.leave(id(2), exchange.clone());
        assert_eq!(logins.0.lock().left.len(), 2);
        sleep(KEPT_ANSWER / 2 + FORGET_INTERVAL).await;
        assert!(logins.0.lock().left.keys().eq([&id(2)]));
        sleep(KEPT_ANSWER / 2 + FORGET_INTERVAL).await;
        assert!(logins.0.lock().left.is_empty() && !logins.0.lock().forgets);
        // And so is the next one.
        logins.leave(id(3), exchange);
        sleep(KEPT_ANSWER + FORGET_INTERVAL).await;
        assert!(logins.0.lock().left.is_empty());
    }

    #[test]
    fn a_client_that_leaves_as_its_worker_ends_leaves_a_login_that_is_used() {
        let logins = UsedLogins::default();
        let (_sender, exchange) = watch::channel(None);
        assert!(logins.begin(id(1), 600, 0));
        drop(WaitingClient { logins: logins.clone(), id: id(1), exchange: Some(exchange) });
        assert!(!logins.begin(id(1), 600, 0), "its state counts once");
        let state = logins.0.lock();
        assert!(state.left.is_empty() && !state.forgets);
    }

    #[tokio::test]
    async fn answers_that_are_kept_are_bounded() {
        let logins = UsedLogins::default();
        let (_sender, exchange) = watch::channel(None);
        (0..MAX_KEPT_ANSWERS + 10).for_each(|number| logins.leave(id(number), exchange.clone()));
        assert_eq!(logins.0.lock().left.len(), MAX_KEPT_ANSWERS);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let logins = UsedLogins::default();
        (0..MAX_LOGINS + 10).for_each(|number| assert!(logins.begin(id(number), 600 + number as i64, 0)));
        {
            let state = logins.0.lock();
            assert_eq!((state.logins.len(), state.by_end.len()), (MAX_LOGINS, MAX_LOGINS));
            assert!(!state.logins.contains_key(&id(0)));
        }
        assert!(logins.begin(id(usize::MAX), i64::MAX, i64::MAX));
        assert_eq!(logins.0.lock().logins.len(), 1);
    }
}
