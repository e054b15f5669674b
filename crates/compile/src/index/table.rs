//! Objects of one kind.

use std::sync::Arc;

use hashbrown::HashTable;

use pailou_api::Resource;

use super::reads::{Mark, Reads, Recorder, mark};

/// Objects of one kind: by name, and the oldest first.
#[derive(Debug)]
pub(crate) struct Table<T> {
    table: u8,
    by_name: HashTable<Arc<T>>,
    by_age: Vec<Arc<T>>,
    is_order_deferred: bool,
}

impl<S> Table<Resource<S>> {
    pub(super) fn new(table: u8) -> Self {
        Self { table, by_name: HashTable::new(), by_age: Vec::new(), is_order_deferred: false }
    }

    /// Puts an object in that is not there.
    pub(super) fn insert(&mut self, object: Arc<Resource<S>>) -> (u8, Mark) {
        let table = self.table;
        let mark = mark_of(table, &object);
        if !self.is_order_deferred {
            let place = self.by_age.partition_point(|it| it.meta.age_order() < object.meta.age_order());
            self.by_age.insert(place, object.clone());
        }
        self.by_name.insert_unique(mark, object, |it| mark_of(table, it));
        (table, mark)
    }

    /// Takes an object out that is there.
    pub(super) fn remove(&mut self, object: &Resource<S>) -> (u8, Mark) {
        let mark = mark_of(self.table, object);
        if let Ok(entry) = self.by_name.find_entry(mark, |it| is_named(it, &object.meta.namespace, &object.meta.name)) {
            entry.remove();
        }
        if !self.is_order_deferred {
            let place = self.by_age.partition_point(|it| it.meta.age_order() < object.meta.age_order());
            self.by_age.remove(place);
        }
        (self.table, mark)
    }

    /// Stops or resumes the order by age; resuming sorts once.
    pub(super) fn defer_order(&mut self, is_deferred: bool) {
        if std::mem::replace(&mut self.is_order_deferred, is_deferred) && !is_deferred {
            self.by_age = self.by_name.iter().cloned().collect();
            self.by_age.sort_unstable_by(|a, b| a.meta.age_order().cmp(&b.meta.age_order()));
        }
    }

    pub(super) fn tracked(&self) -> TrackedTable<'_, Resource<S>> {
        TrackedTable { table: self, recorder: Recorder::default() }
    }
}

/// A table that records every lookup.
#[derive(Debug)]
pub(crate) struct TrackedTable<'a, T> {
    table: &'a Table<T>,
    recorder: Recorder,
}

impl<'a, S> TrackedTable<'a, Resource<S>> {
    /// The object of this name.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&'a Resource<S>> {
        self.shared(namespace, name).map(|object| &**object)
    }

    /// The object of this name, to be kept.
    pub(crate) fn shared(&self, namespace: &str, name: &str) -> Option<&'a Arc<Resource<S>>> {
        let mark = mark(self.table.table, namespace, name);
        self.recorder.name(mark);
        self.table.by_name.find(mark, |it| is_named(it, namespace, name))
    }

    /// All objects, the oldest first, then by `namespace/name`.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &'a Resource<S>> + use<'a, S> {
        self.recorder.whole();
        self.table.by_age.iter().map(|object| &**object)
    }

    pub(super) fn finish(self, reads: &mut Reads) {
        self.recorder.finish(self.table.table, reads);
    }
}

fn mark_of<S>(table: u8, object: &Resource<S>) -> Mark {
    mark(table, &object.meta.namespace, &object.meta.name)
}

fn is_named<S>(object: &Resource<S>, namespace: &str, name: &str) -> bool {
    object.meta.name == name && object.meta.namespace == namespace
}
