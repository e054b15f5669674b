//! Faults of the store while many requests come at the same time: three replicas on one server.

use std::sync::atomic::{AtomicBool, AtomicU64};

use super::*;

/// Room for each limit: the requests of a test exceed it.
const LIMIT: u64 = 30_000;
/// Clients at the same time on each replica.
const CLIENTS: usize = 8;

/// Clients that ask three replicas for one counter, until they are told to stop.
struct Load {
    replicas: Arc<Vec<Replica>>,
    admitted: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    is_running: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(replicas: Vec<Replica>) -> Self {
        let replicas = Arc::new(replicas);
        let (admitted, asked, is_running) =
            (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let clients = (0..replicas.len() * CLIENTS).map(|client| {
            let (replicas, admitted, asked, is_running) = (replicas.clone(), admitted.clone(), asked.clone(), is_running.clone());
            tokio::spawn(async move {
                while is_running.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    if replicas[client % replicas.len()].admit(&charge(LIMIT)).await {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        let tasks = clients.collect();
        Self { replicas, admitted, asked, is_running, tasks }
    }

    /// Waits until so many more requests have been decided on.
    async fn until_asked(&self, more: u64) {
        let before = self.asked.load(Ordering::Relaxed);
        until("requests are decided on", || self.asked.load(Ordering::Relaxed) >= before + more).await;
    }

    async fn until_all(&self, what: &str, is_down: bool) {
        until(what, || self.replicas.iter().all(|replica| replica.limits.is_down() == is_down)).await;
    }

    /// Ends once nothing is admitted any more: the limit is reached everywhere. Gives how many were.
    async fn finish(self, name: &str) -> u64 {
        let mut before = u64::MAX;
        loop {
            let now = self.admitted.load(Ordering::Relaxed);
            if now == before && now > 0 {
                break;
            }
            before = now;
            self.until_asked(20_000).await;
        }
        self.is_running.store(false, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let (admitted, asked) = (self.admitted.load(Ordering::Relaxed), self.asked.load(Ordering::Relaxed));
        let alone: u64 = self.replicas.iter().map(Replica::alone).sum();
        println!("{name}: {admitted} of {LIMIT} admitted, {asked} asked, {alone} without the store");
        admitted
    }
}

/// Replicas with leases, which know of each other.
async fn loaded(url: &str) -> Load {
    let store = LimitStore { timeout: Duration::from_millis(200), ..store(url) };
    let load = Load::start(three(&store).await);
    load.until_asked(300).await;
    load
}

/// While a store is down a replica admits its part of what was left when it last heard, so that the sum stays within the limit, but for what
/// others were granted since: a batch or two each.
fn assert_within(admitted: u64) {
    let batches = 2 * 3 * LIMIT / 24;
    assert!(admitted <= LIMIT + batches, "{admitted} of {LIMIT}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted_empty_under_load() {
    let Some(mut server) = Server::start(&[]) else { return };
    let load = loaded(&server.address()).await;
    server.kill();
    load.until_all("all notice", true).await;
    load.until_asked(3_000).await;
    server.restart();
    load.until_all("all are back", false).await;
    assert_within(load.finish("killed").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_and_resumed_under_load() {
    let Some(server) = Server::start(&[]) else { return };
    let load = loaded(&server.address()).await;
    server.signal("STOP");
    load.until_asked(20_000).await;
    server.signal("CONT");
    load.until_all("all are back", false).await;
    assert_within(load.finish("paused").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_again_and_again_under_load() {
    let Some(server) = Server::start(&[]) else { return };
    let load = loaded(&server.address()).await;
    for _ in 0..5 {
        load.until_asked(500).await;
        server.command("FLUSHALL");
        server.command("SCRIPT FLUSH");
    }
    let admitted = load.finish("flushed").await;
    // Each flush forgets what the replicas were granted until each of them tells it again; what others are granted meanwhile is a batch.
    let batches = 5 * 3 * LIMIT / 24;
    assert!(admitted <= LIMIT + batches, "{admitted} of {LIMIT}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_over_under_load() {
    let Some(mut sentinels) = Sentinels::start().await else { return };
    let load = loaded(&sentinels.url()).await;
    sentinels.fail_over().await;
    load.until_all("all are back", false).await;
    assert_within(load.finish("failed over").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_windows_edge_under_load_no_window_admits_more_than_its_limit() {
    let Some(server) = Server::start(&[]) else { return };
    let replicas = Arc::new(three(&store(&server.address())).await);
    let windows = Arc::new(parking_lot::Mutex::new(std::collections::BTreeMap::<u64, u64>::new()));
    let limit = Charge { window: Window { seconds: 1, kind: WindowKind::Epoch }, ..charge(500) };
    let tasks: Vec<_> = (0..12)
        .map(|client| {
            let (replicas, windows, limit) = (replicas.clone(), windows.clone(), limit.clone());
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                    let admission = replicas[client % 3].limits.admit(now, &limit, &mut None).await.unwrap();
                    if let Admission::Admitted { begin, .. } = admission {
                        *windows.lock().entry(begin).or_default() += 1;
                    }
                    tokio::time::sleep(Duration::from_micros(500)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let windows = windows.lock();
    println!("{windows:?}");
    assert!(windows.values().all(|admitted| *admitted <= 500), "{windows:?}");
}
