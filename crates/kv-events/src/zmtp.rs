//! ZMTP 3.0, ZeroMQ's protocol over TCP, as far as subscribers and publishers of KV events speak it: the bytes to send, and a reader of
//! those that come.
//!
//! A subscriber has a SUB connection for live batches, and a DEALER connection for each replay; a publisher (the simulated engine) has
//! PUB and ROUTER connections. Both speak the NULL mechanism, for no engine offers another. A peer's protocol may be newer: it then
//! speaks 3.0 too.

mod frames;
mod publication;
mod publisher;

use bytes::{BufMut, Bytes, BytesMut};

use self::frames::{Frame, FrameReader};
pub use self::publication::{Publication, ReplayMessage};
pub use self::publisher::{Subscription, end_replay, publish, replay, replay_start};

/// Most bytes of one message. Batches of an engine's step are far smaller.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Most frames of one message: no publisher sends more than 4.
const MAX_FRAMES: usize = 8;
/// Length of a greeting.
const GREETING_BYTES: usize = 64;
/// Places in a greeting: of the version, of the mechanism's name (padded with zeros to 20 bytes).
const VERSION_AT: usize = 10;
const MECHANISM: std::ops::Range<usize> = 12..32;

/// A publisher that does not speak ZMTP, or not as expected. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZmtpError {
    /// The greeting is none of ZMTP 3.
    #[error("no ZMTP 3 publisher")]
    Greeting,
    /// The publisher asks for PLAIN, CURVE or another mechanism.
    #[error("the ZMTP publisher asks for a security mechanism; only NULL is supported")]
    Mechanism,
    /// The publisher refused the connection, or its first command is not READY.
    #[error("the ZMTP publisher refuses the connection")]
    Refused,
    /// A message of more than 16 MiB or 8 frames, or a frame with unknown flags.
    #[error("the ZMTP publisher sends a message that is too long, or none")]
    Frame,
}

/// Kind of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZmtpSocket {
    /// Gets what a PUB socket publishes.
    Subscriber,
    /// Asks a ROUTER socket.
    Dealer,
    /// Publishes to SUB sockets.
    Publisher,
    /// Answers DEALER sockets.
    Router,
}

/// Greeting and READY of a connection: the first bytes to send.
pub fn open_connection(socket: ZmtpSocket) -> Bytes {
    let mut out = BytesMut::with_capacity(128);
    out.put_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0]);
    out.put_slice(b"NULL");
    out.put_bytes(0, GREETING_BYTES - out.len());
    let name: &[u8] = match socket {
        ZmtpSocket::Subscriber => b"SUB",
        ZmtpSocket::Dealer => b"DEALER",
        ZmtpSocket::Publisher => b"PUB",
        ZmtpSocket::Router => b"ROUTER",
    };
    let mut ready = BytesMut::new();
    ready.put_slice(b"\x05READY\x0bSocket-Type");
    ready.put_u32(name.len() as u32);
    ready.put_slice(name);
    frames::write(&mut out, frames::COMMAND, &ready);
    out.freeze()
}

/// Subscription to all topics: a topic's name tells nothing that the connection does not.
pub fn subscribe_to_all() -> Bytes {
    let mut out = BytesMut::new();
    frames::write(&mut out, 0, &[1]);
    out.freeze()
}

/// Question of a dealer: all batches from this number on.
pub fn ask_for_replay(from: u64) -> Bytes {
    let mut out = BytesMut::new();
    frames::write(&mut out, frames::MORE, &[]);
    frames::write(&mut out, 0, &from.to_be_bytes());
    out.freeze()
}

/// Something that a peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZmtpEvent {
    /// The connection is open; the subscription or the question may be sent.
    Ready,
    /// A message, by frames.
    Message(Vec<Bytes>),
}

/// Reader of a connection's bytes.
#[derive(Debug, Default)]
pub struct ZmtpReader {
    frames: FrameReader,
    phase: Phase,
    message: Vec<Bytes>,
    message_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Greeting,
    Ready,
    Messages,
}

impl ZmtpReader {
    /// Buffer for the next bytes of the connection. It never holds more than a message and what a single read adds to it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.frames.buffer
    }

    /// The next event; `None` until more bytes are there.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn next_event(&mut self) -> Result<Option<ZmtpEvent>, ZmtpError> {
        if self.phase == Phase::Greeting {
            if self.frames.buffer.len() < GREETING_BYTES {
                return Ok(None);
            }
            check_greeting(&self.frames.buffer.split_to(GREETING_BYTES))?;
            self.phase = Phase::Ready;
        }
        while let Some(frame) = self.frames.next(MAX_MESSAGE_BYTES - self.message_bytes)? {
            if let Some(event) = self.take(frame)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn take(&mut self, frame: Frame) -> Result<Option<ZmtpEvent>, ZmtpError> {
        if self.phase == Phase::Ready {
            if !frame.is_command || !frame.content.starts_with(b"\x05READY") {
                return Err(ZmtpError::Refused);
            }
            self.phase = Phase::Messages;
            return Ok(Some(ZmtpEvent::Ready));
        }
        if frame.is_command {
            // Heartbeats are of 3.1; no other command concerns a subscriber.
            return Ok(None);
        }
        if self.message.len() == MAX_FRAMES {
            return Err(ZmtpError::Frame);
        }
        self.message_bytes += frame.content.len();
        self.message.push(frame.content);
        if frame.has_more {
            return Ok(None);
        }
        self.message_bytes = 0;
        Ok(Some(ZmtpEvent::Message(std::mem::take(&mut self.message))))
    }
}

fn check_greeting(greeting: &[u8]) -> Result<(), ZmtpError> {
    if greeting[0] != 0xff || greeting[VERSION_AT - 1] != 0x7f || greeting[VERSION_AT] < 3 {
        return Err(ZmtpError::Greeting);
    }
    let mechanism = &greeting[MECHANISM];
    match mechanism.starts_with(b"NULL") && mechanism[4..].iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(ZmtpError::Mechanism),
    }
}

#[cfg(test)]
mod tests;
