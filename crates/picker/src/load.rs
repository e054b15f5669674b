//! An endpoint's present work.
//!
//! A scrape counts all requests at the engine: ours and other clients'. Adding our own requests in flight to it would count
//! ours twice, so the picker keeps with a scrape our requests in flight at its time. The rest of the scrape's count is foreign,
//! and stays until the next scrape; our own part is always exact.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use crate::scrape::Reading;

/// Assumed number of requests that an engine runs at once, until it shows its own: vLLM's default for `max_num_seqs`.
const ASSUMED_SLOTS: f32 = 256.0;
/// Assumed size of an engine's KV cache in tokens, until it shows its own.
const ASSUMED_KV_TOKENS: f32 = 262_144.0;

/// Bits of [`InFlight`] that count tokens; those above count requests, up to a million.
const TOKEN_BITS: u32 = 44;
/// Most tokens that one request counts for, so that a million of them do not spill into the count of requests.
const MOST_TOKENS: u64 = 1 << 24;
/// Assumed tokens of a request's output, unless it asks for fewer.
const ASSUMED_OUTPUT: u64 = 512;
/// Bytes of a request per token.
const BYTES_PER_TOKEN: u64 = 4;

/// Requests and estimated tokens sent from here and not ended.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// One word, so that both are read and reserved as one.
    level: AtomicU64,
    /// Requests reserved since the start.
    begun: AtomicU64,
}

/// An [`InFlight`] at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Level(u64);

/// The estimated tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens(u64);

impl Tokens {
    /// Four bytes to a token, and the output as far as it can be foreseen: what clients allow is often far more than what comes.
    pub(crate) fn estimate(input_bytes: usize, max_tokens: Option<u64>) -> Self {
        let output = max_tokens.unwrap_or(ASSUMED_OUTPUT).min(ASSUMED_OUTPUT);
        Self((input_bytes as u64 / BYTES_PER_TOKEN + output).min(MOST_TOKENS))
    }

    /// Their number.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    fn with_request(self) -> u64 {
        (1 << TOKEN_BITS) + self.0
    }
}

impl InFlight {
    pub(crate) fn level(&self) -> Level {
        Level(self.level.load(Ordering::Relaxed))
    }

    /// Requests that a place was reserved for since the start.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Reserves a place for one request.
    pub(crate) fn reserve(&self, tokens: Tokens) {
        self.level.fetch_add(tokens.with_request(), Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Reserves a place if the level is still the one that was judged: of those who judged the same level, one succeeds.
    pub(crate) fn reserve_at(&self, judged: Level, tokens: Tokens) -> bool {
        let reserved = judged.0 + tokens.with_request();
        let is_reserved = self.level.compare_exchange(judged.0, reserved, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.begun.fetch_add(u64::from(is_reserved), Ordering::Relaxed);
        is_reserved
    }

    /// Gives a reservation back.
    pub(crate) fn release(&self, tokens: Tokens) {
        self.level.fetch_sub(tokens.with_request(), Ordering::Relaxed);
    }
}

impl Level {
    pub(crate) fn requests(self) -> u32 {
        (self.0 >> TOKEN_BITS) as u32
    }

    pub(crate) fn tokens(self) -> u64 {
        self.0 & ((1 << TOKEN_BITS) - 1)
    }

    /// The higher of both, in each respect.
    pub(crate) fn max(self, other: Self) -> Self {
        let requests = u64::from(self.requests().max(other.requests()));
        Self((requests << TOKEN_BITS) | self.tokens().max(other.tokens()))
    }
}

/// An endpoint's load now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    /// Our requests in flight at the time of this computation.
    pub(crate) level: Level,
    /// Whether it includes the engine's own figures; otherwise it counts our requests alone.
    pub(crate) fresh: bool,
    /// Requests that others sent.
    pub(crate) foreign: f32,
    /// Requests that wait in the engine's queue.
    pub(crate) waiting: f32,
    /// Requests that run.
    pub(crate) running: f32,
    /// Share of the KV cache in use, 0 to 1.
    pub(crate) kv: f32,
    /// The part of `kv` that counts towards saturation: without what rests on an assumed size of the cache.
    pub(crate) certain_kv: f32,
}

impl Load {
    /// The load of an endpoint with this many requests in flight from here, after its last scrape.
    pub(crate) fn new(level: Level, reading: &Reading, now: Instant) -> Self {
        let slots = reading.recent_slots(now).map_or(ASSUMED_SLOTS, |slots| slots as f32);
        let Some(figures) = reading.fresh(now) else { return Self::local(level, slots) };
        let sent = level.requests() as f32;
        let sent_then = reading.level.requests() as f32;
        let counted = figures.waiting + figures.running;
        let foreign = (counted - sent_then).max(0.0);
        let requests = foreign + sent;
        let waiting = match figures.waiting > 0.0 {
            // A queue takes what comes, and what ends makes room for it.
            true => figures.waiting + (requests - counted),
            false => requests - slots,
        }
        .clamp(0.0, requests);
        let grown = level.tokens() as f32 - reading.level.tokens() as f32;
        let kv = (figures.kv + grown / figures.kv_tokens.map_or(ASSUMED_KV_TOKENS, |tokens| tokens as f32)).clamp(0.0, 1.0);
        let certain_kv = if figures.kv_tokens.is_some() { kv } else { figures.kv };
        Self { level, fresh: true, foreign, waiting, running: requests - waiting, kv, certain_kv }
    }

    /// The load of an endpoint without recent figures: our own requests, beyond as many as it was seen to run of late.
    fn local(level: Level, slots: f32) -> Self {
        let requests = level.requests() as f32;
        let waiting = (requests - slots).max(0.0);
        let kv = (level.tokens() as f32 / ASSUMED_KV_TOKENS).min(1.0);
        Self { level, fresh: false, foreign: 0.0, waiting, running: requests - waiting, kv, certain_kv: 0.0 }
    }

    /// The same where its siblings have figures: it counts as having as much from others as they, so that silence does not look like
    /// idleness.
    pub(crate) fn with_siblings(self, foreign: f32, kv: f32) -> Self {
        Self { foreign, running: self.running + foreign, kv: self.kv.max(kv).min(1.0), ..self }
    }
}

#[cfg(test)]
mod tests;
