//! One watch: everything of a scope, and then every change of it.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use kube::{
    Api,
    runtime::watcher::{self, Event},
};
use tokio::{sync::mpsc, time};

use super::{
    change::{Change, Run},
    decoded::{Decoded, Reader},
    raw::RawObject,
};
use crate::{
    backoff::Backoff,
    list_watch::{ListChange, ListReducer, list_watch},
    metrics::Metrics,
};

/// How long one request for changes lasts, in seconds. A connection that died without a word is noticed five seconds later.
const REQUEST: u32 = 120;
/// The delays between attempts while the API server does not answer.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LAST_DELAY: Duration = Duration::from_secs(30);

/// A watch of one scope.
pub(crate) struct Watch {
    pub(crate) run: Run,
    pub(crate) api: Api<RawObject>,
    pub(crate) reader: Arc<Reader>,
    /// Labels that the API server selects by; all objects where there are none.
    pub(crate) labels: Option<String>,
    /// Fields that the API server selects by.
    pub(crate) fields: Option<&'static str>,
    /// The objects of those to keep.
    pub(crate) label_filter: LabelFilter,
    pub(crate) changes: mpsc::Sender<Change>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Filter of objects by their labels.
pub(crate) type LabelFilter = Arc<dyn Fn(&RawObject) -> bool + Send + Sync>;

impl Watch {
    /// Follows the scope until the collector ends. The objects stay while the API server is away.
    pub(crate) async fn follow(self) {
        let mut backoff = Backoff::new(FIRST_DELAY, LAST_DELAY);
        let mut is_failing = false;
        let mut events = std::pin::pin!(list_watch(self.api.clone(), self.config()));
        let mut reducer = ListReducer::default();
        while let Some(event) = events.next().await {
            let change = match event {
                Ok(event) => {
                    // A list that begins does not show yet that the API server answers.
                    if is_failing && !matches!(event, Event::Init) {
                        is_failing = false;
                        backoff.reset();
                        tracing::info!("watching {} again", self.run.scope);
                    }
                    self.change(event, &mut reducer)
                }
                Err(error) => {
                    self.report(&error, !is_failing);
                    is_failing = true;
                    time::sleep(backoff.failed()).await;
                    None
                }
            };
            if let Some(change) = change
                && self.changes.send(change).await.is_err()
            {
                return;
            }
        }
    }

    fn config(&self) -> watcher::Config {
        let mut config = watcher::Config::default().timeout(REQUEST);
        config.label_selector = self.labels.clone();
        config.field_selector = self.fields.map(str::to_owned);
        config
    }

    fn change(&self, event: Event<RawObject>, reducer: &mut ListReducer<Decoded>) -> Option<Change> {
        let run = self.run.clone();
        let decode = |object| (self.label_filter)(&object).then(|| self.reader.raw(object).read());
        Some(match reducer.reduce(event, decode)? {
            ListChange::Replace(objects) => Change::Replace(run, objects),
            ListChange::Upsert(object) if (self.label_filter)(&object) => Change::Upsert(run, Box::new(self.reader.raw(object))),
            ListChange::Upsert(object) | ListChange::Delete(object) => Change::Delete(run, self.reader.key(&object)),
        })
    }

    fn report(&self, error: &watcher::Error, is_first: bool) {
        self.metrics.watch_failed(self.run.scope.kind);
        let scope = &self.run.scope;
        match error {
            watcher::Error::WatchError(status) if status.code == 410 => tracing::debug!("listing {scope} anew: {error}"),
            _ if is_first => tracing::warn!("cannot watch {scope}, retrying: {}", reason(error)),
            _ => tracing::debug!("still cannot watch {scope}: {}", reason(error)),
        }
    }
}

/// The error in one line, without the debug form of the answer.
pub(crate) fn reason(error: &watcher::Error) -> String {
    use std::error::Error;
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            format!("{} ({})", status.message.trim(), status.code)
        }
        watcher::Error::WatchError(status) => format!("{} ({})", status.message.trim(), status.code),
        other => {
            let mut text = other.to_string();
            let mut source = other.source().and_then(Error::source);
            while let Some(error) = source {
                text = format!("{text}: {error}");
                source = error.source();
            }
            text
        }
    }
}
