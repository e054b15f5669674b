//! A store whose settings change, that has one key of another kind, or that others use too.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_count_nothing_twice() {
    let Some(server) = Server::start(&[]) else { return };
    let first = store(&server.address());
    let replicas = three(&first).await;
    let limit = charge(90);
    assert_eq!(admitted(&replicas, &limit, 30).await, 30);
    // Another time, another policy of failure, the same server by another name: each is another client.
    let settings = [
        LimitStore { timeout: Duration::from_secs(6), ..first.clone() },
        LimitStore { is_fail_closed: true, ..first.clone() },
        store(&format!("localhost:{}", server.port)),
        first.clone(),
    ];
    for settings in settings {
        for replica in &replicas {
            let before = replica.round_trips();
            replica.use_store(Some(&settings));
            until("it is connected", || replica.round_trips() > before && !replica.limits.is_down()).await;
        }
        assert_eq!(server.command("ZCARD pailou:replicas"), ":3\r\n");
    }
    // Without a store each counts alone, and tells afterwards.
    replicas[0].use_store(None);
    assert_eq!(admitted(&replicas[..1], &limit, 10).await, 10);
    let before = replicas[0].round_trips();
    replicas[0].use_store(Some(&first));
    until("it is connected", || replicas[0].round_trips() > before + 1).await;
    assert_eq!(admitted(&replicas, &limit, 200).await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_that_waited_for_a_store_that_was_down_are_answered_by_the_next() {
    let Some(server) = Server::start(&[]) else { return };
    let Some(mut dead) = Server::start(&[]) else { return };
    let open = LimitStore { timeout: Duration::from_millis(200), ..store(&dead.address()) };
    let replica = Replica::new(&open);
    replica.until_up().await;
    // Counters wait while nobody answers.
    dead.signal("STOP");
    for limit in 100..110 {
        assert!(replica.admit(&charge(limit)).await);
    }
    until("it notices", || replica.limits.is_down()).await;
    dead.signal("CONT");
    dead.kill();
    replica.use_store(Some(&store(&server.address())));
    until("the next one answers", || !replica.limits.is_down()).await;
    let alone = replica.alone();
    for limit in 100..110 {
        assert_eq!(admitted(std::slice::from_ref(&replica), &charge(limit), 120).await as u64, limit - 1);
    }
    assert_eq!(replica.alone(), alone, "no request waits for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_that_is_no_counter_fails_alone() {
    let Some(server) = Server::start(&[]) else { return };
    let closed = LimitStore { is_fail_closed: true, ..store(&server.address()) };
    let (open, closed) = (Replica::new(&store(&server.address())), Replica::new(&closed));
    open.until_up().await;
    closed.until_up().await;
    let broken = charge(10);
    assert!(open.admit(&broken).await);
    let name = server.command("KEYS pailou:limit:*").lines().find(|line| line.starts_with("pailou:")).unwrap().to_owned();
    server.command(&format!("SET {name} text"));
    // The lease is used up, then each replica admits its part, or nothing.
    for _ in 0..30 {
        let _ = open.admit(&broken).await;
    }
    assert_eq!(closed.try_admit(&broken).await, Err(Unavailable));
    assert!(open.alone() > 0 && open.limits.stats().refused.load(Ordering::Relaxed) > 0);
    let failures = open.limits.stats().failures.load(Ordering::Relaxed);
    for (replica, limit) in [(&open, 11), (&closed, 12)] {
        let alone = replica.alone();
        assert_eq!(admitted(std::slice::from_ref(replica), &charge(limit), 20).await as u64, limit);
        assert_eq!(replica.alone(), alone);
        assert!(!replica.limits.is_down());
    }
    assert_eq!(open.limits.stats().failures.load(Ordering::Relaxed), failures);
    server.command(&format!("DEL {name}"));
    until("it is counted again", || server.command(&format!("TYPE {name}")).starts_with("+hash")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steady_asking_keeps_no_replica_from_its_other_duties() {
    let Some(server) = Server::start(&[]) else { return };
    let replica = Arc::new(Replica::new(&store(&server.address())));
    replica.until_up().await;
    let is_asking = Arc::new(std::sync::atomic::AtomicBool::new(true));
    // A new counter with each request, so that every one asks.
    let tasks: Vec<_> = (0..8_u64)
        .map(|task| {
            let (replica, is_asking) = (replica.clone(), is_asking.clone());
            tokio::spawn(async move {
                let mut at = 0;
                while is_asking.load(Ordering::Relaxed) {
                    at += 1;
                    replica.admit(&Charge { rule: (task, at), ..charge(1_000) }).await;
                    // Once the replica ends, nothing is waited for any more, and the client would never run again.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    // The store forgets the replica, which says that it is there again and again.
    for _ in 0..2 {
        server.command("DEL pailou:replicas");
        until("it says that it is there", || server.command("ZCARD pailou:replicas").starts_with(":1")).await;
    }
    replica.limits.stop().await;
    is_asking.store(false, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(server.command("ZCARD pailou:replicas"), ":0\r\n", "it said that it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_two_clusters_share_a_server_and_no_limit() {
    let Some(server) = Server::start(&[]) else { return };
    let of = |prefix: &str| {
        let mut store = store(&server.address());
        store.set_prefix(prefix).unwrap();
        Replica::new(&store)
    };
    let (east, west) = (of("pailou:east:"), of("pailou:west:"));
    east.until_up().await;
    west.until_up().await;
    for replica in [&east, &west] {
        assert_eq!(admitted(std::slice::from_ref(replica), &charge(7), 20).await, 7);
        assert_eq!(replica.limits.replicas(), 1);
    }
}
