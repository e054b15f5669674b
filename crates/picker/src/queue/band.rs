//! Requests of one priority: deficit round robin among flows, first come, first served within one.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
};

use super::bands::Key;

/// Flows that are told apart. Further ones share flows with each other, by a hash of their names.
pub(super) const MAX_FLOWS: usize = 256;
/// Flows that those share.
pub(super) const SHARED_FLOWS: u64 = 64;
/// Flow of requests that name none.
pub(super) const DEFAULT_FLOW: &str = "default-flow";
/// Tokens that each flow may send in a round.
pub(super) const QUANTUM: u64 = 512;

/// Requests of one priority.
#[derive(Debug, Default)]
pub(super) struct Band {
    /// In the order of their turns; each has a request.
    flows: Vec<Flow>,
    pub(super) requests: u32,
    /// Those of them that may not use every endpoint.
    pub(super) restricted: u32,
    pub(super) bytes: u64,
}

/// Requests of one fairness id.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) name: Box<str>,
    number: u64,
    /// Tokens that it may send before others get their turn.
    deficit: u64,
    keys: BTreeSet<Key>,
    /// Round in which it was passed over; 0 is none.
    passed_over: u64,
}

impl Band {
    /// Adds a request to the flow of this name; gives the flow's number. `new_number` is its number if it is a new one.
    pub(super) fn push(&mut self, name: &str, key: Key, new_number: u64) -> u64 {
        let known = |name: &str| self.flows.iter().position(|flow| *flow.name == *name);
        let mut name = Cow::from(name);
        let mut place = known(&name);
        if place.is_none() && self.flows.len() >= MAX_FLOWS {
            name = shared_flow(&name).into();
            place = known(&name);
        }
        let place = place.unwrap_or_else(|| {
            self.flows.push(Flow {
                name: name.into_owned().into(),
                number: new_number,
                deficit: 0,
                keys: BTreeSet::new(),
                passed_over: 0,
            });
            self.flows.len() - 1
        });
        let flow = &mut self.flows[place];
        flow.keys.insert(key);
        flow.number
    }

    /// The first request of the flow whose turn it is, of those not passed over in this round of looking for one.
    ///
    /// Each gets a quantum as often as the one that lacks least needs it, if none may send its first request.
    pub(super) fn next(&mut self, tokens: impl Fn(Key) -> u64, round: u64) -> Option<Key> {
        let lack = |flow: &Flow| {
            let first = *flow.keys.first()?;
            (flow.passed_over != round).then(|| (tokens(first).saturating_sub(flow.deficit), first))
        };
        let (least, _) = self.flows.iter().filter_map(lack).min()?;
        if least > 0 {
            let quanta = least.div_ceil(QUANTUM) * QUANTUM;
            self.flows.iter_mut().filter(|flow| flow.passed_over != round).for_each(|flow| flow.deficit += quanta);
        }
        self.flows.iter().filter_map(lack).find(|(lack, _)| *lack == 0).map(|(_, first)| first)
    }

    /// Leaves out a flow for the rest of a round.
    pub(super) fn pass_over(&mut self, flow: u64, round: u64) {
        self.flows.iter_mut().filter(|it| it.number == flow).for_each(|flow| flow.passed_over = round);
    }

    /// Takes out a request that was sent, and charges its flow. The turn goes to the next flow where this one may not send another.
    pub(super) fn dispatch(&mut self, flow: u64, key: Key, tokens: impl Fn(Key) -> u64) {
        let Some(place) = self.flows.iter().position(|it| it.number == flow) else { return };
        let sent = &mut self.flows[place];
        sent.keys.remove(&key);
        sent.deficit = sent.deficit.saturating_sub(tokens(key));
        match sent.keys.first() {
            None => {
                self.flows.remove(place);
                if place < self.flows.len() {
                    self.flows.rotate_left(place);
                }
            }
            Some(next) if tokens(*next) > sent.deficit => self.flows.rotate_left(place + 1),
            Some(_) => {}
        }
    }

    /// Takes out a request that waits no more. What its flow has saved up for it is lost, lest it goes to others.
    pub(super) fn leave(&mut self, flow: u64, key: Key) {
        let Some(place) = self.flows.iter().position(|it| it.number == flow) else { return };
        let left = &mut self.flows[place];
        let was_first = left.keys.first() == Some(&key);
        left.keys.remove(&key);
        if was_first {
            left.deficit = left.deficit.min(QUANTUM);
            // It was passed over because of this one: the next may find room.
            left.passed_over = 0;
        }
        if left.keys.is_empty() {
            self.flows.remove(place);
        }
    }

    /// The flows with the most requests, at most so many.
    pub(super) fn deepest(&self, most: usize) -> Vec<&Flow> {
        let mut flows: Vec<_> = self.flows.iter().collect();
        flows.sort_by(|one, other| other.keys.len().cmp(&one.keys.len()).then_with(|| one.name.cmp(&other.name)));
        flows.truncate(most);
        flows
    }

    /// The first request of each flow.
    pub(super) fn heads(&self) -> impl ExactSizeIterator<Item = Option<Key>> {
        self.flows.iter().map(|flow| flow.keys.first().copied())
    }
}

impl Flow {
    /// Number of its requests.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Its first request.
    pub(super) fn head(&self) -> Option<Key> {
        self.keys.first().copied()
    }
}

/// Name of the flow that one shares which is not told apart. No header has its first character.
pub(super) fn shared_flow(name: &str) -> String {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
    format!("\0{}", hash % SHARED_FLOWS)
}
