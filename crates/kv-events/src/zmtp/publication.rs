//! Meaning of messages' frames.

use bytes::Bytes;

/// Number of the message that ends a replay.
pub(super) const END_OF_REPLAY: u64 = u64::MAX;

/// A live batch: topic, number, payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Number of the batch.
    pub number: u64,
    /// The batch: a copy, so that one that waits keeps no buffer of its connection.
    pub payload: Bytes,
}

impl Publication {
    /// Reads a message of a SUB connection. `None`: it is no batch.
    pub fn new(frames: &[Bytes]) -> Option<Self> {
        let [_topic, number, payload] = frames else { return None };
        Some(Self { number: read_number(number)?, payload: Bytes::copy_from_slice(payload) })
    }
}

/// A message of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayMessage {
    /// A batch that had been published before.
    Batch(Publication),
    /// No batch follows.
    End,
}

impl ReplayMessage {
    /// Reads a message of a DEALER connection: an empty frame, the topic (vLLM since June 2026), number, payload. `None`: it is none
    /// of these.
    pub fn new(frames: &[Bytes]) -> Option<Self> {
        let ([delimiter, number, payload] | [delimiter, _, number, payload]) = frames else { return None };
        let number = read_number(number).filter(|_| delimiter.is_empty())?;
        if number == END_OF_REPLAY && payload.is_empty() {
            return Some(Self::End);
        }
        Some(Self::Batch(Publication { number, payload: Bytes::copy_from_slice(payload) }))
    }
}

fn read_number(frame: &Bytes) -> Option<u64> {
    Some(u64::from_be_bytes(frame[..].try_into().ok()?))
}
