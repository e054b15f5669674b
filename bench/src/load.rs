//! The load generator: connections that send one request after the other and time the answers.

mod http2;
mod idle;
mod plan;
mod tally;

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

pub(crate) use self::{idle::hold, plan::Plan, tally::Tally};
use crate::{
    http::{Framing, Receiver, Start},
    workload::Setup,
};

/// Pause after a failed request, so that a dead gateway does not make the load spin.
const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// A request without an end after this time has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A running load; it ends when dropped.
pub(crate) struct Load {
    shared: Rc<Shared>,
    _connections: JoinSet<()>,
}

struct Shared {
    plan: Plan,
    /// Time between two requests of a slot, or `None` for the next one as soon as the last was answered.
    period: Cell<Option<Duration>>,
    tally: RefCell<Tally>,
}

impl Load {
    /// Starts sending without a pause; must be called within a `LocalSet`.
    pub(crate) fn start(plan: Plan) -> Self {
        let shared = Rc::new(Shared { plan, period: Cell::new(None), tally: RefCell::default() });
        let mut connections = JoinSet::new();
        if shared.plan.setup == Setup::H2 {
            http2::start(&shared, &mut connections);
        } else {
            for slot in 0..shared.plan.connections {
                connections.spawn_local(shared.clone().run(slot));
            }
        }
        Self { shared, _connections: connections }
    }

    /// Sets the requests per second over all connections; `None` for as many as are answered.
    pub(crate) fn set_rate(&self, rate: Option<u32>) {
        self.shared.period.set(rate.map(|rate| Duration::from_secs(self.shared.plan.connections.into()) / rate));
    }

    /// Whether something was answered since the last [`Load::take`], in streams an event too.
    pub(crate) fn answered(&self, streams: bool) -> bool {
        let tally = self.shared.tally.borrow();
        tally.requests > 0 && (!streams || tally.events > 0)
    }

    /// Results since the last call.
    pub(crate) fn take(&self) -> Tally {
        self.shared.tally.take()
    }
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// When there is no answer, or one with another status than 200.
pub(crate) async fn probe(plan: &Plan) -> io::Result<()> {
    if plan.setup == Setup::H2 {
        return http2::probe(plan).await;
    }
    let stream = TcpStream::connect(plan.target).await?;
    let request = plan.request(0).bytes();
    match plan.setup {
        Setup::Tls => exchange(&mut plan.tls(stream).await?, &mut Receiver::new(), &request, |_| {}).await,
        _ => exchange(&mut { stream }, &mut Receiver::new(), &request, |_| {}).await,
    }
}

impl Shared {
    async fn run(self: Rc<Self>, slot: u32) {
        sleep(self.plan.spread * slot / self.plan.connections).await;
        let mut pace = Pace::new(slot);
        loop {
            let Err(error) = self.requests(&mut pace).await else { continue };
            self.tally.borrow_mut().failed(&error);
            sleep(AFTER_FAILURE).await;
        }
    }

    /// Sends requests on one connection until one fails.
    async fn requests(&self, pace: &mut Pace) -> io::Result<()> {
        let stream = TcpStream::connect(self.plan.target).await?;
        stream.set_nodelay(true)?;
        match self.plan.setup {
            Setup::Tls => self.exchanges(self.plan.tls(stream).await?, pace).await,
            _ => self.exchanges(stream, pace).await,
        }
    }

    async fn exchanges(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, pace: &mut Pace) -> io::Result<()> {
        let mut receiver = Receiver::new();
        loop {
            pace.wait(self).await;
            let request = self.plan.next_bytes();
            let started = Instant::now();
            let mut first_event = None;
            let on_events = |events| {
                first_event.get_or_insert_with(|| started.elapsed());
                self.tally.borrow_mut().events += events;
            };
            timeout(REQUEST_TIMEOUT, exchange(&mut stream, &mut receiver, &request, on_events)).await??;
            self.tally.borrow_mut().answered(first_event.unwrap_or_else(|| started.elapsed()));
        }
    }
}

/// When a slot's requests are due.
struct Pace {
    slot: u32,
    next: Option<Instant>,
}

impl Pace {
    fn new(slot: u32) -> Self {
        Self { slot, next: None }
    }

    /// Waits until the next request is due.
    async fn wait(&mut self, shared: &Shared) {
        let Some(period) = shared.period.get() else {
            self.next = None;
            return;
        };
        let next = match self.next {
            None => Instant::now() + period * self.slot / shared.plan.connections,
            // One that is late does not hurry the ones after it.
            Some(last) => (last + period).max(Instant::now()),
        };
        self.next = Some(next);
        sleep_until(next).await;
    }
}

/// Sends a request and reads its answer.
///
/// # Errors
/// When there is no answer, or one with another status than 200, of which the body is then not read.
pub(crate) async fn ask(stream: &mut TcpStream, receiver: &mut Receiver, request: &[u8]) -> io::Result<()> {
    exchange(stream, receiver, request, |_| {}).await
}

async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    receiver: &mut Receiver,
    request: &[u8],
    on_events: impl FnMut(u64),
) -> io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let framing = accepted(stream, receiver).await?;
    receiver.skip(stream, framing, on_events).await
}

/// The framing of an answer, if it is one with status 200.
async fn accepted(stream: &mut (impl AsyncRead + Unpin), receiver: &mut Receiver) -> io::Result<Framing> {
    let Some(head) = receiver.head(stream).await? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    match (head.start, head.framing) {
        (Start::Response { status: 200 }, framing @ (Framing::Length(_) | Framing::Chunked)) => Ok(framing),
        (start, framing) => Err(io::Error::other(format!("answered with {start:?}, {framing:?}"))),
    }
}
