//! Engines that did not answer.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long an engine is not asked after it was silent: the others of its pool are.
const SILENT_BACKOFF: Duration = Duration::from_secs(5);
/// Most engines that are remembered.
const MAX_ENGINES: usize = 256;

/// Engines that are not asked for a while, and until when.
#[derive(Debug, Default)]
pub(crate) struct SilentEngines(HashMap<SocketAddr, Instant>);

impl SilentEngines {
    /// Whether an engine is not to be asked.
    pub(crate) fn contains(&self, engine: SocketAddr, now: Instant) -> bool {
        self.0.get(&engine).is_some_and(|until| now < *until)
    }

    /// An engine did not answer.
    pub(super) fn add(&mut self, engine: SocketAddr, now: Instant) {
        self.0.retain(|_, until| now < *until);
        if self.0.len() < MAX_ENGINES {
            self.0.insert(engine, now + SILENT_BACKOFF);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_left_alone_for_a_while() {
        let (mut silent, now) = (SilentEngines::default(), Instant::now());
        let engine = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        (0..1000).for_each(|port| silent.add(engine(port), now));
        assert_eq!(silent.0.len(), MAX_ENGINES);
        assert!(silent.contains(engine(0), now) && !silent.contains(engine(1000), now));
        let later = now + SILENT_BACKOFF;
        assert!(!silent.contains(engine(0), later));
        silent.add(engine(1000), later);
        assert_eq!((silent.0.len(), silent.contains(engine(1000), later)), (1, true));
    }
}
