//! The objects of all sources by key.

mod changes;

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use crate::by_key::ByKey;
use pailou_api::parse::{Decoded, UnknownField};
use pailou_api::undecodable::Undecodable;
use pailou_api::{Kind, Object, ObjectKey, Typed};

pub(crate) use changes::Change;

/// The most objects that a store holds.
pub const MAX_OBJECTS: usize = 1_000_000;

/// The most objects that could not be decoded and that a store remembers.
pub const MAX_UNDECODABLE: usize = 10_000;

/// Message of a source.
#[derive(Debug, Clone)]
pub enum Event {
    /// An object is there, or has changed.
    Upsert(Box<Entry>),
    /// An object is gone.
    Delete(ObjectKey),
    /// The first list of objects is complete.
    Synced,
}

/// An object of a store and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The object.
    pub object: Object,
    /// Its fields that the kind does not have.
    pub ignored: Vec<UnknownField>,
    /// The source: a file's path, or the API server's address.
    pub origin: Arc<str>,
    /// The line in the file, from 1; 0 where there is no file.
    pub line: usize,
}

impl Entry {
    /// An entry from a parsed document.
    pub fn new(decoded: Decoded, origin: Arc<str>) -> Entry {
        Entry { object: decoded.object, ignored: decoded.ignored, origin, line: decoded.line }
    }

    /// The policy that closes the targets of one that guards and did not decode; `None` for other objects.
    pub fn closing_policy(undecodable: &Undecodable, origin: Arc<str>) -> Option<Entry> {
        let object = undecodable.closing_policy()?;
        Some(Entry { object, ignored: Vec::new(), origin, line: 0 })
    }

    /// The line in the file, from 1, if there is a file.
    pub fn line(&self) -> Option<usize> {
        Some(self.line).filter(|line| *line > 0)
    }
}

/// Objects by key, in the order of keys. Cloning shares the objects.
#[derive(Debug, Clone, Default)]
pub struct Store {
    entries: ByKey<Entry>,
    undecodable: BTreeMap<ObjectKey, Undecodable>,
}

/// Why an object was not taken into a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another place has an object of the same key; that one stays.
    #[error("{key} is defined twice, at {first} and at {second}: the first one is used; remove or rename the other")]
    Duplicate {
        /// The key.
        key: Box<ObjectKey>,
        /// Place of the object that stays.
        first: String,
        /// Place of the refused object.
        second: String,
    },
    /// There are too many objects.
    #[error("{key} does not fit: {MAX_OBJECTS} objects are there already")]
    Full {
        /// The key of the object that was not taken.
        key: Box<ObjectKey>,
    },
}

impl Store {
    /// A store with nothing in it.
    pub fn new() -> Store {
        Store::default()
    }

    /// Puts an object in, in the place of its former self if there is one, and of what could not be read of it. Gives back whether
    /// anything changed.
    ///
    /// # Errors
    /// The store is full.
    pub fn upsert(&mut self, entry: Entry) -> Result<bool, StoreError> {
        let key = entry.object.key();
        if self.entries.len() >= MAX_OBJECTS && !self.entries.contains_key(&key) {
            return Err(StoreError::Full { key: Box::new(key) });
        }
        let was_undecodable = self.undecodable.remove(&key).is_some();
        if self.entries.get(&key) == Some(&entry) {
            return Ok(was_undecodable);
        }
        self.entries.insert(Arc::new(key), entry);
        Ok(true)
    }

    /// Puts an object in that must not be there yet, as when files are read that may repeat each other.
    ///
    /// # Errors
    /// An object of the same key is there (it stays), or the store is full.
    pub fn insert(&mut self, entry: Entry) -> Result<(), StoreError> {
        let key = entry.object.key();
        match self.entries.get(&key) {
            Some(first) => Err(StoreError::Duplicate { key: Box::new(key), first: place(first), second: place(&entry) }),
            None => self.upsert(entry).map(|_| ()),
        }
    }

    /// Remembers an object that could not be decoded, beside what it was before; of too many the last are not remembered. Gives back
    /// whether anything changed.
    pub fn set_undecodable(&mut self, undecodable: Undecodable) -> bool {
        if self.undecodable.len() >= MAX_UNDECODABLE && !self.undecodable.contains_key(&undecodable.key) {
            return false;
        }
        let changed = self.undecodable.get(&undecodable.key) != Some(&undecodable);
        self.undecodable.insert(undecodable.key.clone(), undecodable);
        changed
    }

    /// Takes an object out, and what could not be read of it.
    pub fn delete(&mut self, key: &ObjectKey) -> Option<Entry> {
        self.undecodable.remove(key);
        self.entries.remove(key)
    }

    /// The key of an object that is there, to be kept.
    pub fn shared_key(&self, key: &ObjectKey) -> Option<&Arc<ObjectKey>> {
        self.entries.get_key_value(key).map(|(key, _)| key)
    }

    /// The entry of a key.
    pub fn entry(&self, key: &ObjectKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The object of a type by namespace and name; of an InferencePool the one of the newer group.
    pub fn find<T: Typed>(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        T::KIND.groups().iter().find_map(|group| {
            let key = ObjectKey::new(*group, T::KIND.name(), namespace, name);
            self.entries.get(&key).and_then(|entry| T::from_object(&entry.object))
        })
    }

    /// All objects of a type, in the order of namespace and name.
    pub fn all<T: Typed>(&self) -> impl Iterator<Item = &Arc<T>> {
        self.of_kind(T::KIND).filter_map(|entry| T::from_object(&entry.object))
    }

    /// All entries of a kind, in the order of group, namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        kind.groups().iter().flat_map(move |group| {
            let first = ObjectKey::new(*group, kind.name(), String::new(), String::new());
            let same_kind = move |key: &ObjectKey| key.group == *group && key.kind == kind.name();
            self.entries.from(&first).take_while(move |(key, _)| same_kind(key)).map(|(_, entry)| entry)
        })
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Entry)> {
        self.entries.iter().map(|(key, entry)| (&**key, entry))
    }

    /// The newest version of a key that did not decode.
    pub fn undecodable(&self, key: &ObjectKey) -> Option<&Undecodable> {
        self.undecodable.get(key)
    }

    /// Everything that could not be decoded, in the order of keys.
    pub fn all_undecodable(&self) -> impl ExactSizeIterator<Item = &Undecodable> {
        self.undecodable.values()
    }

    /// The keys of all entries, and of what could not be decoded, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        let mut entries = self.entries.keys().map(|key| &**key).peekable();
        let mut undecodable = self.undecodable.keys().peekable();
        iter::from_fn(move || match (entries.peek(), undecodable.peek()) {
            (Some(entry), Some(other)) if entry == other => {
                undecodable.next();
                entries.next()
            }
            (Some(entry), Some(other)) if entry > other => undecodable.next(),
            (None, _) => undecodable.next(),
            (Some(_), _) => entries.next(),
        })
    }

    /// Whether both hold the same.
    pub fn is_same(&self, other: &Store) -> bool {
        self.entries == other.entries && self.undecodable == other.undecodable
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn place(entry: &Entry) -> String {
    match entry.line() {
        None => entry.origin.to_string(),
        Some(line) => format!("{}:{line}", entry.origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pailou_api::parse::parse;
    use pailou_api::{HttpRoute, InferencePool, NamespaceName, Pod};

    fn entries(yaml: &str, origin: &str) -> Vec<Entry> {
        let parsed = parse(yaml.as_bytes(), origin, &NamespaceName::try_from("default").unwrap());
        assert_eq!(parsed.errors, []);
        parsed.objects.into_iter().map(|decoded| Entry::new(decoded, origin.into())).collect()
    }

    fn pod(name: &str, ip: &str) -> String {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nstatus: {{podIP: {ip}}}\n---\n")
    }

    #[test]
    fn an_upsert_says_whether_anything_changed() {
        let mut store = Store::new();
        let entry = |ip| entries(&pod("a", ip), "f.yaml").remove(0);
        assert_eq!(store.upsert(entry("127.0.0.2")), Ok(true));
        assert_eq!(store.upsert(entry("127.0.0.2")), Ok(false));
        assert_eq!(store.upsert(entry("127.0.0.3")), Ok(true));
        assert_eq!(store.find::<Pod>("default", "a").unwrap().spec.ips, ["127.0.0.3".parse::<std::net::IpAddr>().unwrap()]);
        let key = store.iter().next().unwrap().0.clone();
        assert!(store.delete(&key).is_some() && store.is_empty());
    }

    #[test]
    fn a_duplicate_names_both_places_and_the_first_stays() {
        let mut store = Store::new();
        store.insert(entries(&pod("a", "127.0.0.2"), "one.yaml").remove(0)).unwrap();
        let error = store.insert(entries(&format!("\n\n{}", pod("a", "127.0.0.3")), "two.yaml").remove(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Pod default/a is defined twice, at one.yaml:1 and at two.yaml:3: the first one is used; remove or rename the other"
        );
        assert_eq!(&*store.of_kind(Kind::Pod).next().unwrap().origin, "one.yaml");
    }

    #[test]
    fn a_kind_is_iterated_over_all_its_groups_and_nothing_else() {
        let mut store = Store::new();
        let pools = "\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: new}
spec: {selector: {matchLabels: {app: a}}, targetPorts: [{number: 8000}]}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferencePool
metadata: {name: old}
spec: {selector: {app: a}, targetPortNumber: 8000, extensionRef: {name: epp}}
---
";
        for entry in entries(&format!("{pools}{}{}", pod("b", "::1"), pod("a", "::1")), "f.yaml") {
            store.insert(entry).unwrap();
        }
        let names = |kind| store.of_kind(kind).map(|entry| entry.object.meta().name.clone()).collect::<Vec<_>>();
        assert_eq!(names(Kind::InferencePool), ["new", "old"]);
        assert_eq!(names(Kind::Pod), ["a", "b"]);
        assert_eq!(store.all::<InferencePool>().count(), 2);
        assert_eq!(store.all::<HttpRoute>().count(), 0);
    }
}
