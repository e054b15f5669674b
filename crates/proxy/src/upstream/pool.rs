//! Kept connections, by where they lead.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::HashMap;
use pailou_snapshot::{Address, DnsSettings, Protocol, UpstreamHttp2};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{Destination, ProxyHeader, http1::Idle, http2::Shared, io::Counted, preconnect::PreconnectBackoff};
use crate::local_addresses::LocalAddresses;

/// Most idle connections kept to one endpoint by one worker.
const MAX_IDLE_PER_GROUP: usize = 256;
/// Most idle connections kept by one worker.
const MAX_IDLE: usize = 4096;
/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Key of connections that can stand in for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    address: Address,
    tls: Option<u128>,
    protocol: Protocol,
    /// A connection that begins with word of a client is that client's.
    proxy_protocol: Option<ProxyHeader>,
    /// A connection to the machine itself is no policy's that may have none.
    local_addresses: LocalAddresses,
    /// Where the name leads, and how the connection was begun, depends on these.
    dns: DnsSettings,
    http2: UpstreamHttp2,
    is_watched: bool,
}

impl Key {
    pub(super) fn of(destination: &Destination<'_>) -> Self {
        let tls = destination.tls.map(|tls| tls.identity);
        Self {
            address: destination.address.clone(),
            tls,
            protocol: destination.protocol,
            proxy_protocol: destination.proxy_protocol,
            local_addresses: destination.local_addresses,
            dns: destination.dns,
            http2: destination.http2,
            is_watched: destination.is_watched,
        }
    }
}

/// A worker's kept connections.
#[derive(Default)]
pub(super) struct Pool {
    groups: Mutex<HashMap<Key, Arc<Group>>>,
    idle: Arc<AtomicUsize>,
    is_swept: AtomicBool,
}

/// Connections that can stand in for each other.
pub(super) struct Group {
    key: Key,
    kept: Mutex<Kept>,
    /// Told when a connection comes free or closes, or an attempt to open a shared one ends.
    pub(super) changed: Notify,
    /// HTTP/1.1 connections: being opened, at work or idle.
    pub(super) open: AtomicUsize,
    /// Of those, the ones being opened ahead of requests.
    pub(super) ahead: AtomicUsize,
    idle: Arc<AtomicUsize>,
    pool: Weak<Pool>,
}

#[derive(Default)]
struct Kept {
    /// The last used last.
    idle: Vec<Idle>,
    shared: Vec<Arc<Shared>>,
    /// A request opens a shared connection.
    is_opening: bool,
    /// One is being opened ahead, which no request has to wait for.
    is_opening_ahead: bool,
    is_retired: bool,
    backoff: PreconnectBackoff,
}

impl Pool {
    /// The connections by a key.
    pub(super) fn group(self: &Arc<Self>, key: &Key) -> Arc<Group> {
        let mut groups = self.groups.lock();
        if let Some(group) = groups.get(key) {
            return Arc::clone(group);
        }
        let group = Arc::new(Group {
            key: key.clone(),
            kept: Mutex::default(),
            changed: Notify::new(),
            open: AtomicUsize::new(0),
            ahead: AtomicUsize::new(0),
            idle: Arc::clone(&self.idle),
            pool: Arc::downgrade(self),
        });
        groups.insert(key.clone(), Arc::clone(&group));
        group
    }

    pub(super) fn retain(&self, is_there: impl Fn(&Address) -> bool) {
        self.groups.lock().retain(|key, group| {
            let stays = is_there(&key.address);
            if !stays {
                group.retire();
            }
            stays
        });
    }

    pub(super) fn kept(&self) -> usize {
        let groups = self.groups.lock();
        self.idle.load(Ordering::Relaxed) + groups.values().map(|group| group.kept.lock().shared.len()).sum::<usize>()
    }

    /// Looks through the kept connections now and then, for as long as there are any.
    fn keep_sweeping(self: &Arc<Self>) {
        if self.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                let Some(pool) = pool.upgrade() else { return };
                if !pool.sweep(Instant::now()) {
                    pool.is_swept.store(false, Ordering::Relaxed);
                    return;
                }
            }
        });
    }

    /// Gives up what is closed or has waited too long; whether anything is left.
    fn sweep(&self, now: Instant) -> bool {
        let mut groups = self.groups.lock();
        groups.retain(|_, group| {
            let is_kept = group.sweep(now);
            // A request in progress holds the group.
            is_kept || Arc::strong_count(group) > 1
        });
        !groups.is_empty()
    }
}

impl Group {
    pub(super) fn address(&self) -> &Address {
        &self.key.address
    }

    pub(super) fn dns(&self) -> DnsSettings {
        self.key.dns
    }

    /// The idle connection that was used last.
    pub(super) fn pop_idle(&self) -> Option<Idle> {
        let idle = self.kept.lock().idle.pop();
        if idle.is_some() {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
        idle
    }

    /// Keeps a connection for the next request, if there is room; whether it does.
    pub(super) fn push_idle(&self, idle: Idle) -> bool {
        let mut kept = self.kept.lock();
        if kept.is_retired || kept.idle.len() >= MAX_IDLE_PER_GROUP || self.idle.load(Ordering::Relaxed) >= MAX_IDLE {
            return false;
        }
        self.idle.fetch_add(1, Ordering::Relaxed);
        kept.idle.push(idle);
        drop(kept);
        self.changed.notify_one();
        self.keep_sweeping();
        true
    }

    /// A shared connection with room, which `usable` accepts; `Err(true)` where the caller is to open one, `Err(false)` where
    /// another request is at it, or one that is opened ahead has taken the room there was.
    pub(super) fn pick_shared(
        &self,
        usable: impl Fn(&Shared) -> bool,
        has_room_for_connection: impl FnOnce() -> bool,
    ) -> Result<Arc<Shared>, bool> {
        let mut guard = self.kept.lock();
        let kept = &mut *guard;
        kept.shared.retain(|shared| {
            if shared.is_closed() && !shared.has_served() {
                kept.backoff.failed(tokio::time::Instant::now());
            }
            !shared.is_closed() && usable(shared)
        });
        if let Some(shared) = kept.shared.iter().find(|shared| shared.has_room()) {
            return Ok(Arc::clone(shared));
        }
        let waits = kept.is_opening || (kept.is_opening_ahead && !has_room_for_connection());
        kept.is_opening = kept.is_opening || !waits;
        Err(!waits)
    }

    /// Whether fewer HTTP/1.1 connections are open than `percent` of those that serve requests, there is room for another to wait,
    /// and none has just been opened for nothing.
    pub(super) fn lacks_connections(&self, percent: u16) -> bool {
        let open = self.open.load(Ordering::Relaxed);
        let kept = self.kept.lock();
        let spare = kept.idle.len() + self.ahead.load(Ordering::Relaxed);
        let has_room = !kept.is_retired && spare < MAX_IDLE_PER_GROUP && self.idle.load(Ordering::Relaxed) < MAX_IDLE;
        has_room
            && !kept.backoff.is_on(tokio::time::Instant::now())
            && open.saturating_sub(spare) * usize::from(percent) > open * 100
    }

    /// Counts another shared connection where those there are allow fewer streams than `percent`, nobody is opening one, and `count`
    /// has room: the caller is to open it, and to end the attempt by [`Group::opened_shared_ahead`].
    pub(super) fn begin_shared_ahead(&self, percent: u16, count: impl FnOnce() -> Option<Counted>) -> Option<Counted> {
        let mut kept = self.kept.lock();
        let (streams, most) =
            kept.shared.iter().filter(|shared| !shared.is_closed()).fold((0_usize, 0_usize), |(streams, most), it| {
                (streams.saturating_add(it.streams()), most.saturating_add(it.most_streams()))
            });
        let is_free = !kept.is_opening && !kept.is_opening_ahead && !kept.is_retired;
        let is_due = is_free
            && streams.saturating_mul(percent.into()) > most.saturating_mul(100)
            && !kept.backoff.is_on(tokio::time::Instant::now());
        let counted = if is_due { count() } else { None };
        kept.is_opening_ahead |= counted.is_some();
        counted
    }

    /// A connection that was opened ahead came to nothing.
    pub(super) fn preconnect_failed(&self) {
        self.kept.lock().backoff.failed(tokio::time::Instant::now());
    }

    /// A connection serves its first request.
    pub(super) fn preconnect_succeeded(&self) {
        self.kept.lock().backoff.succeeded();
    }

    /// Whether there is a shared connection, with or without room.
    pub(super) fn has_shared(&self) -> bool {
        !self.kept.lock().shared.is_empty()
    }

    /// Ends a request's attempt to open a shared connection.
    pub(super) fn opened_shared(&self, shared: Option<Arc<Shared>>) {
        let mut kept = self.kept.lock();
        kept.is_opening = false;
        self.keep_shared(kept, shared);
    }

    /// Ends an attempt to open a shared connection ahead.
    pub(super) fn opened_shared_ahead(&self, shared: Option<Arc<Shared>>) {
        let mut kept = self.kept.lock();
        kept.is_opening_ahead = false;
        if shared.is_none() {
            kept.backoff.failed(tokio::time::Instant::now());
        }
        self.keep_shared(kept, shared);
    }

    fn keep_shared(&self, mut kept: MutexGuard<'_, Kept>, shared: Option<Arc<Shared>>) {
        if !kept.is_retired {
            kept.shared.extend(shared);
        }
        drop(kept);
        self.changed.notify_waiters();
        self.keep_sweeping();
    }

    fn keep_sweeping(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.keep_sweeping();
        }
    }

    fn sweep(&self, now: Instant) -> bool {
        let mut kept = self.kept.lock();
        let before = kept.idle.len();
        kept.idle.retain_mut(|idle| idle.is_usable(now));
        self.idle.fetch_sub(before - kept.idle.len(), Ordering::Relaxed);
        kept.shared.retain(|shared| !shared.is_over(now));
        !kept.idle.is_empty() || !kept.shared.is_empty() || kept.is_opening || kept.is_opening_ahead
    }

    fn retire(&self) {
        let mut kept = self.kept.lock();
        kept.is_retired = true;
        self.idle.fetch_sub(kept.idle.len(), Ordering::Relaxed);
        kept.idle.clear();
        kept.shared.clear();
    }
}

#[cfg(test)]
mod tests {
    use pailou_snapshot::Timeouts;

    use super::*;

    fn group() -> (Arc<Pool>, Arc<Group>) {
        let address = Address::Socket(([127, 0, 0, 9], 9).into());
        let pool = Arc::<Pool>::default();
        let group = pool.group(&Key::of(&Destination::new(&address, &Timeouts::default())));
        group.open.store(1, Ordering::Relaxed);
        (pool, group)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_opened_ahead_for_a_while_after_a_failure() {
        let (_pool, group) = group();
        assert!(group.lacks_connections(300));
        group.preconnect_failed();
        assert!(!group.lacks_connections(300));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(group.lacks_connections(300));
    }

    #[test]
    fn nothing_is_opened_ahead_where_it_could_not_wait() {
        let (pool, group) = group();
        pool.idle.store(MAX_IDLE, Ordering::Relaxed);
        assert!(!group.lacks_connections(300));
        pool.idle.store(0, Ordering::Relaxed);
        assert!(group.lacks_connections(300));
        pool.retain(|_| false);
        assert!(!group.lacks_connections(300));
    }

    #[tokio::test]
    async fn a_request_waits_for_a_connection_ahead_only_where_there_is_room_for_no_other() {
        let (_pool, group) = group();
        group.kept.lock().is_opening_ahead = true;
        assert!(matches!(group.pick_shared(|_| true, || false), Err(false)));
        assert!(matches!(group.pick_shared(|_| true, || true), Err(true)));
        // The second one waits for the first.
        assert!(matches!(group.pick_shared(|_| true, || true), Err(false)));
        group.opened_shared_ahead(None);
        assert!(group.kept.lock().is_opening, "the request is still at it");
    }
}
