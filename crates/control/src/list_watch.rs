//! Lists and watches of the API server, for every kind that the controller follows.

use std::fmt::Debug;

use futures_util::{Stream, StreamExt, stream};
use kube::{
    Api,
    runtime::watcher::{self, Config, Event, watcher},
};
use serde::de::DeserializeOwned;

/// Change of the objects that a watch covers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListChange<T, K> {
    /// The objects are these and no others.
    Replace(Vec<T>),
    /// An object was created or changed.
    Upsert(K),
    /// An object was deleted.
    Delete(K),
}

/// Turns events into changes: it keeps a list until that is whole. `T` is an object as the list keeps it.
#[derive(Debug)]
pub(crate) struct ListReducer<T>(Vec<T>);

impl<T> Default for ListReducer<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ListReducer<T> {
    /// Takes an event in. `keep` makes an object of a list what the list keeps; `None` leaves the object out.
    pub(crate) fn reduce<K>(&mut self, event: Event<K>, keep: impl FnOnce(K) -> Option<T>) -> Option<ListChange<T, K>> {
        match event {
            Event::Init => {
                self.0.clear();
                None
            }
            Event::InitApply(object) => {
                self.0.extend(keep(object));
                None
            }
            Event::InitDone => Some(ListChange::Replace(std::mem::take(&mut self.0))),
            Event::Apply(object) => Some(ListChange::Upsert(object)),
            Event::Delete(object) => Some(ListChange::Delete(object)),
        }
    }
}

/// Lists objects and watches them from then on, without end. The caller waits after errors.
pub(crate) fn list_watch<K>(api: Api<K>, config: Config) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let start = move || watcher(api.clone(), config.clone()).boxed();
    stream::unfold((start(), start), |(mut events, start)| async move {
        let event = events.next().await?;
        if matches!(&event, Err(error) if is_expired(error)) {
            events = start();
        }
        Some((event, (events, start)))
    })
}

/// Whether the API server has forgotten the version that the watch would go on from. The watcher lists anew by itself if a stream
/// ends with this error, but not if the API server refuses the request.
fn is_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_counts_once_it_is_whole_and_a_list_that_begins_anew_drops_the_former() {
        let mut reducer = ListReducer::default();
        let mut reduce = |event: Event<u8>| reducer.reduce(event, |number| (number != 9).then_some(number));
        assert_eq!(reduce(Event::Init), None);
        assert_eq!(reduce(Event::InitApply(1)), None);
        assert_eq!(reduce(Event::Init), None);
        assert_eq!(reduce(Event::InitApply(2)), None);
        assert_eq!(reduce(Event::InitApply(9)), None);
        assert_eq!(reduce(Event::InitDone), Some(ListChange::Replace(vec![2])));
        assert_eq!(reduce(Event::Apply(9)), Some(ListChange::Upsert(9)));
        assert_eq!(reduce(Event::Delete(2)), Some(ListChange::Delete(2)));
    }
}
