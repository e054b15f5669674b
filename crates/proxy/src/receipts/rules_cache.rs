//! Rules of the requests that a worker's last receipts are of: most requests meet the same ones, and matching is not done again for each.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
};

use http::Method;
use pailou_snapshot::{ListenerName, Rule, Snapshot};

use super::rules::{model_of, notes_of, rules_of};
use crate::{request_record::RequestRecord, stored_receipt::RequestRules};

/// Most kinds of requests that a worker knows the rules of.
const MAX_ENTRIES: usize = 16;
/// Longest texts of a request whose rules are kept, in bytes.
const MAX_TEXTS: usize = 1024;

thread_local! {
    static CACHE: RefCell<RulesCache> = const { RefCell::new(RulesCache { snapshot: Weak::new(), entries: Vec::new(), next: 0 }) };
}

/// Rules by all of a request that they depend on.
struct RulesCache {
    /// The configuration that they are of. No other one can have its address as long as this is here.
    snapshot: Weak<Snapshot>,
    entries: Vec<Entry>,
    /// The entry that makes room for the next.
    next: usize,
}

struct Entry {
    /// Identity of the rule that took it. Requests of another configuration's rules come after that configuration.
    rule: Option<*const Rule>,
    path: Box<str>,
    host: Box<str>,
    model: Option<Box<str>>,
    method: Method,
    listener: Option<ListenerName>,
    rules: Arc<RequestRules>,
}

/// The rules of a request that has ended, and whether nobody else has them.
pub(super) fn of_record(record: &mut RequestRecord, snapshot: Option<&Arc<Snapshot>>) -> (Arc<RequestRules>, bool) {
    if let Some(noted) = record.trail.more.as_mut().and_then(|more| more.rules.take()) {
        return (Arc::new(rules_of(record, noted)), true);
    }
    let make = || Arc::new(rules_of(record, notes_of(record, snapshot.map(|it| &**it))));
    let texts = record.path.len() + record.host.len() + model_of(record).map_or(0, str::len);
    match snapshot {
        Some(snapshot) if texts <= MAX_TEXTS => CACHE.with_borrow_mut(|cache| cache.find(record, snapshot, make)),
        _ => (make(), true),
    }
}

impl RulesCache {
    fn find(
        &mut self,
        record: &RequestRecord,
        snapshot: &Arc<Snapshot>,
        make: impl FnOnce() -> Arc<RequestRules>,
    ) -> (Arc<RequestRules>, bool) {
        if !std::ptr::eq(self.snapshot.as_ptr(), Arc::as_ptr(snapshot)) {
            *self = Self { snapshot: Arc::downgrade(snapshot), entries: Vec::new(), next: 0 };
        }
        if let Some(known) = self.entries.iter().find(|entry| entry.is_of(record)) {
            return (Arc::clone(&known.rules), false);
        }
        let rules = make();
        let entry = Entry::new(record, Arc::clone(&rules));
        match self.entries.get_mut(self.next) {
            Some(oldest) => *oldest = entry,
            None => self.entries.push(entry),
        }
        self.next = (self.next + 1) % MAX_ENTRIES;
        (rules, true)
    }
}

impl Entry {
    fn new(record: &RequestRecord, rules: Arc<RequestRules>) -> Self {
        Self {
            rule: record.rule.as_ref().map(Arc::as_ptr),
            path: record.path.clone(),
            host: record.host.clone(),
            model: model_of(record).map(Into::into),
            method: record.method.clone(),
            listener: record.listener.clone(),
            rules,
        }
    }

    fn is_of(&self, record: &RequestRecord) -> bool {
        self.rule == record.rule.as_ref().map(Arc::as_ptr)
            && self.path == record.path
            && self.model.as_deref() == model_of(record)
            && self.host == record.host
            && self.method == record.method
            && self.listener == record.listener
    }
}
