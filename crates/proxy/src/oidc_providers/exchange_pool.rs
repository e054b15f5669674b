//! Requests to a provider's token endpoint: a bounded number at a time, of which each lasts a bounded time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Most exchanges at a time.
const MAX_EXCHANGES: usize = 32;
/// Most that wait for others to end.
const MAX_WAITING: usize = 256;
/// Longest wait.
const WAIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Room for exchanges with one provider. One that hangs holds up nobody who logs in at another.
pub(crate) struct ExchangePool {
    permits: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for ExchangePool {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_EXCHANGES)), waiting: Semaphore::new(MAX_WAITING) }
    }
}

impl ExchangePool {
    /// Leave for one more exchange, after a short wait if need be; `None` if too many are under way.
    pub(crate) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        timeout(WAIT_TIMEOUT, self.permits.clone().acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn exchanges_wait_for_a_bounded_time() {
        let pool = ExchangePool::default();
        let mut held = Vec::new();
        for _ in 0..MAX_EXCHANGES {
            held.push(pool.permit().await.unwrap());
        }
        assert!(pool.permit().await.is_none());
        let (next, ()) = tokio::join!(pool.permit(), async { drop(held.pop()) });
        assert!(next.is_some());
    }
}
