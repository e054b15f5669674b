//! A store that is followed, indexed.

use std::sync::Arc;

use crate::store::{Change, Store};
use pailou_api::{Object, ObjectKey};

use super::index::{Objects, Touched};

/// The objects of a store by what they are looked up by. It follows the store: what has not changed is not indexed again.
#[derive(Debug, Default)]
pub struct Indexed {
    pub(crate) store: Store,
    pub(crate) objects: Objects,
}

impl Indexed {
    /// The objects of a store.
    pub fn new(store: &Store) -> Self {
        let mut indexed = Self::default();
        indexed.update(store);
        indexed
    }

    /// Takes in what has changed. Gives the keys of the objects that came, went or are other ones than before, and whether Gateways may
    /// now [reach](crate::reach) others than before.
    pub fn update(&mut self, store: &Store) -> (Vec<Arc<ObjectKey>>, bool) {
        let (changes, _) = self.follow(store);
        let is_reach_same = changes.iter().all(|change| match (&change.before, &change.now) {
            (Some(before), Some(now)) => refers_alike(before, now),
            _ => false,
        });
        (changes.into_iter().map(|change| change.key).collect(), is_reach_same)
    }

    /// Takes over another store, and returns the changes, for the index.
    pub(crate) fn differences(&mut self, store: &Store) -> Vec<Change> {
        self.store.follow(store)
    }

    /// Takes in what has changed, and gives it, with the marks of it.
    pub(crate) fn follow(&mut self, store: &Store) -> (Vec<Change>, Touched) {
        let changes = self.store.follow(store);
        let touched = self.objects.apply(&changes);
        (changes, touched)
    }
}

/// Whether two states of one object are referred to by the same ones, and refer to the same ones: of kinds of which that is easily seen.
pub(crate) fn refers_alike(before: &Object, now: &Object) -> bool {
    match (before, now) {
        // They are chosen by their labels.
        (Object::EndpointSlice(_), Object::EndpointSlice(_)) | (Object::Pod(_), Object::Pod(_)) => {
            before.meta().labels == now.meta().labels
        }
        // They are referred to by their names, and refer to nothing.
        (Object::Secret(_), Object::Secret(_)) => true,
        _ => false,
    }
}
