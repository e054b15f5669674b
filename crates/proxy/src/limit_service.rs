//! The rate limit service that an operator keeps: its settings, and whether it answers. All workers share it; `limit_service_calls` asks it.

mod health;

pub(crate) use health::CallKind;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use pailou_snapshot::{Address, LimitService, Protocol};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

use crate::tls::{ClientTls, TlsConfigError};
use health::ServiceHealth;

/// Calls under way at most.
const MAX_CALLS: u32 = 4096;

/// The service in use, if there is one.
#[derive(Default)]
pub struct LimitServiceSlot {
    current: ArcSwapOption<LimitServiceState>,
    /// Services before it, for as long as calls to them are under way.
    before: Mutex<Vec<Weak<LimitServiceState>>>,
    stats: Arc<LimitServiceStats>,
}

/// Numbers of the services of this process.
#[derive(Debug, Default)]
pub(crate) struct LimitServiceStats {
    /// Calls made.
    pub(crate) calls: AtomicU64,
    /// Calls without an answer in time.
    pub(crate) failures: AtomicU64,
    /// Questions that were decided without an answer: the request passed.
    pub(crate) bypassed: AtomicU64,
    /// Costs of responses that the service was not told.
    pub(crate) lost_charges: AtomicU64,
}

/// A service.
pub(crate) struct LimitServiceState {
    settings: Arc<LimitService>,
    address: Address,
    tls: Result<Option<Arc<ClientTls>>, TlsConfigError>,
    calls: Arc<Semaphore>,
    health: ServiceHealth,
    stats: Arc<LimitServiceStats>,
}

impl LimitServiceSlot {
    /// Asks this service from now on, or (`None`) none; nothing changes if it is the same one as before.
    pub(crate) fn use_service(&self, service: Option<&Arc<LimitService>>) {
        let current = self.current.load();
        let is_same = match (&*current, service) {
            (None, None) => true,
            (Some(current), Some(service)) => current.settings == *service,
            _ => false,
        };
        if is_same {
            return;
        }
        match service {
            Some(service) => tracing::info!("the rate limit service {} decides on global limits", service.address),
            None => tracing::info!("no rate limit service decides on global limits any more"),
        }
        let state = service.map(|service| Arc::new(LimitServiceState::new(Arc::clone(service), Arc::clone(&self.stats))));
        if let Some(before) = self.current.swap(state) {
            let mut all = self.before.lock();
            all.retain(|service| service.strong_count() > 0);
            all.push(Arc::downgrade(&before));
        }
    }

    /// The service.
    pub(crate) fn current(&self) -> Option<Arc<LimitServiceState>> {
        self.current.load_full()
    }

    /// Numbers of all services so far.
    pub(crate) fn stats(&self) -> &LimitServiceStats {
        &self.stats
    }

    /// Waits for the calls under way, also to services before this one, within the time that a charge has.
    pub(crate) async fn finish(&self, within: Duration) {
        let before: Vec<_> = self.before.lock().iter().filter_map(Weak::upgrade).collect();
        let calls_end = async {
            for service in before.into_iter().chain(self.current()) {
                let _ = service.calls.acquire_many(MAX_CALLS).await;
            }
        };
        // An error is the end of the time: what is not told then is lost.
        let _ = time::timeout(within, calls_end).await;
    }
}

impl fmt::Debug for LimitServiceSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitServiceSlot").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl LimitServiceState {
    fn new(settings: Arc<LimitService>, stats: Arc<LimitServiceStats>) -> Self {
        let LimitService { address, tls, .. } = &*settings;
        let tls = tls.as_ref().map(|tls| ClientTls::new(tls, Protocol::Http2)).transpose();
        if let Err(error) = &tls {
            tracing::warn!("rate limit service {address}: TLS cannot be had: {error}");
        }
        let address = match address.host.parse() {
            Ok(ip) => Address::Socket(SocketAddr::new(ip, address.port)),
            Err(_) => Address::Dns { host: address.host.clone(), port: address.port },
        };
        let calls = Arc::new(Semaphore::new(MAX_CALLS as usize));
        Self { address, tls, calls, health: ServiceHealth::default(), stats, settings }
    }

    /// Its settings.
    pub(crate) fn settings(&self) -> &LimitService {
        &self.settings
    }

    /// Its address.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// TLS to it.
    ///
    /// # Errors
    /// It is to be had, and cannot.
    pub(crate) fn tls(&self) -> Result<Option<&Arc<ClientTls>>, &TlsConfigError> {
        self.tls.as_ref().map(Option::as_ref)
    }

    /// Numbers.
    pub(crate) fn stats(&self) -> &LimitServiceStats {
        &self.stats
    }

    /// Whether it does not answer.
    pub(crate) fn is_down(&self) -> bool {
        self.health.is_down()
    }

    /// Room for a call; `None` while the service does not answer, but for a call now and then, or too many are under way.
    pub(crate) fn begin_call(&self) -> Option<(OwnedSemaphorePermit, CallKind)> {
        let permit = Arc::clone(&self.calls).try_acquire_owned().ok()?;
        let kind = self.health.begin()?;
        self.stats.calls.fetch_add(1, Ordering::Relaxed);
        Some((permit, kind))
    }

    /// Notes that the service answered in time, that it cannot count this question: it may well count others'.
    pub(crate) fn end_refused_call(&self, kind: CallKind) {
        self.end_call(kind, None);
        self.stats.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how a call ended: with an answer in time, or for this reason without.
    pub(crate) fn end_call(&self, kind: CallKind, failure: Option<&dyn fmt::Display>) {
        let LimitService { address, is_fail_closed, .. } = &*self.settings;
        match failure {
            None if self.health.succeeded() => tracing::info!("rate limit service {address} answers again"),
            None => {}
            Some(error) => {
                self.stats.failures.fetch_add(1, Ordering::Relaxed);
                if self.health.failed(kind) {
                    let effect =
                        if *is_fail_closed { "requests with global limits get 500" } else { "global limits refuse nothing" };
                    tracing::warn!("rate limit service {address}: {error}; until it answers, {effect}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pailou_snapshot::LimitServiceAddress;

    use super::*;

    fn service(port: u16) -> Arc<LimitService> {
        let address = LimitServiceAddress { host: "127.0.0.1".into(), port, is_tls: false };
        Arc::new(LimitService { address, tls: None, timeout: Duration::from_millis(20), is_fail_closed: false })
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_calls_to_services_of_before_too() {
        let slot = LimitServiceSlot::default();
        slot.use_service(Some(&service(1)));
        // Whoever makes the call holds its service.
        let held = slot.current().unwrap();
        let (permit, _) = held.begin_call().unwrap();
        slot.use_service(Some(&service(2)));
        let begun = time::Instant::now();
        let call = async move {
            time::sleep(Duration::from_millis(500)).await;
            drop((permit, held));
        };
        let ((), ()) = tokio::join!(call, slot.finish(Duration::from_secs(1)));
        assert_eq!(begun.elapsed(), Duration::from_millis(500));
    }
}
