//! Providers of OpenID Connect, as far as they are known: their endpoints, their keys, and refreshes under way. All workers share it.

mod cached;

pub(crate) use cached::FetchError;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use pailou_auth::{JwkSet, Provider, ProviderSettings, Refresh, TokenResponse};
use pailou_snapshot::{ClusterKey, OidcFilter};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use cached::Cached;

/// Most providers that are remembered.
const MAX_PROVIDERS: usize = 1024;
/// Most requests to token endpoints at a time.
const MAX_TOKEN_REQUESTS: usize = 64;
/// Time for which requests of one session share one refresh: a browser sends several at once, and a refresh token may count once.
const SHARED_REFRESH: Duration = Duration::from_secs(10);
/// Most refreshes that are remembered.
const MAX_REFRESHES: usize = 1024;

/// State of all providers.
pub struct OidcProviders {
    providers: Mutex<HashMap<ProviderKey, Arc<ProviderState>>>,
    refreshes: Mutex<HashMap<RefreshKey, (Instant, SharedRefresh)>>,
    token_requests: Semaphore,
}

type ProviderKey = (ProviderSettings, Box<[(u32, ClusterKey)]>);
type RefreshKey = [u8; 32];

/// Answer to a refresh, for all requests that wait for it.
pub(crate) type SharedRefresh = Arc<OnceCell<TokenResponse>>;

/// State of one provider.
#[derive(Default)]
pub(crate) struct ProviderState {
    /// Its endpoints.
    pub(crate) provider: Cached<Provider>,
    /// Its keys.
    pub(crate) keys: Cached<JwkSet>,
}

impl Default for OidcProviders {
    fn default() -> Self {
        Self { providers: Mutex::default(), refreshes: Mutex::default(), token_requests: Semaphore::new(MAX_TOKEN_REQUESTS) }
    }
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

    /// Leave for one more request to a token endpoint; `None` if too many are under way.
    pub(crate) fn token_request(&self) -> Option<SemaphorePermit<'_>> {
        self.token_requests.try_acquire().ok()
    }

    /// The answer to a refresh. Requests that come at once with the same refresh token share it.
    pub(crate) fn refresh(&self, refresh: &Refresh) -> SharedRefresh {
        let mut key = RefreshKey::default();
        key.copy_from_slice(digest(&SHA256, refresh.token.expose().as_bytes()).as_ref());
        let now = Instant::now();
        let mut refreshes = self.refreshes.lock();
        refreshes.retain(|_, (begun, _)| now.duration_since(*begun) < SHARED_REFRESH);
        if refreshes.len() >= MAX_REFRESHES && !refreshes.contains_key(&key) {
            return SharedRefresh::default();
        }
        refreshes.entry(key).or_insert_with(|| (now, SharedRefresh::default())).1.clone()
    }
}
