//! Differences between two moments of a store.

use std::sync::Arc;

use pailou_api::{Object, ObjectKey};

use super::{Entry, Store};

/// An object that is not as it was.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Its key.
    pub(crate) key: Arc<ObjectKey>,
    /// The object before, if there was one.
    pub(crate) before: Option<Object>,
    /// The object now, if there is one.
    pub(crate) now: Option<Object>,
}

impl Store {
    /// Becomes what another store is, and says which objects are not what they were, in the order of keys. Objects that are equal stay
    /// the ones that they are. Takes a step for every change, and for every few dozen objects.
    pub(crate) fn follow(&mut self, other: &Store) -> Vec<Change> {
        let (mut changes, mut equal) = (Vec::new(), Vec::new());
        for (key, before, now) in self.entries.differences(&other.entries, |before, now| before.object.is(&now.object)) {
            let [before, now] = [before, now].map(|entry| entry.map(|entry| entry.object.clone()));
            match (before, now) {
                (Some(before), Some(now)) if before == now => equal.push((key.clone(), before)),
                (before, now) => changes.push(Change { key: key.clone(), before, now }),
            }
        }
        self.clone_from(other);
        for (key, object) in equal {
            if let Some(entry) = self.entries.get(&key) {
                let entry = Entry { object, ..entry.clone() };
                self.entries.insert(key, entry);
            }
        }
        changes
    }
}
