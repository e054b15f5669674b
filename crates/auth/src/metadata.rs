//! Facts that authentication finds, by namespace and key, as Envoy's dynamic metadata has them.

use std::sync::Arc;

use serde_json::Value;

/// Facts of one request. Policies name them by namespace and key.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    entries: Vec<(&'static str, Arc<str>, Arc<Value>)>,
}

impl Metadata {
    /// Adds a value. A later value of the same namespace and key replaces the earlier one.
    pub fn insert(&mut self, namespace: &'static str, key: Arc<str>, value: Arc<Value>) {
        self.entries.retain(|(other, name, _)| *other != namespace || *name != key);
        self.entries.push((namespace, key, value));
    }

    /// Adds all values of another. They replace earlier ones of the same namespace and key.
    pub fn extend(&mut self, other: Self) {
        if self.entries.is_empty() {
            *self = other;
            return;
        }
        for (namespace, key, value) in other.entries {
            self.insert(namespace, key, value);
        }
    }

    /// The value of a namespace and key.
    pub fn find(&self, namespace: &str, key: &str) -> Option<&Value> {
        let found = self.entries.iter().find(|(other, name, _)| *other == namespace && &**name == key);
        found.map(|(_, _, value)| &**value)
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.entries.iter().map(|(namespace, key, value)| (*namespace, &**key, &**value))
    }
}
