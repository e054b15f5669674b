//! What tells two moments of a store apart.

use std::{cmp::Ordering, sync::Arc};

use crate::resources::{Object, ObjectKey};

use super::Store;

/// An object that is not as it was.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Its key.
    pub(crate) key: Arc<ObjectKey>,
    /// What it was, if it was there.
    pub(crate) before: Option<Object>,
    /// What it is, if it is there.
    pub(crate) now: Option<Object>,
}

impl Store {
    /// Becomes what another store is, and says which objects are not what they were, in the order of keys. Takes a step for every
    /// object, and compares those alone that are not the very same ones.
    pub(crate) fn follow(&mut self, other: &Store) -> Vec<Change> {
        let changes = self.differences(other);
        for Change { key, now, .. } in &changes {
            match now.as_ref().and_then(|_| other.entries.get(key)) {
                Some(entry) => drop(self.entries.insert(key.clone(), entry.clone())),
                None => drop(self.entries.remove(key)),
            }
        }
        changes
    }

    fn differences(&self, other: &Store) -> Vec<Change> {
        let mut changes = Vec::new();
        let (mut mine, mut others) = (self.entries.iter().peekable(), other.entries.iter().peekable());
        loop {
            let order = match (mine.peek(), others.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((mine, _)), Some((other, _))) if Arc::ptr_eq(mine, other) => Ordering::Equal,
                (Some((mine, _)), Some((other, _))) => mine.cmp(other),
            };
            let gone = if order.is_le() { mine.next() } else { None };
            let come = if order.is_ge() { others.next() } else { None };
            let Some((key, _)) = come.or(gone) else { continue };
            let (before, now) = (gone.map(|(_, entry)| &entry.object), come.map(|(_, entry)| &entry.object));
            if !is_same(before, now) {
                changes.push(Change { key: key.clone(), before: before.cloned(), now: now.cloned() });
            }
        }
    }
}

fn is_same(before: Option<&Object>, now: Option<&Object>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.is(now) || before == now,
        _ => false,
    }
}
