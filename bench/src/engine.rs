//! The mock engine: reads requests only as far as needed to skip them and gives fixed answers, by HTTP/1.1, HTTP/1.1 over TLS or HTTP/2,
//! whichever a connection begins with.

mod http2;
mod script;

use std::{cell::Cell, io, net::Ipv4Addr, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use self::script::Script;
use crate::http::{Receiver, Start};

/// The endpoints' addresses; they share a port.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
/// Ports tried before giving up on one that is free on every address.
const ATTEMPTS: usize = 16;
/// First byte of a connection by HTTP/2, and by TLS.
const HTTP2: u8 = b'P';
const TLS: u8 = 0x16;

/// Answers of the engine to all requests but those for its metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// A completion at once.
    Completion,
    /// A stream with so much time between its chunks.
    Stream(Duration),
    /// The beginning of a stream, and nothing more.
    Silence,
}

/// A running engine with two endpoints.
pub(crate) struct Engine {
    port: u16,
    shared: Rc<Shared>,
    _listeners: JoinSet<()>,
}

struct Shared {
    answer: Cell<Answer>,
    script: Script,
    acceptor: TlsAcceptor,
}

impl Engine {
    /// Starts on a port that is free on both addresses; must be called within a `LocalSet`.
    ///
    /// # Errors
    /// When there is no such port.
    pub(crate) async fn start(acceptor: TlsAcceptor) -> io::Result<Self> {
        let (port, listeners) = bind().await?;
        let shared = Rc::new(Shared { answer: Cell::new(Answer::Completion), script: Script::new(), acceptor });
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn_local(shared.clone().accept(listener));
        }
        Ok(Self { port, shared, _listeners: tasks })
    }

    /// The port of both endpoints.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// An endpoint's address.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        (ADDRESSES[0], self.port).into()
    }

    /// The endpoints' addresses.
    pub(crate) fn addresses(&self) -> [std::net::SocketAddr; 2] {
        ADDRESSES.map(|address| (address, self.port).into())
    }

    /// Sets what is answered from now on.
    pub(crate) fn set_answer(&self, answer: Answer) {
        self.shared.answer.set(answer);
    }
}

async fn bind() -> io::Result<(u16, [TcpListener; 2])> {
    let mut attempt = 1;
    loop {
        let first = TcpListener::bind((ADDRESSES[0], 0)).await?;
        let port = first.local_addr()?.port();
        match TcpListener::bind((ADDRESSES[1], port)).await {
            Ok(second) => return Ok((port, [first, second])),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

impl Shared {
    async fn accept(self: Rc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn_local(self.clone().connection(stream));
                    }
                }
                // A gateway that closes a connection, even in the middle of an answer, is no concern of the engine's.
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn connection(self: Rc<Self>, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut first = [0; 3];
        let length = stream.peek(&mut first).await?;
        match first[0] {
            // POST and PUT begin as HTTP/2's preface does.
            HTTP2 if first[..length].starts_with(b"PR") => http2::serve(stream).await,
            TLS => self.serve(self.acceptor.accept(stream).await?).await,
            _ => self.serve(stream).await,
        }
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut receiver = Receiver::new();
        while let Some(head) = receiver.head(&mut stream).await? {
            receiver.skip(&mut stream, head.framing, |_| {}).await?;
            match (head.start, self.answer.get()) {
                (Start::Request { metrics: true }, _) => stream.write_all(&self.script.metrics).await?,
                (_, Answer::Completion) => stream.write_all(&self.script.completion).await?,
                (_, Answer::Stream(cadence)) => self.script.stream(&mut stream, cadence).await?,
                (_, Answer::Silence) => self.script.begin(&mut stream).await?,
            }
            stream.flush().await?;
        }
        Ok(())
    }
}
