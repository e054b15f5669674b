//! Decoder of event batches.
//!
//! A batch is `[timestamp, [event, …], data_parallel_rank?]` or a map of those names. An event is an array with its tag first and its
//! trailing defaults left out, or a map with the tag under `type`. Engines mix the two freely, so that every combination is read.
//! The batch's rank is not: events belong to the connection that they came by.
//!
//! An event that cannot be read costs that event; the next ones are read. Unknown names and surplus positions are passed over.
//! Everything borrows from the batch.

mod event;
mod extra_keys;
mod fields;
mod msgpack;
mod sequences;

pub use self::event::{BlockHash, BlockRemoved, BlockStored, Event, Tier, Undecoded};
pub use self::extra_keys::{BlockExtraKeys, ExtraKey, ExtraKeys};
pub use self::sequences::{BlockHashes, TokenIds};

use self::{
    fields::Fields,
    msgpack::{Kind, Reader},
};

/// A batch that is not MessagePack, or neither an array nor a map with events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("KV event batch: not a MessagePack array or map with events")]
pub struct MalformedBatch;

/// Events of one batch, in order.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    seconds: Option<f64>,
    events: Reader<'a>,
    left: u32,
}

impl<'a> Batch<'a> {
    /// Finds the events of a batch.
    ///
    /// # Errors
    /// The payload is no batch.
    pub fn new(payload: &'a [u8]) -> Result<Self, MalformedBatch> {
        Self::find_events(payload).ok_or(MalformedBatch)
    }

    /// Time at which the engine made it, in seconds since 1970 by the engine's clock, if it comes before the events.
    pub fn seconds(&self) -> Option<f64> {
        self.seconds
    }

    fn find_events(payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let mut seconds = None;
        match reader.peek()? {
            Kind::Array => {
                if reader.array()? < 2 {
                    return None;
                }
                seconds = Reader::float(&mut { reader });
                reader.skip()?;
            }
            Kind::Map => {
                let mut entries = reader.map()?;
                loop {
                    entries = entries.checked_sub(1)?;
                    match reader.key()? {
                        b"events" => break,
                        b"ts" => seconds = Reader::float(&mut { reader }),
                        _ => {}
                    }
                    reader.skip()?;
                }
            }
            _ => return None,
        }
        let left = reader.array()?;
        Some(Self { seconds, events: reader, left })
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Result<Event<'a>, Undecoded>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let fields = Fields::read(&mut self.events);
        if fields.is_none() {
            // The end of this event, and so the next, cannot be found.
            self.left = 0;
        }
        Some(fields.ok_or(Undecoded::Malformed).and_then(|fields| Event::new(&fields)))
    }
}

#[cfg(test)]
mod tests;
