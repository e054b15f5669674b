//! PUB and ROUTER sockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pailou_kv_events::{
    Subscription, ZmtpEvent, ZmtpReader, ZmtpSocket, end_replay, open_connection, publish, replay, replay_start,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::EventLog;

/// Topics that one subscriber may name.
const MAX_TOPICS: usize = 64;
/// Most connections of one socket; further peers wait.
const MAX_CONNECTIONS: usize = 256;
/// Time for a peer to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an error of accepting: there are too few file descriptors, for instance.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Accepts connections of one socket for ever. Dropped, it takes them with it.
pub(crate) async fn serve(log: Arc<EventLog>, listener: TcpListener, socket: ZmtpSocket) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let log = log.clone();
                    connections.spawn(async move {
                        let served = match socket {
                            ZmtpSocket::Router => answer(&log, stream).await,
                            _ => publish_to(&log, stream).await,
                        };
                        if let Err(error) = served {
                            tracing::debug!(%error, "a connection for KV events ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "accepting a connection for KV events failed");
                    sleep(ACCEPT_BACKOFF).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Sends the batches that come while a subscriber wants their topic.
async fn publish_to(log: &EventLog, stream: TcpStream) -> io::Result<()> {
    let mut next = log.next.subscribe();
    let (mut peer, mut out) = open(stream, ZmtpSocket::Publisher).await?;
    let mut topics: Vec<Bytes> = Vec::new();
    let mut at = *next.borrow_and_update();
    loop {
        tokio::select! {
            biased;
            message = peer.next_message() => match Subscription::new(&message?) {
                Some(Subscription::Begin(topic)) if topics.len() < MAX_TOPICS => topics.push(topic),
                Some(Subscription::End(topic)) => topics.retain(|other| *other != topic),
                _ => {}
            },
            changed = next.changed() => if changed.is_err() { return Ok(()) },
        }
        while let Some((number, payload)) = log.batch(at) {
            at = number + 1;
            if topics.iter().any(|topic| log.topic.starts_with(topic)) {
                out.write_all(&publish(&log.topic, number, &payload)).await?;
            }
        }
    }
}

/// Replays batches, as often as the peer asks.
async fn answer(log: &EventLog, stream: TcpStream) -> io::Result<()> {
    let (mut peer, mut out) = open(stream, ZmtpSocket::Router).await?;
    loop {
        let Some(mut at) = replay_start(&peer.next_message().await?) else { continue };
        while let Some((number, payload)) = log.batch(at) {
            at = number + 1;
            out.write_all(&replay(&log.topic, number, &payload)).await?;
        }
        out.write_all(&end_replay()).await?;
    }
}

/// Shakes hands, within 10 s.
async fn open(stream: TcpStream, socket: ZmtpSocket) -> io::Result<(Peer, OwnedWriteHalf)> {
    timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, socket)).await?
}

async fn shake_hands(stream: TcpStream, socket: ZmtpSocket) -> io::Result<(Peer, OwnedWriteHalf)> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    write.write_all(&open_connection(socket)).await?;
    let mut peer = Peer { stream: read, reader: ZmtpReader::default() };
    while peer.next_event().await? != ZmtpEvent::Ready {}
    Ok((peer, write))
}

/// A peer's messages.
struct Peer {
    stream: OwnedReadHalf,
    reader: ZmtpReader,
}

impl Peer {
    /// The next message's frames. Nothing is lost if the future is dropped.
    async fn next_message(&mut self) -> io::Result<Vec<Bytes>> {
        loop {
            if let ZmtpEvent::Message(frames) = self.next_event().await? {
                return Ok(frames);
            }
        }
    }

    async fn next_event(&mut self) -> io::Result<ZmtpEvent> {
        loop {
            if let Some(event) = self.reader.next_event().map_err(io::Error::other)? {
                return Ok(event);
            }
            if self.stream.read_buf(self.reader.buffer()).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::{EventEncoding, KvEvents};

    /// A socket of these events, for a test that connects.
    async fn socket() -> std::net::SocketAddr {
        let settings = {
            let listen = (Ipv4Addr::LOCALHOST, 0).into();
            KvEvents { listen, replay_listen: None, encoding: EventEncoding::Map, topic: String::new() }
        };
        let listener = TcpListener::bind(settings.listen).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(Arc::new(EventLog::new(&settings, 16)), listener, ZmtpSocket::Publisher));
        address
    }

    /// The publisher's greeting.
    async fn greeting(peer: &mut TcpStream) -> io::Result<u8> {
        peer.read_u8().await
    }

    #[tokio::test]
    async fn a_peer_beyond_the_most_waits_for_one_to_go() {
        let address = socket().await;
        let mut peers = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut peer = TcpStream::connect(address).await.expect("a connection");
            greeting(&mut peer).await.expect("a greeting");
            peers.push(peer);
        }
        let mut last = TcpStream::connect(address).await.expect("a connection");
        tokio::select! {
            biased;
            greeted = greeting(&mut last) => panic!("{greeted:?}"),
            // Many turns of the one thread that serves, too.
            () = async { for _ in 0..1000 { tokio::task::yield_now().await } } => {}
        }
        drop(peers.pop());
        greeting(&mut last).await.expect("a greeting");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_shake_hands_is_left() {
        let mut peer = TcpStream::connect(socket().await).await.expect("a connection");
        greeting(&mut peer).await.expect("a greeting");
        tokio::time::pause();
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).await.expect("an end");
    }
}
