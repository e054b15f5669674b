//! Counters, as people see them.

use std::{collections::BinaryHeap, fmt, sync::Arc};

use crate::{Counters, Descriptor};

/// A counter, for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterView {
    /// The rule's name.
    pub rule: Arc<str>,
    /// Values that tell its counters apart.
    pub client: String,
    /// Cost that a window has room for.
    pub limit: u64,
    /// Length of the window, seconds.
    pub seconds: u64,
    /// Cost charged in the window.
    pub spent: u64,
    /// Room held for responses under way.
    pub reserved: u64,
    /// Seconds to the end of the window.
    pub reset: u64,
    /// The rule refuses nothing.
    pub is_shadow: bool,
}

/// Counters that somebody wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterQuery {
    /// Text in the rule's name.
    pub rule: Option<String>,
    /// Text in the client's values.
    pub client: Option<String>,
    /// The first so many, by rule and client. No more are copied.
    pub first: usize,
}

impl Default for CounterQuery {
    /// All counters.
    fn default() -> Self {
        Self { rule: None, client: None, first: usize::MAX }
    }
}

impl Counters {
    /// Counters of windows that are not over, by rule and client.
    pub fn views(&self, now: u64, query: &CounterQuery) -> Vec<CounterView> {
        let has = |text: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| text.contains(wanted));
        // The largest is on top, and goes where a smaller one comes.
        let mut views = BinaryHeap::new();
        for shard in &self.shards {
            for rule in shard.lock().values().filter(|rule| has(&rule.name, &query.rule)) {
                for (bytes, counter) in rule.counters.iter().filter(|(_, counter)| counter.begin + counter.seconds > now) {
                    let client = Shown(bytes).to_string();
                    if !has(&client, &query.client) {
                        continue;
                    }
                    views.push(CounterView {
                        rule: rule.name.clone(),
                        client,
                        limit: counter.limit,
                        seconds: counter.seconds,
                        spent: counter.spent,
                        reserved: counter.held,
                        reset: counter.rate(now).reset,
                        is_shadow: rule.is_shadow,
                    });
                    if views.len() > query.first {
                        views.pop();
                    }
                }
            }
        }
        views.into_sorted_vec()
    }
}

/// Values of a counter, as people see them.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Descriptor::show(self.0, f)
    }
}
