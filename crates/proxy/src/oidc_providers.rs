//! Providers of OpenID Connect, as far as they are known: their endpoints, their keys, and exchanges under way. All workers share it.

mod cached;
mod exchange_pool;
mod refreshes;
mod used_logins;

pub(crate) use cached::FetchError;
pub(crate) use refreshes::{RefreshFailure, RefreshOutcome, Refreshes};
pub(crate) use used_logins::Unanswered;

use std::{collections::HashMap, sync::Arc};

use pailou_auth::{JwkSet, PendingLogin, Provider, ProviderSettings};
use pailou_snapshot::{ClusterKey, OidcFilter};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use cached::Cached;
use exchange_pool::ExchangePool;
use used_logins::UsedLogins;

/// Most providers that are remembered.
const MAX_PROVIDERS: usize = 1024;

/// State of all providers.
#[derive(Default)]
pub struct OidcProviders {
    providers: Mutex<HashMap<ProviderKey, Arc<ProviderState>>>,
    used_logins: UsedLogins,
    /// Refreshes of sessions.
    pub(crate) refreshes: Refreshes,
}

type ProviderKey = (ProviderSettings, Box<[(u32, ClusterKey)]>);

/// State of one provider.
#[derive(Default)]
pub(crate) struct ProviderState {
    /// Its endpoints.
    pub(crate) provider: Cached<Provider>,
    /// Its keys.
    pub(crate) keys: Cached<JwkSet>,
    exchanges: ExchangePool,
}

impl OidcProviders {
    /// State of a policy's provider.
    pub(crate) fn state(&self, filter: &OidcFilter) -> Arc<ProviderState> {
        let key = (filter.settings.provider.clone(), filter.backends.clone());
        let mut providers = self.providers.lock();
        // Any other goes: one that is still in use is back with one fetch.
        if providers.len() >= MAX_PROVIDERS
            && !providers.contains_key(&key)
            && let Some(other) = providers.keys().next().cloned()
        {
            providers.remove(&other);
        }
        providers.entry(key).or_default().clone()
    }

    /// Begins the exchange of a login's code. Gives back whether it may begin: a login has one. `now` is in seconds since 1970.
    pub(crate) fn begin_login(&self, login: &PendingLogin, now: i64) -> bool {
        self.used_logins.begin(login.id, login.end, now)
    }

    /// Lets a login's exchange be repeated that the provider gave no answer to.
    pub(crate) fn reopen_login(&self, login: &PendingLogin, outcome: Unanswered) {
        self.used_logins.reopen(login.id, outcome);
    }
}

impl ProviderState {
    /// Leave for one more request to the token endpoint, after a short wait if need be; `None` if too many are under way.
    pub(crate) async fn exchange(&self) -> Option<OwnedSemaphorePermit> {
        self.exchanges.permit().await
    }
}
