//! Engines that did not answer, and those that have no tokenizer.

use std::{
    collections::HashMap,
    hash::Hash,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long an engine is not asked after it was silent: the others of its pool are.
const SILENT_BACKOFF: Duration = Duration::from_secs(5);
/// Time that an engine is not asked for tokens after it has said that it has no tokenizer, or for a model's that it has none of this model.
const MISSING_BACKOFF: Duration = Duration::from_secs(60);
/// Most engines that are remembered as silent, and most pairs of an engine and a model.
const MAX_ENGINES: usize = 256;
const MAX_MISSING: usize = 1024;

/// Engines that are not asked for a while, and until when.
#[derive(Debug, Default)]
pub(crate) struct SilentEngines {
    silent: HashMap<SocketAddr, Instant>,
    /// Those without any tokenizer.
    bare: HashMap<SocketAddr, Instant>,
    /// By the key of a model's name, which clients choose.
    missing: HashMap<(SocketAddr, u64), Instant>,
}

impl SilentEngines {
    /// Whether an engine is not to be asked for tokens of the model with this key.
    pub(crate) fn contains(&self, engine: SocketAddr, model: u64, now: Instant) -> bool {
        let is_until = |until: Option<&Instant>| until.is_some_and(|until| now < *until);
        [&self.silent, &self.bare].into_iter().any(|engines| is_until(engines.get(&engine)))
            || is_until(self.missing.get(&(engine, model)))
    }

    /// An engine did not answer.
    pub(super) fn add(&mut self, engine: SocketAddr, now: Instant) {
        remember(&mut self.silent, engine, MAX_ENGINES, now, SILENT_BACKOFF);
    }

    /// An engine has no tokenizer, whatever the model.
    pub(super) fn add_bare(&mut self, engine: SocketAddr, now: Instant) {
        remember(&mut self.bare, engine, MAX_ENGINES, now, MISSING_BACKOFF);
    }

    /// An engine has no tokenizer of this model, or none at all.
    pub(super) fn add_missing(&mut self, engine: SocketAddr, model: u64, now: Instant) {
        remember(&mut self.missing, (engine, model), MAX_MISSING, now, MISSING_BACKOFF);
    }
}

/// Remembers a key. Beyond `most` keys it takes the place of the one that ends first.
fn remember<K: Copy + Eq + Hash>(map: &mut HashMap<K, Instant>, key: K, most: usize, now: Instant, backoff: Duration) {
    map.retain(|_, until| now < *until);
    if map.len() >= most
        && !map.contains_key(&key)
        && let Some(first) = map.iter().min_by_key(|(_, until)| **until).map(|(first, _)| *first)
    {
        map.remove(&first);
    }
    map.insert(key, now + backoff);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_left_alone_for_a_while() {
        let (mut silent, now) = (SilentEngines::default(), Instant::now());
        let engine = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let at = |port: u16| now + Duration::from_micros(port.into());
        (0..1000).for_each(|port| silent.add(engine(port), at(port)));
        assert_eq!(silent.silent.len(), MAX_ENGINES);
        assert!(silent.contains(engine(999), 7, at(999)) && !silent.contains(engine(0), 7, at(999)), "the oldest makes room");
        let later = at(1000) + SILENT_BACKOFF;
        assert!(!silent.contains(engine(999), 7, later));
        silent.add(engine(1000), later);
        assert_eq!((silent.silent.len(), silent.contains(engine(1000), 7, later)), (1, true));
    }

    #[test]
    fn names_that_clients_invent_keep_no_other_from_being_remembered() {
        let (mut silent, now) = (SilentEngines::default(), Instant::now());
        let engine = SocketAddr::from(([127, 0, 0, 1], 1));
        let at = |model: u64| now + Duration::from_micros(model);
        (0..5000).for_each(|model| silent.add_missing(engine, model, at(model)));
        assert_eq!(silent.missing.len(), MAX_MISSING);
        assert!(silent.contains(engine, 4999, at(5000)) && !silent.contains(engine, 0, at(5000)));
        assert!(!silent.contains(engine, 4999, at(5000) + MISSING_BACKOFF));
    }

    #[test]
    fn an_engine_without_any_tokenizer_is_not_asked_for_any_model() {
        let (mut silent, now) = (SilentEngines::default(), Instant::now());
        let engine = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        silent.add_bare(engine(1), now);
        assert!(silent.contains(engine(1), 1, now) && silent.contains(engine(1), 2, now) && !silent.contains(engine(2), 1, now));
        assert!(!silent.contains(engine(1), 1, now + MISSING_BACKOFF));
    }
}
