//! Lookups and changes, to decide whether a change concerns a lookup.

use std::{cell::RefCell, hash::BuildHasher};

use foldhash::{HashSet, fast::FixedState};

/// Stands for a name in one table, present or not. Two may collide by chance: then the compiler does more than it need.
pub(crate) type Mark = u64;

/// Tables, a bit each.
type Tables = u64;

/// The mark of a name in a table.
pub(super) fn mark(table: u8, namespace: &str, name: &str) -> Mark {
    FixedState::with_seed(u64::from(table)).hash_one((namespace, name))
}

/// Lookups of objects, found or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    marks: Vec<Mark>,
    /// Tables that a name was looked up in.
    named: Tables,
    /// Tables that were gone through.
    whole: Tables,
}

impl Reads {
    /// Whether any of it has changed.
    pub(crate) fn are_touched(&self, touched: &Touched) -> bool {
        self.whole & touched.tables != 0
            || self.named & touched.tables != 0 && self.marks.iter().any(|mark| touched.marks.contains(mark))
    }

    /// The tables that anything was looked up in, a bit each.
    pub(crate) fn tables(&self) -> u64 {
        self.named | self.whole
    }

    pub(super) fn finish(mut self) -> Self {
        self.marks.sort_unstable();
        self.marks.dedup();
        self.marks.shrink_to_fit();
        self
    }
}

/// Changed names and tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    marks: HashSet<Mark>,
    tables: Tables,
}

impl Touched {
    pub(super) fn add(&mut self, (table, mark): (u8, Mark)) {
        self.tables |= 1 << table;
        self.marks.insert(mark);
    }

    /// The tables, a bit each.
    pub(crate) fn tables(&self) -> u64 {
        self.tables
    }
}

/// Lookups in one table.
#[derive(Debug, Default)]
pub(super) struct Recorder(RefCell<(Vec<Mark>, bool)>);

impl Recorder {
    pub(super) fn name(&self, mark: Mark) {
        self.0.borrow_mut().0.push(mark);
    }

    pub(super) fn whole(&self) {
        self.0.borrow_mut().1 = true;
    }

    pub(super) fn finish(self, table: u8, reads: &mut Reads) {
        let (mut marks, is_whole) = self.0.into_inner();
        if !marks.is_empty() {
            reads.marks.append(&mut marks);
            reads.named |= 1 << table;
        }
        if is_whole {
            reads.whole |= 1 << table;
        }
    }
}
