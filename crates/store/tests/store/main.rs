//! Limits that replicas share by a real server, which is killed, paused, flushed, restarted and failed over.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod fail_closed;
mod settings;
mod under_load;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pailou_e2e::limit_store::{Server, directory, free_port, try_command};
use pailou_limits::{Admission, Charge, Counters, Descriptor, Window, WindowKind};
use pailou_snapshot::{LimitStore, StoreTls};
use pailou_store::{SharedLimits, Unavailable};
use tokio::runtime::Handle;

/// One proxy, as far as limits go.
struct Replica {
    limits: SharedLimits,
}

impl Replica {
    fn new(store: &LimitStore) -> Self {
        let limits = SharedLimits::new(Arc::new(Counters::default()));
        limits.use_store(Some(store), &Handle::current());
        Self { limits }
    }

    fn use_store(&self, store: Option<&LimitStore>) {
        self.limits.use_store(store, &Handle::current());
    }

    async fn try_admit(&self, charge: &Charge) -> Result<bool, Unavailable> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let admission = self.limits.admit(now, charge, &mut None).await?;
        Ok(matches!(admission, Admission::Admitted { .. }))
    }

    async fn admit(&self, charge: &Charge) -> bool {
        self.try_admit(charge).await.unwrap()
    }

    fn round_trips(&self) -> u64 {
        self.limits.stats().round_trips.load(Ordering::Relaxed)
    }

    fn alone(&self) -> u64 {
        self.limits.stats().alone.load(Ordering::Relaxed)
    }

    async fn until_up(&self) {
        until("the store answers", || !self.limits.is_down() && self.round_trips() > 0).await;
    }
}

/// Waits for something that has to come.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: it never came");
}

/// A store that has more time than on the request path: these machines are busy.
fn store(url: &str) -> LimitStore {
    LimitStore { timeout: Duration::from_secs(5), ..LimitStore::parse(url).unwrap() }
}

/// A limit in a window that does not end during a test: a year.
fn charge(limit: u64) -> Charge {
    Charge {
        name: "ns/policy/rule/0".into(),
        rule: (limit, 2),
        descriptor: Descriptor::default(),
        window: Window { seconds: 31_536_000, kind: WindowKind::Epoch },
        limit,
        cost: 1,
        expected: None,
        is_shadow: false,
    }
}

/// Three replicas that know of each other.
async fn three(store: &LimitStore) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let replica = Replica::new(store);
        replica.until_up().await;
        replicas.push(replica);
    }
    until("all know of all", || replicas.iter().all(|replica| replica.limits.replicas() == 3)).await;
    replicas
}

async fn admitted(replicas: &[Replica], charge: &Charge, tries: usize) -> usize {
    let mut count = 0;
    for at in 0..tries {
        count += usize::from(replicas[at % replicas.len()].admit(charge).await);
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_admit_what_one_would_and_seldom_ask() {
    let Some(server) = Server::start(&[]) else { return };
    let replicas = three(&store(&server.address())).await;
    for limit in [1, 3, 10, 100] {
        assert_eq!(admitted(&replicas, &charge(limit), 3 * limit as usize).await as u64, limit);
    }
    let before: u64 = replicas.iter().map(Replica::round_trips).sum();
    assert_eq!(admitted(&replicas, &charge(10_000), 6_000).await, 6_000);
    let trips = replicas.iter().map(Replica::round_trips).sum::<u64>() - before;
    println!("{trips} round trips for 6,000 requests");
    assert!(trips <= 6 * 20, "{trips} round trips for 6,000 requests");
    assert!(replicas.iter().all(|replica| replica.alone() == 0));
    // Every key ends by itself.
    for key in server.command("KEYS *").lines().filter(|line| line.starts_with("pailou:")) {
        let left = server.command(&format!("TTL {key}"));
        assert!(left.trim_start_matches(':').trim().parse::<i64>().unwrap() > 0, "{key}: {left}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_same_time_replicas_admit_no_more_than_the_limit() {
    let Some(server) = Server::start(&[]) else { return };
    let replicas = Arc::new(three(&store(&server.address())).await);
    let tasks: Vec<_> = (0..30)
        .map(|at| {
            let replicas = replicas.clone();
            tokio::spawn(async move {
                let mut count = 0;
                for _ in 0..100 {
                    count += u64::from(replicas[at % 3].admit(&charge(1_000)).await);
                }
                count
            })
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    assert_eq!(sum, 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_each_replica_its_part() {
    let Some(mut server) = Server::start(&[]) else { return };
    let replicas = three(&store(&server.address())).await;
    let limit = charge(90);
    let before = admitted(&replicas, &limit, 30).await;
    assert_eq!(before, 30);
    server.kill();
    until("all notice", || replicas.iter().all(|replica| replica.limits.is_down())).await;
    let during = admitted(&replicas, &limit, 300).await;
    // Each replica admits a third of the rest that it knew last: together at most a little more than all of it.
    assert!((30..=90).contains(&during), "{during}");
    assert!(replicas.iter().all(|replica| replica.alone() > 0));
    // It comes back without its memory: the replicas tell it what they have spent.
    server.restart();
    for replica in &replicas {
        replica.until_up().await;
    }
    let after = admitted(&replicas, &limit, 300).await;
    assert!(before + during + after <= 90.max(before + during), "{before} {during} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_holds_no_request_beyond_the_deadline_and_a_closed_limit_refuses() {
    let Some(server) = Server::start(&[]) else { return };
    let open = LimitStore { timeout: Duration::from_millis(200), ..store(&server.address()) };
    let closed = LimitStore { is_fail_closed: true, ..open.clone() };
    let (open, closed) = (Replica::new(&open), Replica::new(&closed));
    open.until_up().await;
    closed.until_up().await;
    server.signal("STOP");
    // Neither has a lease: one waits, and those after it do not.
    assert!(open.admit(&charge(10)).await);
    assert_eq!(closed.try_admit(&charge(11)).await, Err(Unavailable));
    until("both notice", || open.limits.is_down() && closed.limits.is_down()).await;
    assert!(open.admit(&charge(10)).await);
    assert_eq!(closed.try_admit(&charge(11)).await, Err(Unavailable));
    server.signal("CONT");
    open.until_up().await;
    closed.until_up().await;
    assert!(closed.admit(&charge(11)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_server_hears_again_what_was_spent() {
    let Some(server) = Server::start(&[]) else { return };
    let replicas = three(&store(&server.address())).await;
    let limit = charge(60);
    assert_eq!(admitted(&replicas, &limit, 30).await, 30);
    // Scripts are gone too.
    server.command("FLUSHALL");
    server.command("SCRIPT FLUSH");
    let key = |server: &Server| server.command("KEYS pailou:limit:*").lines().any(|line| line.starts_with("pailou:"));
    until("the counter is back", || key(&server)).await;
    until("all are back", || server.command("ZCARD pailou:replicas").starts_with(":3")).await;
    until("all have told", || {
        let name = server.command("KEYS pailou:limit:*").lines().find(|line| line.starts_with("pailou:")).unwrap().to_owned();
        server.command(&format!("HLEN {name}")).starts_with(":4")
    })
    .await;
    assert_eq!(admitted(&replicas, &limit, 200).await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_gives_its_lease_back() {
    let Some(server) = Server::start(&[]) else { return };
    let mut replicas = three(&store(&server.address())).await;
    let limit = charge(240);
    assert_eq!(admitted(&replicas, &limit, 3).await, 3);
    replicas.remove(0).limits.stop().await;
    replicas.remove(0).limits.stop().await;
    assert_eq!(admitted(&replicas, &limit, 300).await, 237);
}

/// A primary, its replica, and a sentinel that watches them, with the directory of its file.
struct Sentinels {
    primary: Server,
    replica: Server,
    sentinel: Server,
    path: std::path::PathBuf,
}

impl Sentinels {
    async fn start() -> Option<Self> {
        let primary = Server::start(&[])?;
        let replica = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()])?;
        until("the replica follows", || replica.command("INFO replication").contains("master_link_status:up")).await;
        let (path, port) = (directory(), free_port());
        let file = path.join("sentinel.conf");
        let primary_port = primary.port;
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary_port} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
        );
        std::fs::write(&file, text).unwrap();
        let sentinel = Server::at(port, &["--sentinel-file", file.to_str().unwrap()])?;
        let replica_port = replica.port.to_string();
        until("the sentinel knows the replica", || sentinel.command("SENTINEL replicas main").contains(&replica_port)).await;
        Some(Self { primary, replica, sentinel, path })
    }

    fn url(&self) -> String {
        format!("main,{}", self.sentinel.address())
    }

    async fn fail_over(&mut self) {
        self.primary.kill();
        until("the replica is the primary", || self.replica.command("ROLE").contains("master")).await;
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_name_the_next_primary() {
    let Some(mut sentinels) = Sentinels::start().await else { return };
    let proxy = Replica::new(&store(&sentinels.url()));
    proxy.until_up().await;
    let limit = charge(100);
    assert_eq!(admitted(std::slice::from_ref(&proxy), &limit, 40).await, 40);
    sentinels.fail_over().await;
    proxy.until_up().await;
    until("the counter is known there", || sentinels.replica.command("KEYS pailou:limit:*").contains("pailou:")).await;
    until("it answers", || !proxy.limits.is_down()).await;
    assert_eq!(admitted(std::slice::from_ref(&proxy), &limit, 200).await, 60);
}

/// Three nodes of a cluster, each with a third of the keys.
async fn cluster() -> Vec<Server> {
    let arguments = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000"];
    let nodes: Vec<_> = (0..3).map_while(|_| Server::start(&arguments)).collect();
    let Some(first) = nodes.first() else { return nodes };
    for (at, node) in nodes.iter().enumerate() {
        let (from, to) = (at * 5461, if at == 2 { 16_383 } else { at * 5461 + 5460 });
        assert!(node.command(&format!("CLUSTER ADDSLOTSRANGE {from} {to}")).starts_with("+OK"));
        assert!(node.command(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).starts_with("+OK"));
        node.command(&format!("CLUSTER MEET 127.0.0.1 {}", first.port));
    }
    until("the cluster is whole", || {
        nodes.iter().all(|node| {
            let info = node.command("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
    })
    .await;
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_counts_each_counter_on_its_node() {
    let nodes = cluster().await;
    if nodes.is_empty() {
        return;
    }
    let url = nodes.iter().map(Server::address).collect::<Vec<_>>().join(",");
    let replicas = three(&store(&url)).await;
    for limit in 1..20 {
        assert_eq!(admitted(&replicas, &charge(limit), 3 * limit as usize).await as u64, limit);
    }
    assert!(nodes.iter().all(|node| try_command(node.port, "DBSIZE").unwrap() != ":0\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_cluster_that_is_away_takes_its_own_counters_alone() {
    let mut nodes = cluster().await;
    if nodes.is_empty() {
        return;
    }
    let url = nodes.iter().map(Server::address).collect::<Vec<_>>().join(",");
    let replica = Replica::new(&LimitStore { timeout: Duration::from_secs(1), ..store(&url) });
    replica.until_up().await;
    nodes[1].kill();
    // Every counter is counted: by its node, or by this replica alone.
    let (mut with, mut without) = (0, 0);
    for limit in 20..50 {
        let before = replica.alone();
        assert_eq!(admitted(std::slice::from_ref(&replica), &charge(limit), 60).await as u64, limit);
        *if replica.alone() == before { &mut with } else { &mut without } += 1;
    }
    println!("{with} counters with their node, {without} without");
    assert!(with > 0 && without > 0, "{with} with, {without} without");
    assert!(!replica.limits.is_down());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_its_own_over_tls_and_no_other_certificate() {
    let path = directory();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (path.join("tls.crt"), path.join("tls.key"));
    std::fs::write(&chain, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let tls_port = free_port();
    let (chain, key, port) = (chain.to_str().unwrap(), key.to_str().unwrap(), tls_port.to_string());
    let tls = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        chain,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        chain,
        "--tls-auth-clients",
        "no",
    ];
    // The keys and commands that the gateway needs, and no others.
    let user = "--user gateway on >s3cret ~pailou:* +evalsha +eval +time +hget +hset +hdel +hgetall +del +expire +zadd +zcard +zcount +zscore \
                +zremrangebyscore +zrem --user default off";
    let user: Vec<_> = user.split_whitespace().collect();
    let Some(_server) = Server::start(&[&tls[..], &user].concat()) else { return };
    let url = |password: &str| format!("rediss://gateway:{password}@localhost:{tls_port}");
    let authorities = Some(certified.cert.pem().into());
    let right = LimitStore { tls: Some(StoreTls { authorities, client: None }), ..store(&url("s3cret")) };
    let replica = Replica::new(&right);
    replica.until_up().await;
    assert!(replica.admit(&charge(5)).await);
    assert_eq!(replica.alone(), 0);
    // The system trusts no certificate that signs itself; and another password is another client.
    for wrong in [store(&url("s3cret")), LimitStore { tls: right.tls.clone(), ..store(&url("other")) }] {
        let replica = Replica::new(&wrong);
        until("it is refused", || replica.limits.is_down()).await;
        assert!(replica.admit(&charge(5)).await);
        assert_eq!(replica.round_trips(), 0);
    }
    std::fs::remove_dir_all(path).unwrap();
}
