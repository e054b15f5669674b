//! A configuration that changes a thousand times a second, under load: no request may fail.
//!
//! `PAILOU_STORM_SECONDS` says for how long, three unless given.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

#[path = "proxy/support/mod.rs"]
#[expect(dead_code, reason = "context with the other tests")]
mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use pailou_compile::{Compiled, Compiler, store::Store};
use pailou_sim::{Config, Sim};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use support::objects::{Gateway, backend, entries, route, store};

const LIMIT: Duration = Duration::from_secs(20);

/// A Gateway, now and then with a second listener.
fn listeners(turn: usize) -> String {
    let second = if turn % 20 < 10 { ", {name: second, protocol: HTTP, port: 8090}" } else { "" };
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: gw}}\nspec:\n  gatewayClassName: pailou\n  \
         listeners: [{{name: http, protocol: HTTP, port: 8080}}{second}]\n"
    )
}

/// A route to one of two backends, with rules that come and go.
fn rules(turn: usize) -> String {
    let to = |name: &str| format!("backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: {name}}}]");
    let extra = (turn..turn + turn % 4).map(|index| format!("{{matches: [{{path: {{value: /extra/{index}}}}}], {}}}, ", to("a")));
    route(&format!("{}{{{}}}", extra.collect::<String>(), to(["a", "b"][turn % 2])))
}

/// Objects that change, as a source of configuration has them.
struct Changes {
    store: Store,
    compiler: Compiler,
}

impl Changes {
    /// Compilation after a change of these objects and no others.
    fn next(&mut self, objects: &str) -> Compiled {
        for entry in entries(objects) {
            self.store.upsert(entry).unwrap();
        }
        self.compiler.update(&self.store)
    }
}

fn change(gateway: &Gateway, to: &Compiled) {
    let errors = gateway.proxy.apply(&to.snapshot, &to.endpoints);
    assert!(errors.is_empty(), "{errors:?}");
}

/// One request on a connection that may be kept; the answer's status line, and who gave it.
async fn asked(stream: &mut TcpStream, close: bool) -> std::io::Result<String> {
    let connection = if close { "close" } else { "keep-alive" };
    stream.write_all(format!("GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: {connection}\r\n\r\n").as_bytes()).await?;
    let mut read = Vec::new();
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        if body.len() >= length {
            return Ok(head.to_owned());
        }
    }
}

async fn client(address: SocketAddr, keeps: bool, stop: Arc<AtomicBool>, answered: Arc<AtomicUsize>) -> Vec<String> {
    let (mut failures, mut kept) = (Vec::new(), None);
    while !stop.load(Ordering::Relaxed) && failures.len() < 5 {
        let exchange = async {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => TcpStream::connect(address).await?,
            };
            let head = asked(&mut stream, !keeps).await?;
            Ok::<_, std::io::Error>((head, stream))
        };
        match timeout(LIMIT, exchange).await {
            Ok(Ok((head, stream))) if head.starts_with("http/1.1 200 ") => {
                answered.fetch_add(1, Ordering::Relaxed);
                kept = keeps.then_some(stream);
            }
            Ok(Ok((head, _))) => failures.push(head),
            Ok(Err(error)) => failures.push(error.to_string()),
            Err(_) => failures.push("no answer".to_owned()),
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_changes_a_second_fail_no_request() {
    let sims = [
        Sim::start(Config::new("a", ["m"]).instant()).await.unwrap(),
        Sim::start(Config::new("b", ["m"]).instant()).await.unwrap(),
    ];
    let backends = backend("a", sims[0].addr(), "") + &backend("b", sims[1].addr(), "");
    let objects = [listeners(0), rules(0), backends].concat();
    let gateway = Gateway::at_own_address(&objects);
    let mut changes = Changes { store: store(&objects), compiler: Compiler::new(gateway.settings.clone()) };
    // Each differs from the one before by its rules, every tenth by its listeners as well.
    let made: Vec<_> = (0..200)
        .map(|turn| {
            let listeners = if turn % 10 == 0 { listeners(turn) } else { String::new() };
            changes.next(&(listeners + &rules(turn)))
        })
        .collect();
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut clients = JoinSet::new();
    for index in 0..6 {
        clients.spawn(client(gateway.address, index % 2 == 0, stop.clone(), answered.clone()));
    }
    let length = Duration::from_secs(std::env::var("PAILOU_STORM_SECONDS").map_or(3, |text| text.parse().unwrap()));
    let began = Instant::now();
    let mut turn = 0;
    // However slow the machine, some of both.
    while began.elapsed() < length || turn < 100 || answered.load(Ordering::Relaxed) < 100 {
        turn += 1;
        change(&gateway, &made[turn % made.len()]);
        // Compiling takes longer than a change may, without optimisation: only some are made on the way.
        if turn % 100 == 0 {
            change(&gateway, &changes.next(&rules(turn)));
        }
        // No faster than was asked for; where the machine is slow, it catches up.
        let due = Duration::from_millis(turn as u64);
        match due.checked_sub(began.elapsed()) {
            Some(rest) => tokio::time::sleep(rest).await,
            // The shortest sleep is as long as a change may take.
            None => tokio::task::yield_now().await,
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut failures = Vec::new();
    while let Some(failed) = clients.join_next().await {
        failures.extend(failed.unwrap());
    }
    let answered = answered.load(Ordering::Relaxed);
    println!("{turn} changes in {:?}, {answered} requests meanwhile", began.elapsed());
    assert!(failures.is_empty(), "{} of {answered} failed: {failures:?}", failures.len());
    // The last change is the one in force.
    for turn in [10, 11] {
        change(&gateway, &changes.next(&rules(turn)));
        let head = asked(&mut TcpStream::connect(gateway.address).await.unwrap(), true).await.unwrap();
        assert!(head.contains(&format!("x-sim-server: {}", ["a", "b"][turn % 2])), "{head}");
    }
}
