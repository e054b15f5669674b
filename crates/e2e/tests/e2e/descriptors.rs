//! A process that may open few files, or holds very many connections.

use std::time::{Duration, Instant};

use pailou_e2e::{
    client::{Call, Connection},
    gateway::Setup,
    objects, wait,
};
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{everything_to, instant};

#[tokio::test]
async fn without_descriptors_it_neither_spins_nor_forgets_and_recovers() {
    let sim = instant("a", "m").await;
    let leading_to = |path: &str| {
        let rules = json!([{"matches": [objects::by_prefix(path)], "backendRefs": [objects::to_backend("b")]}]);
        vec![objects::gateway(), objects::route("r", rules), objects::backend("b", &[sim.addr()])]
    };
    let gateway = Setup::with(leading_to("/")).args(["--workers", "1"]).descriptors(64).serve().await;
    let mut before = Connection::http1(gateway.http()).await.expect("there is room");
    assert_eq!(before.send(Call::get("/").echo()).await.expect("it is answered").status, 200);
    let (mut held, began) = (Vec::new(), Instant::now());
    for _ in 0..200 {
        // The system takes them in all the same.
        held.push(TcpStream::connect(gateway.http()).await.expect("the queue has room"));
    }
    wait::eventually("the log says so", || gateway.stderr().contains("cannot accept connections")).await;
    let ticks = gateway.ticks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = gateway.ticks() - ticks;
    assert!(used < 30, "it spins: {used} hundredths of a second in one");
    // Open connections go on.
    assert_eq!(before.send(Call::get("/").echo()).await.expect("it is answered").status, 200);
    // The gateway cannot read this change yet.
    gateway.save_objects(leading_to("/new"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(held);
    let answered =
        async { while !Call::get("/new").echo().try_send(gateway.http()).await.is_ok_and(|reply| reply.status == 200) {} };
    wait::within("it accepts again", answered).await;
    let forgotten = async { while Call::get("/").echo().send(gateway.http()).await.status != 404 {} };
    // The gateway reads files that it could not read again every ten seconds.
    wait::within("what was saved meanwhile is live", forgotten).await;
    let lines = gateway.stderr().matches("cannot accept connections").count();
    assert!(lines as u64 <= 2 + began.elapsed().as_secs() / 10, "{lines} lines of log for one trouble");
}

/// `PAILOU_CONNECTIONS` says how many, 1,000 unless given; both processes need a descriptor for each.
#[tokio::test(flavor = "multi_thread")]
async fn many_connections_are_held_and_served() {
    let count = std::env::var("PAILOU_CONNECTIONS").map_or(1000, |text| text.parse().expect("it is a number"));
    let sim = instant("a", "m").await;
    let list =
        [objects::gateway(), objects::route("r", everything_to(objects::to_backend("b"))), objects::backend("b", &[sim.addr()])];
    let gateway = Setup::with(list).args(["--access-log", "off"]).serve().await;
    let before = gateway.memory();
    let mut held = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::http1(gateway.http()).await.expect("it accepts");
        let reply = connection.send(Call::get("/").echo()).await.expect("it answers");
        assert_eq!(reply.status, 200);
        held.push(connection);
    }
    let each = gateway.memory().saturating_sub(before) / count as u64;
    println!("{count} connections take {each} bytes each");
    for connection in &mut held {
        assert_eq!(connection.send(Call::get("/").echo()).await.expect("it is still there").status, 200);
    }
    assert!(each < 64 << 10, "{each} bytes for an idle connection");
    drop(held);
    let closed = async { while gateway.descriptors() > 200 {} };
    wait::within("they are closed", closed).await;
}
