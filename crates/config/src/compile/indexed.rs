//! A store that is followed, indexed.

use crate::store::{Change, Store};

use super::index::{Index, Touched};

/// The objects of a store by what they are looked up by. It follows the store: what has not changed is not indexed again.
#[derive(Debug, Default)]
pub struct Indexed {
    pub(crate) store: Store,
    pub(crate) index: Index,
}

impl Indexed {
    /// The objects of a store.
    pub fn new(store: &Store) -> Self {
        let mut indexed = Self::default();
        indexed.update(store);
        indexed
    }

    /// Takes in what has changed.
    pub fn update(&mut self, store: &Store) {
        self.follow(store);
    }

    /// Takes in what has changed, and gives it, with the marks of it.
    pub(crate) fn follow(&mut self, store: &Store) -> (Vec<Change>, Touched) {
        let changes = self.store.follow(store);
        let touched = self.index.apply(&changes);
        (changes, touched)
    }
}
