//! Exchanges with providers of OpenID Connect: logins and refreshes under way. All workers share it.

mod exchange_pool;
mod refreshes;
mod used_logins;

pub(crate) use exchange_pool::ExchangePool;
pub(crate) use refreshes::{RefreshFailure, RefreshOutcome, Refreshes};
pub(crate) use used_logins::{LoginFailure, UsedLogins, WaitingClient};

use std::{collections::HashMap, sync::Arc};

use pailou_auth::DocumentId;
use parking_lot::Mutex;

/// Most pools that are remembered, beside those in use.
const MAX_POOLS: usize = 2048;

/// Kinds of exchanges. Anybody can have a code exchanged, so that refreshes of those who have logged in have room of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ExchangeKind {
    /// Of a login's code.
    Login,
    /// Of a session's refresh token.
    Refresh,
}

/// State of all providers.
#[derive(Default)]
pub struct OidcProviders {
    exchanges: Mutex<HashMap<(DocumentId, ExchangeKind), Arc<ExchangePool>>>,
    /// Logins whose code is exchanged.
    pub(crate) logins: UsedLogins,
    /// Refreshes of sessions.
    pub(crate) refreshes: Refreshes,
}

impl OidcProviders {
    /// Room for exchanges of a kind with a provider.
    pub(crate) fn exchanges(&self, provider: DocumentId, kind: ExchangeKind) -> Arc<ExchangePool> {
        let (mut exchanges, key) = (self.exchanges.lock(), (provider, kind));
        if exchanges.len() >= MAX_POOLS && !exchanges.contains_key(&key) {
            exchanges.retain(|_, pool| Arc::strong_count(pool) > 1);
        }
        exchanges.entry(key).or_default().clone()
    }
}
