//! A publisher's side: what it sends, and what its peers ask for.

use bytes::{Bytes, BytesMut};

use super::{frames, publication::END_OF_REPLAY};

/// A subscriber's wish for topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// It wants batches whose topic begins with this.
    Begin(Bytes),
    /// It does not any more.
    End(Bytes),
}

impl Subscription {
    /// Reads a message of a PUB connection. `None`: it is none.
    pub fn new(frames: &[Bytes]) -> Option<Self> {
        let [frame] = frames else { return None };
        match frame.first()? {
            1 => Some(Self::Begin(frame.slice(1..))),
            0 => Some(Self::End(frame.slice(1..))),
            _ => None,
        }
    }
}

/// Number of the first batch that a message of a ROUTER connection asks for. `None`: it asks for none.
pub fn replay_start(frames: &[Bytes]) -> Option<u64> {
    let [delimiter, number] = frames else { return None };
    delimiter.is_empty().then(|| number[..].try_into().ok().map(u64::from_be_bytes))?
}

/// A live batch, for a subscriber.
pub fn publish(topic: &[u8], number: u64, payload: &[u8]) -> Bytes {
    message(&[topic, &number.to_be_bytes(), payload])
}

/// A batch of a replay.
pub fn replay(topic: &[u8], number: u64, payload: &[u8]) -> Bytes {
    message(&[b"", topic, &number.to_be_bytes(), payload])
}

/// The end of a replay.
pub fn end_replay() -> Bytes {
    message(&[b"", b"", &END_OF_REPLAY.to_be_bytes(), b""])
}

fn message(frames: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::with_capacity(frames.iter().map(|frame| frame.len() + 9).sum());
    frames::write_message(&mut out, frames);
    out.freeze()
}
