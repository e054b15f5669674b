//! A scrape whose page comes from a simulator, not from a socket.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::record;
use crate::{endpoint::PoolEndpoint, load::Level, metrics::Parser, state::Shared};

/// Problem of an endpoint that gives no page.
const NO_PAGE: &str = "no answer";

/// A scrape under way, which [`crate::PoolState::begin_scrape`] began.
pub struct PendingScrape {
    endpoint: Arc<PoolEndpoint>,
    shared: Arc<Shared>,
    before: Level,
}

impl PendingScrape {
    pub(crate) fn begin(endpoint: &Arc<PoolEndpoint>, shared: &Arc<Shared>) -> Self {
        let before = endpoint.record.in_flight.level();
        Self { endpoint: Arc::clone(endpoint), shared: Arc::clone(shared), before }
    }

    /// Ends it with a page in the Prometheus text format; `None` is an engine that does not answer. Takes the pause before this scrape,
    /// and returns the one before the next, which the scraper varies by a tenth either way.
    pub fn end(self, page: Option<&[u8]>, last_interval: Duration, now: Instant) -> Duration {
        let runtime = self.shared.members.load().pool.runtime;
        let figures = page.map(|page| {
            let mut parser = Parser::new(runtime);
            parser.feed(page);
            parser.finish()
        });
        record(&self.endpoint, &self.shared, self.before, figures.ok_or(NO_PAGE), last_interval, now).interval
    }
}

impl std::fmt::Debug for PendingScrape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingScrape").field("endpoint", &self.endpoint.endpoint).finish_non_exhaustive()
    }
}
