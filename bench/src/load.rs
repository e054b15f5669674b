//! The load generator: connections that send one request after the other and time the answers.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::http::{Framing, Receiver, Start};

/// Pause after a failed request, so that a dead gateway does not make the load spin.
const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// A request without an end after this time has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the answers said since the last [`Load::take`].
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers with status 200 that were read to the end.
    pub(crate) requests: u64,
    /// Server-sent events.
    pub(crate) events: u64,
    /// Requests that failed, or were answered otherwise.
    pub(crate) errors: u64,
    /// What the first failure was.
    pub(crate) first_error: Option<String>,
    /// Nanoseconds from a request's first byte to the end of the answer, or to its first event where it is a stream.
    pub(crate) latencies: Vec<u64>,
}

impl Tally {
    fn failed(&mut self, error: &io::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }
}

/// How requests are sent.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) request: Rc<[u8]>,
    pub(crate) connections: u32,
    /// Time over which the connections' first requests are spread.
    pub(crate) spread: Duration,
}

/// A running load; it ends when dropped.
pub(crate) struct Load {
    shared: Rc<Shared>,
    _connections: JoinSet<()>,
}

struct Shared {
    plan: Plan,
    /// Time between two requests of a connection, or `None` for the next one as soon as the last was answered.
    period: Cell<Option<Duration>>,
    tally: RefCell<Tally>,
}

impl Load {
    /// Starts sending without a pause; must be called within a `LocalSet`.
    pub(crate) fn start(plan: Plan) -> Self {
        let shared = Rc::new(Shared { plan, period: Cell::new(None), tally: RefCell::default() });
        let mut connections = JoinSet::new();
        for index in 0..shared.plan.connections {
            connections.spawn_local(shared.clone().run(index));
        }
        Self { shared, _connections: connections }
    }

    /// Sets the requests per second over all connections; `None` for as many as are answered.
    pub(crate) fn set_rate(&self, rate: Option<u32>) {
        self.shared.period.set(rate.map(|rate| Duration::from_secs(self.shared.plan.connections.into()) / rate));
    }

    /// What happened since the last call.
    pub(crate) fn take(&self) -> Tally {
        self.shared.tally.take()
    }
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// When there is no answer, or one with another status than 200.
pub(crate) async fn probe(target: SocketAddr, request: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    exchange(&mut stream, &mut Receiver::new(), request, |_| {}).await
}

impl Shared {
    async fn run(self: Rc<Self>, index: u32) {
        sleep(self.plan.spread * index / self.plan.connections).await;
        let mut next = Instant::now();
        loop {
            let Err(error) = self.requests(index, &mut next).await else { continue };
            self.tally.borrow_mut().failed(&error);
            sleep(AFTER_FAILURE).await;
        }
    }

    /// Sends requests on one connection until one fails.
    async fn requests(&self, index: u32, next: &mut Instant) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.plan.target).await?;
        stream.set_nodelay(true)?;
        let mut receiver = Receiver::new();
        let mut paced = false;
        loop {
            match self.period.get() {
                Some(period) if !paced => {
                    paced = true;
                    *next = Instant::now() + period * index / self.plan.connections;
                }
                // One that is late does not hurry the ones after it.
                Some(period) => *next = (*next + period).max(Instant::now()),
                None => paced = false,
            }
            if paced {
                sleep_until(*next).await;
            }
            tokio::time::timeout(PATIENCE, self.request(&mut stream, &mut receiver)).await??;
        }
    }

    async fn request(&self, stream: &mut TcpStream, receiver: &mut Receiver) -> io::Result<()> {
        let started = Instant::now();
        let mut first_event = None;
        let on_events = |events| {
            first_event.get_or_insert_with(|| started.elapsed());
            self.tally.borrow_mut().events += events;
        };
        exchange(stream, receiver, &self.plan.request, on_events).await?;
        let latency = first_event.unwrap_or_else(|| started.elapsed());
        let mut tally = self.tally.borrow_mut();
        tally.requests += 1;
        tally.latencies.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        Ok(())
    }
}

async fn exchange(stream: &mut TcpStream, receiver: &mut Receiver, request: &[u8], on_events: impl FnMut(u64)) -> io::Result<()> {
    stream.write_all(request).await?;
    let Some(head) = receiver.head(stream).await? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    match (head.start, head.framing) {
        (Start::Response { status: 200 }, Framing::Length(_) | Framing::Chunked) => {
            receiver.skip(stream, head.framing, on_events).await
        }
        (start, framing) => Err(io::Error::other(format!("answered with {start:?}, {framing:?}"))),
    }
}
