//! KV events as vLLM publishes them: batches in ZeroMQ messages, live and replayed.

mod encode;
mod server;

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

pub(crate) use self::server::serve;
use crate::config::{EventEncoding, KvEvents};
use crate::engine::BlockEvent;

/// Batches kept for replays, and for subscribers that are behind.
const MAX_BATCHES: usize = 10_000;

/// The last batches, by number.
pub(crate) struct EventLog {
    encoding: EventEncoding,
    block_size: u32,
    topic: Bytes,
    batches: Mutex<Batches>,
    /// Number of the next batch.
    next: watch::Sender<u64>,
}

#[derive(Default)]
struct Batches {
    first: u64,
    payloads: VecDeque<Bytes>,
}

impl EventLog {
    /// A log whose first batch says that the cache is empty.
    pub(crate) fn new(settings: &KvEvents, block_size: u32) -> Self {
        let log = Self {
            encoding: settings.encoding,
            block_size,
            topic: Bytes::copy_from_slice(settings.topic.as_bytes()),
            batches: Mutex::default(),
            next: watch::Sender::new(0),
        };
        log.append(&[BlockEvent::Cleared]);
        log
    }

    /// Adds a batch of these events.
    pub(crate) fn append(&self, events: &[BlockEvent]) {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let payload = encode::batch(self.encoding, seconds, events, self.block_size);
        let mut batches = self.batches.lock();
        if batches.payloads.len() == MAX_BATCHES {
            batches.payloads.pop_front();
            batches.first += 1;
        }
        batches.payloads.push_back(payload);
        self.next.send_replace(batches.first + batches.payloads.len() as u64);
    }

    /// The first batch that is still there from this number on, with its number.
    fn batch(&self, number: u64) -> Option<(u64, Bytes)> {
        let batches = self.batches.lock();
        let number = number.max(batches.first);
        let payload = batches.payloads.get(usize::try_from(number - batches.first).ok()?)?;
        Some((number, payload.clone()))
    }
}
