//! A publisher as engines are: a PUB and a ROUTER socket in plain bytes, by the specification of ZMTP 3.1.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Bytes of a greeting.
const GREETING: usize = 64;

pub(super) struct Publisher {
    publications: TcpListener,
    replays: TcpListener,
    subscriber: Option<TcpStream>,
    /// All batches of the present process.
    batches: Vec<Vec<u8>>,
}

impl Publisher {
    pub(super) async fn start() -> Self {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (publications, replays) = (listen().await.unwrap(), listen().await.unwrap());
        Self { publications, replays, subscriber: None, batches: Vec::new() }
    }

    pub(super) fn port(&self) -> u16 {
        self.publications.local_addr().unwrap().port()
    }

    pub(super) fn replay_port(&self) -> u16 {
        self.replays.local_addr().unwrap().port()
    }

    /// Takes the next subscriber, and its subscription to all topics.
    pub(super) async fn accept(&mut self) {
        let (mut stream, _) = self.publications.accept().await.unwrap();
        shake_hands(&mut stream, b"PUB").await;
        assert_eq!(read_message(&mut stream).await, [[1]]);
        self.subscriber = Some(stream);
    }

    /// Answers the next replay, which is to begin here.
    pub(super) async fn serve_replay(&self, from: u64) {
        let (mut stream, _) = self.replays.accept().await.unwrap();
        shake_hands(&mut stream, b"ROUTER").await;
        assert_eq!(read_message(&mut stream).await, [&[][..], &from.to_be_bytes()]);
        for (number, batch) in self.batches.iter().enumerate().skip(from as usize) {
            write_message(&mut stream, &[b"", b"topic", &(number as u64).to_be_bytes(), batch]).await;
        }
        write_message(&mut stream, &[b"", b"", &[0xff; 8], b""]).await;
        // The subscriber closes the connection.
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }

    /// Publishes a batch, to whoever listens.
    pub(super) async fn publish(&mut self, batch: &[u8]) {
        let number = self.batches.len() as u64;
        self.lose(batch);
        if let Some(stream) = &mut self.subscriber {
            write_message(stream, &[b"kv@pod@model", &number.to_be_bytes(), batch]).await;
        }
    }

    /// Sends a message that is no batch.
    pub(super) async fn send_odd_message(&mut self) {
        write_message(self.subscriber.as_mut().unwrap(), &[b"topic", b"no number", b"batch"]).await;
    }

    /// Publishes a batch that does not arrive.
    pub(super) fn lose(&mut self, batch: &[u8]) {
        self.batches.push(batch.to_vec());
    }

    pub(super) fn restart(&mut self) {
        self.subscriber = None;
        self.batches.clear();
    }

    /// Begins its numbers anew on the same connection, as behind a proxy.
    pub(super) fn forget_batches(&mut self) {
        self.batches.clear();
    }

    /// Waits until the subscriber has gone.
    pub(super) async fn is_left(&mut self) {
        let stream = self.subscriber.as_mut().unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
}

async fn shake_hands(stream: &mut TcpStream, name: &[u8]) {
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
    greeting.extend(b"NULL");
    greeting.resize(GREETING, 0);
    stream.write_all(&greeting).await.unwrap();
    let mut theirs = [0; GREETING];
    stream.read_exact(&mut theirs).await.unwrap();
    assert_eq!((theirs[0], theirs[9], theirs[10], &theirs[12..17]), (0xff, 0x7f, 3, &b"NULL\0"[..]));
    let ready = [b"\x05READY\x0bSocket-Type\0\0\0", &[name.len() as u8][..], name].concat();
    stream.write_all(&[&[4, ready.len() as u8][..], &ready].concat()).await.unwrap();
    let (flags, theirs) = read_frame(stream).await;
    assert!(flags == 4 && theirs.starts_with(b"\x05READY\x0bSocket-Type"), "{theirs:?}");
}

async fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let (flags, length) = (stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap());
    let mut content = vec![0; usize::from(length)];
    stream.read_exact(&mut content).await.unwrap();
    (flags, content)
}

async fn read_message(stream: &mut TcpStream) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        let (flags, content) = read_frame(stream).await;
        frames.push(content);
        if flags & 1 == 0 {
            return frames;
        }
    }
}

async fn write_message(stream: &mut TcpStream, frames: &[&[u8]]) {
    let mut out = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let more = u8::from(at + 1 < frames.len());
        match u8::try_from(frame.len()) {
            Ok(length) => out.extend([more, length]),
            Err(_) => {
                out.push(more | 2);
                out.extend((frame.len() as u64).to_be_bytes());
            }
        }
        out.extend(*frame);
    }
    // A subscriber may leave at any time.
    _ = stream.write_all(&out).await;
}

/// A batch that stores so many blocks of 16 from this one on; block n has hash n + 1, and its tokens are its places in the prompt.
pub(super) fn stored(first: u8, count: u8) -> Vec<u8> {
    let mut event = vec![0x97, 0xab];
    event.extend(b"BlockStored");
    event.push(0x90 | count);
    event.extend(first + 1..=first + count);
    event.push(if first == 0 { 0xc0 } else { first });
    event.extend([0xdc, 0, 16 * count]);
    event.extend(16 * first..16 * (first + count));
    event.extend([16, 0xc0, 0xa3]);
    event.extend(b"GPU");
    batch(&event)
}

pub(super) fn removed(block: u8) -> Vec<u8> {
    batch(&[&[0x93, 0xac], &b"BlockRemoved"[..], &[0x91, block + 1, 0xa3], b"GPU"].concat())
}

pub(super) fn cleared() -> Vec<u8> {
    batch(&[&[0x91, 0xb0], &b"AllBlocksCleared"[..]].concat())
}

fn batch(event: &[u8]) -> Vec<u8> {
    [&[0x92, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 0x91], event].concat()
}
