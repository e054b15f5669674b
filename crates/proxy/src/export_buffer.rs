//! Spans or log records that wait for a collector: bounded in number and bytes, written by all workers, taken by one task.

use std::{cell::RefCell, collections::VecDeque, time::Duration};

use pailou_snapshot::Batching;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{self, Instant},
};

/// Items that wait, in bytes. Beyond it items are dropped and counted: a slow collector never holds a request up.
const MAX_BYTES: usize = 4 << 20;

/// Longest batch, in bytes, but for one item or one request's items that are longer: receivers of gRPC take 4 MiB.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Room for the items of a request that a thread keeps, in bytes.
const MAX_KEPT: usize = 64 << 10;

thread_local! {
    /// Items of the request that ends now.
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Items of one request to the collector, encoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ExportBatch {
    pub(crate) items: Vec<u8>,
    pub(crate) count: u64,
}

/// Items that wait.
pub(crate) struct ExportBuffer {
    limits: Batching,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    current: ExportBatch,
    /// When the first of `current` came.
    since: Option<Instant>,
    full: VecDeque<ExportBatch>,
    /// Items and bytes of `full`.
    full_count: u64,
    full_bytes: usize,
    /// Items of the batch that the task sends.
    sent_count: u64,
    is_closed: bool,
}

/// Whether items were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendOutcome {
    /// They wait.
    Taken,
    /// There is no room.
    Full,
    /// The end has come.
    Closed,
}

impl ExportBuffer {
    pub(crate) fn new(limits: Batching) -> Self {
        Self { limits, waiting: Mutex::default(), wake: Notify::new() }
    }

    /// Appends `count` items, which `write` encodes, outside of the lock that all workers share.
    pub(crate) fn append(&self, count: u64, write: impl FnOnce(&mut Vec<u8>)) -> AppendOutcome {
        let admitted = self.admit(&self.waiting.lock(), count);
        if admitted != AppendOutcome::Taken {
            return admitted;
        }
        ENCODED.with_borrow_mut(|encoded| {
            encoded.clear();
            encoded.shrink_to(MAX_KEPT);
            write(encoded);
            self.append_encoded(count, encoded)
        })
    }

    /// Whether there is room for `count` items.
    fn admit(&self, waiting: &Waiting, count: u64) -> AppendOutcome {
        let waits = waiting.full_count + waiting.current.count;
        let bytes = waiting.full_bytes + waiting.current.items.len();
        if waiting.is_closed {
            AppendOutcome::Closed
        } else if waits + count > self.limits.max_queue_size as u64 || bytes >= MAX_BYTES {
            AppendOutcome::Full
        } else {
            AppendOutcome::Taken
        }
    }

    fn append_encoded(&self, count: u64, encoded: &[u8]) -> AppendOutcome {
        let mut guard = self.waiting.lock();
        let waiting = &mut *guard;
        // Other workers may have taken the room meanwhile.
        let admitted = self.admit(waiting, count);
        if admitted != AppendOutcome::Taken {
            return admitted;
        }
        let is_full = waiting.current.items.len() + encoded.len() > MAX_BATCH_BYTES && waiting.current.count > 0;
        if is_full {
            waiting.end_batch();
        }
        waiting.current.items.extend_from_slice(encoded);
        waiting.current.count += count;
        // The task is woken for the first and for a batch, not for each: a wake-up costs more than an item.
        let is_first = waiting.since.is_none();
        waiting.since.get_or_insert_with(Instant::now);
        let is_batch = waiting.current.count >= self.limits.max_batch_size as u64;
        if is_batch {
            waiting.end_batch();
        }
        drop(guard);
        if is_first || is_batch || is_full {
            self.wake.notify_one();
        }
        AppendOutcome::Taken
    }

    /// The next batch: full, or as old as it may get. `None` once the buffer is closed and empty.
    pub(crate) async fn next(&self) -> Option<ExportBatch> {
        loop {
            let due = {
                let mut waiting = self.waiting.lock();
                let due = waiting.since.map(|since| since + self.limits.schedule_delay);
                if waiting.is_closed || due.is_some_and(|due| due <= Instant::now()) {
                    waiting.end_batch();
                }
                if let Some(batch) = waiting.full.pop_front() {
                    waiting.full_count -= batch.count;
                    waiting.full_bytes -= batch.items.len();
                    waiting.sent_count = batch.count;
                    return Some(batch);
                }
                if waiting.is_closed {
                    return None;
                }
                due
            };
            match due {
                None => self.wake.notified().await,
                // The loop looks again, for any end of the wait.
                Some(due) => drop(time::timeout_at(due, self.wake.notified()).await),
            }
        }
    }

    /// Takes no more items, and lets the task go once it has what waits.
    pub(crate) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.wake.notify_one();
    }

    /// Ends the batch that [`Self::next`] gave: it is counted, whatever became of it.
    pub(crate) fn settle(&self) {
        self.waiting.lock().sent_count = 0;
    }

    /// Items that wait, and those of the batch under way.
    pub(crate) fn unsent(&self) -> u64 {
        let waiting = self.waiting.lock();
        waiting.full_count + waiting.current.count + waiting.sent_count
    }

    /// Time for a batch.
    pub(crate) fn export_timeout(&self) -> Duration {
        self.limits.export_timeout
    }
}

impl Waiting {
    fn end_batch(&mut self) {
        self.since = None;
        if self.current.count == 0 {
            return;
        }
        // The next will be about as long, and is not to be copied for a little more.
        let length = self.current.items.len();
        let next = ExportBatch { items: Vec::with_capacity(length + length / 8), count: 0 };
        let batch = std::mem::replace(&mut self.current, next);
        self.full_count += batch.count;
        self.full_bytes += batch.items.len();
        self.full.push_back(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(max_queue_size: usize, max_batch_size: usize) -> ExportBuffer {
        ExportBuffer::new(Batching { max_queue_size, max_batch_size, ..Batching::default() })
    }

    fn put(buffer: &ExportBuffer, byte: u8) -> AppendOutcome {
        buffer.append(1, |out| out.push(byte))
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_when_it_is_full_or_old() {
        let buffer = buffer(100, 2);
        for byte in [1, 2, 3] {
            assert_eq!(put(&buffer, byte), AppendOutcome::Taken);
        }
        let begun = Instant::now();
        assert_eq!(buffer.next().await.unwrap(), ExportBatch { items: vec![1, 2], count: 2 });
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(buffer.next().await.unwrap(), ExportBatch { items: vec![3], count: 1 });
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        assert_eq!(buffer.unsent(), 1, "the last is under way");
        buffer.settle();
        assert_eq!(buffer.unsent(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_task_hears_of_the_first_span_and_of_the_end() {
        let buffer = std::sync::Arc::new(buffer(100, 2));
        let task = tokio::spawn({
            let buffer = buffer.clone();
            async move { (buffer.next().await.map(|batch| batch.count), buffer.next().await) }
        });
        tokio::task::yield_now().await;
        put(&buffer, 1);
        tokio::time::sleep(Duration::from_secs(6)).await;
        buffer.close();
        assert_eq!(task.await.unwrap(), (Some(1), None));
        assert_eq!(put(&buffer, 1), AppendOutcome::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_has_no_more_bytes_than_collectors_take() {
        let buffer = buffer(100, 100);
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(buffer.append(1, |out| out.resize(MAX_BATCH_BYTES / 2, 0)), AppendOutcome::Taken);
        }
        assert_eq!(buffer.next().await.unwrap().items.len(), MAX_BATCH_BYTES);
        assert_eq!(begun.elapsed(), Duration::ZERO, "it is full");
        assert_eq!(buffer.next().await.unwrap().count, 1);
    }

    #[tokio::test]
    async fn what_has_no_room_is_not_taken() {
        let few = buffer(3, 2);
        let outcomes = [1, 2, 3, 4].map(|byte| put(&few, byte));
        assert_eq!(outcomes[2..], [AppendOutcome::Taken, AppendOutcome::Full]);
        few.next().await.unwrap();
        assert_eq!(put(&few, 5), AppendOutcome::Taken);
        let long = buffer(100, 100);
        assert_eq!(long.append(1, |out| out.resize(MAX_BYTES, 0)), AppendOutcome::Taken);
        assert_eq!(put(&long, 1), AppendOutcome::Full);
    }
}
