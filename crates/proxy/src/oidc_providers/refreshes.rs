//! Refreshes of sessions. A refresh token may count once: a request that leaves does not end the exchange, and all who come with the token
//! while it runs, and for a while after, get its answer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pailou_auth::{Oidc, Refresh, TokenResponse, TokenResponseError};
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// Time for which an answer is kept: a client that lost its connection comes back within it.
const KEPT_ANSWER: Duration = Duration::from_secs(30);
/// Most refreshes that are remembered.
const MAX_REFRESHES: usize = 4096;

/// Answer to a refresh, for all requests that wait for it.
pub(crate) type RefreshOutcome = Result<TokenResponse, RefreshFailure>;

/// Reason why a session does not go on.
#[derive(Clone, Debug)]
pub(crate) enum RefreshFailure {
    /// The provider takes the refresh token no more.
    Refused(TokenResponseError),
    /// The provider gave no answer, for this reason. It may give one later.
    Unavailable(Arc<str>),
}

/// Refreshes under way, and those of a moment ago.
#[derive(Default)]
pub(crate) struct Refreshes(Arc<Mutex<HashMap<RefreshKey, SharedRefresh>>>);

/// Digest of the provider, the client and the refresh token.
type RefreshKey = [u8; 32];

struct SharedRefresh {
    begun: Instant,
    outcome: watch::Receiver<Option<RefreshOutcome>>,
}

impl Refreshes {
    /// The answer to a refresh. `ask` asks the provider, in a task of its own, unless another request has the provider asked.
    pub(crate) async fn join(
        &self,
        oidc: &Oidc,
        refresh: &Refresh,
        ask: impl Future<Output = RefreshOutcome> + Send + 'static,
    ) -> RefreshOutcome {
        let mut outcome = self.enter(key(oidc, refresh), ask);
        let found = outcome.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.unwrap_or_else(|| Err(RefreshFailure::Unavailable("the gateway stops".into())))
    }

    fn enter(
        &self,
        key: RefreshKey,
        ask: impl Future<Output = RefreshOutcome> + Send + 'static,
    ) -> watch::Receiver<Option<RefreshOutcome>> {
        let mut refreshes = self.0.lock();
        refreshes.retain(|_, refresh| refresh.is_kept());
        if let Some(refresh) = refreshes.get(&key) {
            return refresh.outcome.clone();
        }
        if refreshes.len() >= MAX_REFRESHES
            && let Some(oldest) = refreshes.iter().min_by_key(|(_, refresh)| refresh.begun).map(|(key, _)| *key)
        {
            refreshes.remove(&oldest);
        }
        let (sender, outcome) = watch::channel(None);
        refreshes.insert(key, SharedRefresh { begun: Instant::now(), outcome: outcome.clone() });
        let all = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let found = ask.await;
            // Nobody may be there any more.
            sender.send_replace(Some(found));
            // Tokens stay no longer, whether another refresh comes or not.
            sleep(KEPT_ANSWER).await;
            if let Some(all) = all.upgrade() {
                all.lock().retain(|_, refresh| refresh.is_kept());
            }
        });
        outcome
    }
}

impl SharedRefresh {
    /// Whether it says something to requests that come now.
    fn is_kept(&self) -> bool {
        match &*self.outcome.borrow() {
            None => self.outcome.has_changed().is_ok(),
            Some(Err(RefreshFailure::Unavailable(_))) => false,
            Some(_) => self.begun.elapsed() < KEPT_ANSWER,
        }
    }
}

fn key(oidc: &Oidc, refresh: &Refresh) -> RefreshKey {
    let mut context = Context::new(&SHA256);
    for part in [&oidc.provider.issuer, &*oidc.client_id, refresh.token.expose()] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut key = RefreshKey::default();
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refresh_runs_to_its_end_without_those_who_wait_and_once_for_all() {
        let refreshes = Refreshes::default();
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        let refused = || RefreshFailure::Refused(TokenResponseError::Form);
        let ask = async move {
            let _ = held.await;
            Err(refused())
        };
        // The one that asked leaves before the answer.
        drop(refreshes.enter([1; 32], ask));
        let unasked = || async { panic!("asked twice") };
        let mut waiting = refreshes.enter([1; 32], unasked());
        release.send(()).unwrap();
        assert!(matches!(&*waiting.wait_for(Option::is_some).await.unwrap(), Some(Err(RefreshFailure::Refused(_)))));
        let late = refreshes.enter([1; 32], unasked());
        assert!(late.borrow().is_some());
        assert_eq!(refreshes.0.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_forgotten_without_another_refresh() {
        let refreshes = Refreshes::default();
        let mut outcome = refreshes.enter([1; 32], async { Err(RefreshFailure::Refused(TokenResponseError::Form)) });
        assert!(outcome.wait_for(Option::is_some).await.is_ok());
        assert_eq!(refreshes.0.lock().len(), 1);
        sleep(KEPT_ANSWER + Duration::from_secs(1)).await;
        assert!(refreshes.0.lock().is_empty());
    }

    #[tokio::test]
    async fn a_provider_that_gives_no_answer_is_asked_again() {
        let refreshes = Refreshes::default();
        for _ in 0..2 {
            let unavailable = async { Err(RefreshFailure::Unavailable("silent".into())) };
            let mut outcome = refreshes.enter([1; 32], unavailable);
            assert!(outcome.borrow().is_none());
            assert!(outcome.wait_for(Option::is_some).await.is_ok());
        }
        assert_eq!(refreshes.0.lock().len(), 1);
    }
}
