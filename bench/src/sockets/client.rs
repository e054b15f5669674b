//! The clients: every request is sent at its time, whether others have been answered or not.

use std::{cell::RefCell, collections::BTreeMap, io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::load::Arrivals;
use crate::http::{Framing, Receiver, Start};

/// A request without an end after this time has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Results of the requests that were sent in one window.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Nanoseconds to the first event of each answer.
    pub(super) first_event: Vec<u64>,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

/// Connections to each target that wait for a request.
type Idle = Rc<RefCell<BTreeMap<SocketAddr, Vec<TcpStream>>>>;

/// Sends requests from `start` until `end`, to the targets in turn. Returns the answers to those sent from `measured` on.
pub(super) async fn send(
    targets: &[SocketAddr],
    arrivals: &mut Arrivals,
    start: Instant,
    measured: Instant,
    end: Instant,
) -> Answers {
    let idle = Idle::default();
    let mut running = JoinSet::new();
    let mut answers = Answers::default();
    for target in targets.iter().copied().cycle() {
        let (at, bytes) = arrivals.take();
        let at = start + at;
        if at >= end {
            break;
        }
        sleep_until(at).await;
        let idle = idle.clone();
        running.spawn_local(async move { (at >= measured, exchange(target, &idle, at, &bytes).await) });
        while let Some(result) = running.try_join_next() {
            answers.count(result);
        }
    }
    while let Some(result) = running.join_next().await {
        answers.count(result);
    }
    answers
}

impl Answers {
    fn count(&mut self, result: Result<(bool, io::Result<Duration>), tokio::task::JoinError>) {
        match result {
            Ok((true, Ok(latency))) => self.first_event.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)),
            Ok((true, Err(error))) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
            }
            Ok((false, _)) | Err(_) => {}
        }
    }
}

/// Sends one request on its own connection, to see that the target is there.
///
/// # Errors
/// No answer, or another status than 200.
pub(super) async fn probe(target: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    exchange(target, &Idle::default(), Instant::now(), bytes).await.map(drop)
}

/// Sends one request. Returns the time from when it was due to its first event.
async fn exchange(target: SocketAddr, idle: &Idle, due: Instant, bytes: &[u8]) -> io::Result<Duration> {
    timeout(REQUEST_TIMEOUT, async {
        let kept = idle.borrow_mut().entry(target).or_default().pop();
        let mut stream = match kept {
            Some(stream) => stream,
            None => TcpStream::connect(target).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(bytes).await?;
        let mut receiver = Receiver::new();
        let head = receiver.head(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = if let Start::Response { status } = head.start { status } else { 0 };
        let mut first = None;
        receiver.skip(&mut stream, head.framing, |_| first = first.or_else(|| Some(due.elapsed()))).await?;
        if status != 200 {
            return Err(io::Error::other(format!("status {status}")));
        }
        if head.framing != Framing::Unsaid {
            idle.borrow_mut().entry(target).or_default().push(stream);
        }
        first.ok_or_else(|| io::Error::other("a stream without an event"))
    })
    .await?
}
