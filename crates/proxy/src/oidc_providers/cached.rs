//! A document that is fetched when it is needed, and kept.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::timeout};

/// Time for a fetch: Envoy Gateway's.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed fetch, while there is nothing.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The same while there is an older document.
const STALE_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Reason why there is no document, beside that of the fetch itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// A fetch failed a moment ago.
    #[error("it gave no answer a moment ago")]
    Unavailable,
    /// There was no answer in time.
    #[error("it did not answer within {} s", FETCH_TIMEOUT.as_secs())]
    Late,
}

/// A document, read. One request fetches it at a time; while there is an older one, the others take that.
pub(crate) struct Cached<T> {
    state: Mutex<State<T>>,
    fetching: Semaphore,
}

struct State<T> {
    document: Option<(Arc<T>, Instant)>,
    failed: Option<Instant>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { document: None, failed: None }), fetching: Semaphore::new(1) }
    }
}

impl<T> Cached<T> {
    /// The document, fetched again once it has this age. One that cannot be fetched again stays.
    ///
    /// # Errors
    /// There is none, and it cannot be fetched.
    pub(crate) async fn fetched<E: From<FetchError>>(
        &self,
        age: Duration,
        fetch: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        if let Some(found) = self.usable(age) {
            return Ok(found?);
        }
        let older = self.older();
        let _permit = match (self.fetching.try_acquire(), older) {
            (Ok(permit), _) => permit,
            (Err(_), Some(older)) => return Ok(older),
            (Err(_), None) => self.fetching.acquire().await.map_err(|_| FetchError::Unavailable)?,
        };
        if let Some(found) = self.usable(age) {
            return Ok(found?);
        }
        match timeout(FETCH_TIMEOUT, fetch).await.unwrap_or(Err(FetchError::Late.into())) {
            Ok(document) => {
                let document = Arc::new(document);
                *self.state.lock() = State { document: Some((document.clone(), Instant::now())), failed: None };
                Ok(document)
            }
            Err(error) => {
                self.state.lock().failed = Some(Instant::now());
                self.older().ok_or(error)
            }
        }
    }

    /// The outcome that stands for now; `None`: somebody has to fetch.
    fn usable(&self, age: Duration) -> Option<Result<Arc<T>, FetchError>> {
        let state = self.state.lock();
        let failed_within = |pause| state.failed.is_some_and(|failed: Instant| failed.elapsed() < pause);
        match &state.document {
            Some((document, at)) if at.elapsed() < age || failed_within(STALE_RETRY_INTERVAL) => Some(Ok(document.clone())),
            None if failed_within(RETRY_INTERVAL) => Some(Err(FetchError::Unavailable)),
            _ => None,
        }
    }

    fn older(&self) -> Option<Arc<T>> {
        self.state.lock().document.as_ref().map(|(document, _)| document.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const FRESH: Duration = Duration::from_secs(3600);
    const STALE: Duration = Duration::ZERO;

    #[tokio::test]
    async fn a_document_is_fetched_once_and_kept_while_its_server_fails() {
        let cached = Cached::default();
        let fetches = Cell::new(0);
        let fetch = async |outcome: Result<u8, FetchError>| {
            fetches.set(fetches.get() + 1);
            outcome
        };
        assert!(cached.fetched(FRESH, fetch(Err(FetchError::Late))).await.is_err());
        // Soon after a failure nobody asks again.
        assert!(matches!(cached.fetched(FRESH, fetch(Ok(0))).await, Err(FetchError::Unavailable)));
        assert_eq!(fetches.get(), 1);
        cached.state.lock().failed = None;
        assert_eq!(*cached.fetched(FRESH, fetch(Ok(1))).await.unwrap(), 1);
        assert_eq!(*cached.fetched(FRESH, fetch(Ok(2))).await.unwrap(), 1);
        assert_eq!(*cached.fetched(STALE, fetch(Ok(3))).await.unwrap(), 3);
        assert_eq!(*cached.fetched(STALE, fetch(Err(FetchError::Late))).await.unwrap(), 3);
        assert_eq!(*cached.fetched(STALE, fetch(Ok(4))).await.unwrap(), 3);
        assert_eq!(fetches.get(), 4);
    }

    #[tokio::test]
    async fn many_who_need_it_at_once_fetch_it_once() {
        let cached = Cached::default();
        let fetches = Cell::new(0);
        let fetch = async || {
            tokio::task::yield_now().await;
            fetches.set(fetches.get() + 1);
            Ok::<_, FetchError>(1)
        };
        let (one, other) = tokio::join!(cached.fetched(FRESH, fetch()), cached.fetched(FRESH, fetch()));
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        assert_eq!(fetches.get(), 1);
    }
}
