//! Events in the order of their time; those of the same time in the order in which they were scheduled.

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration};

/// Events to come.
pub(super) struct Timeline<E> {
    events: BinaryHeap<Scheduled<E>>,
    count: u64,
}

struct Scheduled<E> {
    at: Duration,
    number: u64,
    event: E,
}

impl<E> Timeline<E> {
    pub(super) fn new() -> Self {
        Self { events: BinaryHeap::new(), count: 0 }
    }

    pub(super) fn schedule(&mut self, at: Duration, event: E) {
        self.count += 1;
        self.events.push(Scheduled { at, number: self.count, event });
    }

    /// The next event and its time.
    pub(super) fn next(&mut self) -> Option<(Duration, E)> {
        self.events.pop().map(|scheduled| (scheduled.at, scheduled.event))
    }
}

impl<E> Ord for Scheduled<E> {
    /// The earliest is the greatest: a heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at).then(other.number.cmp(&self.number))
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Scheduled<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_scheduled() {
        let mut timeline = Timeline::new();
        for (at, event) in [(2, 'c'), (1, 'a'), (1, 'b')] {
            timeline.schedule(Duration::from_secs(at), event);
        }
        let order: String = std::iter::from_fn(|| timeline.next()).map(|(_, event)| event).collect();
        assert_eq!(order, "abc");
    }
}
