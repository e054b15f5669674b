//! Objects that are looked up many at once.

use std::sync::Arc;

use hashbrown::HashTable;

use pailou_api::Resource;

use super::reads::{Mark, Reads, Recorder, mark};

/// Objects of one kind by two names, those of each group in the order of their own.
#[derive(Debug)]
pub(crate) struct Groups<T> {
    table: u8,
    groups: HashTable<Group<T>>,
}

#[derive(Debug)]
struct Group<T> {
    names: (Box<str>, Box<str>),
    list: Vec<Arc<T>>,
}

impl<S> Groups<Resource<S>> {
    pub(super) fn new(table: u8) -> Self {
        Self { table, groups: HashTable::new() }
    }

    /// Puts an object in that is not there.
    pub(super) fn insert(&mut self, first: &str, second: &str, object: Arc<Resource<S>>) -> (u8, Mark) {
        let table = self.table;
        let mark = mark(table, first, second);
        let group = self.groups.entry(mark, |it| is_of(it, first, second), |it| mark_of(table, it));
        let group = group.or_insert_with(|| Group { names: (first.into(), second.into()), list: Vec::new() }).into_mut();
        let place = group.list.partition_point(|it| it.meta.name < object.meta.name);
        group.list.insert(place, object);
        (table, mark)
    }

    /// Takes an object out that is there.
    pub(super) fn remove(&mut self, first: &str, second: &str, name: &str) -> (u8, Mark) {
        let mark = mark(self.table, first, second);
        if let Ok(mut entry) = self.groups.find_entry(mark, |it| is_of(it, first, second)) {
            let list = &mut entry.get_mut().list;
            list.retain(|it| it.meta.name != name);
            if list.is_empty() {
                entry.remove();
            }
        }
        (self.table, mark)
    }

    pub(super) fn tracked(&self) -> TrackedGroups<'_, Resource<S>> {
        TrackedGroups { groups: self, recorder: Recorder::default() }
    }
}

/// Groups that record every lookup.
#[derive(Debug)]
pub(crate) struct TrackedGroups<'a, T> {
    groups: &'a Groups<T>,
    recorder: Recorder,
}

impl<'a, S> TrackedGroups<'a, Resource<S>> {
    /// The objects of a group, if there are any.
    pub(crate) fn get(&self, first: &str, second: &str) -> Option<&'a [Arc<Resource<S>>]> {
        let mark = mark(self.groups.table, first, second);
        self.recorder.name(mark);
        self.groups.groups.find(mark, |it| is_of(it, first, second)).map(|group| group.list.as_slice())
    }

    pub(super) fn finish(self, reads: &mut Reads) {
        self.recorder.finish(self.groups.table, reads);
    }
}

fn mark_of<T>(table: u8, group: &Group<T>) -> Mark {
    mark(table, &group.names.0, &group.names.1)
}

fn is_of<T>(group: &Group<T>, first: &str, second: &str) -> bool {
    *group.names.0 == *first && *group.names.1 == *second
}
