//! Facts that authentication finds, by namespace and key, as Envoy's dynamic metadata has them.

use std::sync::Arc;

use serde_json::Value;
use smallvec::SmallVec;

/// Facts of one request. Policies name them by namespace and key.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    // Most requests have one.
    entries: SmallVec<[Entry; 1]>,
}

/// Namespace, key and value.
type Entry = (&'static str, Arc<str>, Arc<Value>);

impl Metadata {
    /// Adds a value. A later value of the same namespace and key replaces the earlier one.
    pub fn insert(&mut self, namespace: &'static str, key: Arc<str>, value: Arc<Value>) {
        if !self.entries.is_empty() {
            self.entries.retain(|(other, name, _)| *other != namespace || *name != key);
        }
        self.entries.push((namespace, key, value));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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

    /// The value of a namespace and key. Behind a dot a key goes on into a value: `provider.limit` is the claim of a provider's token.
    pub fn find(&self, namespace: &str, key: &str) -> Option<&Value> {
        let entry = |key: &str| self.entries.iter().find(|(other, name, _)| *other == namespace && **name == *key);
        let value = |key: &str| entry(key).map(|(_, _, value)| &**value);
        let within = |at: usize| key[at + 1..].split('.').try_fold(value(&key[..at])?, |value, name| value.get(name));
        value(key).or_else(|| key.match_indices('.').find_map(|(at, _)| within(at)))
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.entries.iter().map(|(namespace, key, value)| (*namespace, &**key, &**value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_goes_on_into_values_behind_its_dots() {
        let mut metadata = Metadata::default();
        metadata.insert("jwt", "sso".into(), Arc::new(json!({"limits": {"day": 5}, "a": 1})));
        metadata.insert("jwt", "sso.a".into(), Arc::new(json!(2)));
        for (key, expected) in [
            ("sso.limits.day", Some(json!(5))),
            ("sso.a", Some(json!(2))),
            ("sso.limits.week", None),
            ("other.a", None),
            ("sso.", None),
        ] {
            assert_eq!(metadata.find("jwt", key), expected.as_ref(), "{key}");
        }
        assert_eq!(metadata.find("other", "sso"), None);
    }
}
