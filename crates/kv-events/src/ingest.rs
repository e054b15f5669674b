//! From a batch's payload to the index, with the counts that show whether anything is understood.

use crate::{
    decode::{Batch, Event, Undecoded},
    index::{ApplyOutcome, Index, PublisherId},
};

/// Batches in a row with events of which none was understood, after which the operator is to know.
const MUTE_BATCHES: u32 = 8;

/// How a publisher's batches could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestCounters {
    /// Batches.
    pub batches: u64,
    /// Batches that are none.
    pub malformed_batches: u64,
    /// Events that were understood.
    pub events: u64,
    /// Events of unknown tags.
    pub unknown_events: u64,
    /// Events that could not be read otherwise.
    pub malformed_events: u64,
}

/// Reader of one publisher's batches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ingest {
    counters: IngestCounters,
    mute: u32,
    has_lost: bool,
}

impl Ingest {
    /// Counts.
    pub fn counters(&self) -> IngestCounters {
        self.counters
    }

    /// Whether batches arrive and nothing of them is understood: the engine's format is probably newer than this reader, and the
    /// index would be empty in silence.
    pub fn is_mute(&self) -> bool {
        self.mute >= MUTE_BATCHES
    }

    /// Whether anything of what came since the cache was last cleared could not be read.
    pub fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// A message came that is no batch.
    pub fn lose(&mut self) {
        self.has_lost = true;
    }

    /// The publisher's blocks are forgotten, and with them what is missing of them.
    pub fn clear(&mut self) {
        self.has_lost = false;
    }

    /// Applies a batch's events to the index. Returns the greatest of their outcomes.
    pub fn apply(&mut self, index: &mut Index, publisher: PublisherId, payload: &[u8]) -> ApplyOutcome {
        let Some(mut batch) = self.begin(payload) else { return ApplyOutcome::Applied };
        while batch.decode_next() {
            self.apply_next(index, publisher, &mut batch, u32::MAX);
        }
        self.end(batch)
    }

    /// Begins to apply a batch: [`Ingest::apply_next`] follows for as long as [`IngestBatch::decode_next`] finds something, then
    /// [`Ingest::end`]. `None`: it is none.
    pub fn begin<'a>(&mut self, payload: &'a [u8]) -> Option<IngestBatch<'a>> {
        self.counters.batches += 1;
        let batch = Batch::new(payload).ok();
        if batch.is_none() {
            self.counters.malformed_batches += 1;
            self.has_lost = true;
            self.mute = self.mute.saturating_add(1);
        }
        batch.map(|events| IngestBatch { events, next: None, outcome: ApplyOutcome::Applied, understood: 0, lost: 0 })
    }

    /// Applies the event that was decoded. One of more blocks than this (at least 1) is applied in parts.
    pub fn apply_next(&mut self, index: &mut Index, publisher: PublisherId, batch: &mut IngestBatch<'_>, blocks: u32) {
        match batch.next.take() {
            Some(Ok(mut event)) => {
                self.has_lost &= !matches!(event, Event::Cleared);
                let rest = event.split_off_rest(blocks.max(1));
                let outcome = index.apply(publisher, &event);
                // The rest would be without its parent, and is read anew with all else.
                batch.next = rest.filter(|_| outcome != ApplyOutcome::Reset).map(Ok);
                batch.outcome = batch.outcome.max(outcome);
            }
            Some(Err(reason)) => {
                batch.lost += 1;
                self.lose_event(reason);
            }
            None => {}
        }
    }

    /// Ends a batch. Returns the greatest outcome of its events.
    pub fn end(&mut self, batch: IngestBatch<'_>) -> ApplyOutcome {
        self.counters.events += batch.understood;
        match (batch.understood, batch.lost) {
            (0, 0) => {}
            (0, _) => self.mute = self.mute.saturating_add(1),
            _ => self.mute = 0,
        }
        batch.outcome
    }

    fn lose_event(&mut self, reason: Undecoded) {
        self.has_lost = true;
        match reason {
            Undecoded::UnknownTag => self.counters.unknown_events += 1,
            Undecoded::Field(_) | Undecoded::Malformed => self.counters.malformed_events += 1,
        }
    }
}

/// A batch that is being applied.
#[derive(Clone, Debug)]
pub struct IngestBatch<'a> {
    events: Batch<'a>,
    /// The event that is to be applied next, or what is left of the one that was applied in part.
    next: Option<Result<Event<'a>, Undecoded>>,
    outcome: ApplyOutcome,
    understood: u64,
    lost: u64,
}

impl IngestBatch<'_> {
    /// Decodes the next event, unless there is one. Returns whether there is.
    pub fn decode_next(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.events.next();
            self.understood += u64::from(matches!(self.next, Some(Ok(_))));
        }
        self.next.is_some()
    }

    /// Time at which the engine made it, in seconds since 1970 by the engine's clock.
    pub fn seconds(&self) -> Option<f64> {
        self.events.seconds()
    }
}

#[cfg(test)]
mod tests {
    use rmpv::Value;

    use super::*;
    use crate::{
        index::{Prompt, PromptImage},
        testing::{array, batch, removed, stored},
    };

    /// An engine's events became maps, and another picker's index was empty from then on without a word.
    #[test]
    fn batches_of_which_nothing_is_understood_raise_an_alarm_that_one_event_ends() {
        let mut index = Index::new(1, 10);
        let publisher = index.add_publisher().expect("room");
        let mut ingest = Ingest::default();
        let unknown = batch(vec![Value::from("BlockStored in a new form")]);
        let mut is_mute_after = |payloads: &[&[u8]]| {
            payloads.iter().for_each(|payload| _ = ingest.apply(&mut index, publisher, payload));
            (ingest.is_mute(), ingest.counters())
        };
        assert!(!is_mute_after(&[&unknown[..]; 7]).0);
        assert!(!is_mute_after(&[&batch(vec![])[..]; 7]).0);
        assert!(is_mute_after(&[&b"no batch"[..]]).0);
        let (is_mute, counters) = is_mute_after(&[&batch(vec![removed(&[1], &[])])]);
        assert!(!is_mute);
        let expected = IngestCounters { batches: 16, malformed_batches: 1, events: 1, unknown_events: 7, malformed_events: 0 };
        assert_eq!(counters, expected);
    }

    #[test]
    fn what_cannot_be_read_is_missing_until_the_cache_is_cleared() {
        let mut index = Index::new(1, 10);
        let publisher = index.add_publisher().expect("room");
        let mut ingest = Ingest::default();
        let mut has_lost_after = |payload: &[u8]| {
            ingest.apply(&mut index, publisher, payload);
            ingest.has_lost()
        };
        let (unknown, cleared) = (array([Value::from("BlockMoved")]), array([Value::from("AllBlocksCleared")]));
        assert!(!has_lost_after(&batch(vec![removed(&[1], &[])])));
        assert!(has_lost_after(b"no batch"));
        assert!(has_lost_after(&batch(vec![removed(&[1], &[])])));
        assert!(!has_lost_after(&batch(vec![cleared.clone()])));
        assert!(has_lost_after(&batch(vec![cleared.clone(), unknown.clone()])));
        assert!(!has_lost_after(&batch(vec![unknown, cleared])));
    }

    /// Picks waited until an event of any size was applied.
    #[test]
    fn an_event_of_many_blocks_is_applied_in_parts() {
        let tokens: Vec<u32> = (0..1000 * 16).collect();
        let hashes: Vec<u64> = (1..=1000).collect();
        let salt = array([array([Value::from("salt")]), array([Value::from("image")])]);
        let event = stored(&hashes, None, &tokens, 16, &[("extra_keys", salt)]);
        let payload =
            batch(vec![event, removed(&(400..=1000).collect::<Vec<u64>>(), &[]), removed(&[1], &[("medium", Value::from("cpu"))])]);
        let (mut whole, mut parts) = (Index::new(1, 2000), Index::new(1, 2000));
        let publishers = [&mut whole, &mut parts].map(|index| index.add_publisher().expect("room"));
        let (mut first, mut second) = (Ingest::default(), Ingest::default());
        first.apply(&mut whole, publishers[0], &payload);
        let mut events = second.begin(&payload).expect("a batch");
        let mut rounds = 0;
        let counts = |index: &Index| index.counters().stored + index.counters().removed;
        while events.decode_next() {
            let before = counts(&parts);
            second.apply_next(&mut parts, publishers[1], &mut events, 1);
            assert!(counts(&parts) - before <= 1);
            rounds += 1;
        }
        assert_eq!((rounds, second.end(events)), (1602, ApplyOutcome::Applied));
        assert_eq!((first.counters(), whole.counters(), whole.len()), (second.counters(), parts.counters(), parts.len()));
        let images = [PromptImage { identifier: b"image", tokens: 16..32 }];
        let prompt = Prompt { tokens: &tokens, adapter: None, cache_salt: Some(b"salt"), images: &images };
        let cached = [&whole, &parts].map(|index| index.cached_prefixes(&prompt)[0].total());
        assert_eq!(cached, [399 * 16; 2]);
        assert!(!parts.has_lost(publishers[1]));
    }
}
