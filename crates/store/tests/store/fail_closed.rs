//! Recovery of a replica that refuses while its store does not answer, beside another one that never comes back.

use super::*;

/// A replica with `failClosed`, which knows of another one.
async fn beside_another(server: &Server) -> Replica {
    let closed = LimitStore { is_fail_closed: true, timeout: Duration::from_millis(500), ..store(&server.address()) };
    let replica = Replica::new(&closed);
    replica.until_up().await;
    // A presence that does not end.
    server.command("ZADD pailou:replicas 9999999999 other");
    until("it knows of the other one", || replica.limits.replicas() == 2).await;
    replica
}

#[tokio::test(flavor = "multi_thread")]
async fn one_late_answer_lets_a_closed_limit_wait_for_no_other_replica() {
    let Some(server) = Server::start(&[]) else { return };
    let replica = beside_another(&server).await;
    // The other one said that it is there a moment ago, and does not say so again.
    let moment_ago = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 2;
    server.command(&format!("ZADD pailou:replicas {moment_ago} other"));
    server.signal("STOP");
    assert_eq!(replica.try_admit(&charge(10)).await, Err(Unavailable));
    until("it notices", || replica.limits.is_down()).await;
    server.signal("CONT");
    replica.until_up().await;
    assert_eq!(replica.limits.replicas(), 2, "it did not wait until the other one counts no longer");
    assert_eq!(replica.try_admit(&charge(10)).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_its_memory_lets_a_closed_limit_wait_for_all_replicas() {
    let Some(mut server) = Server::start(&[]) else { return };
    let replica = beside_another(&server).await;
    server.kill();
    until("it notices", || replica.limits.is_down()).await;
    server.restart();
    until("it says that it is there", || server.command("ZCARD pailou:replicas").starts_with(":1")).await;
    server.command("ZADD pailou:replicas 9999999999 other");
    replica.until_up().await;
    assert_eq!(replica.limits.replicas(), 2, "it waited for the other one");
    assert_eq!(replica.try_admit(&charge(10)).await, Ok(true));
}
