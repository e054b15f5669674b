//! Configurations of ConfigMaps, each read once for as long as the ConfigMap stays what it is.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    str,
    sync::Arc,
};

use pailou_api::{ConfigMap, Object};

use super::PickerConfiguration;

/// A configuration, or why it cannot be read.
type ReadConfiguration = Result<Arc<PickerConfiguration>, String>;

/// Configurations that were read.
#[derive(Debug, Default)]
pub(crate) struct ParsedConfigurations(RefCell<HashMap<usize, ReadKeys>>);

/// Configurations of a ConfigMap by key. While it exists, no other object can take the ConfigMap's place in memory.
#[derive(Debug)]
struct ReadKeys {
    _map: Arc<ConfigMap>,
    keys: BTreeMap<String, ReadConfiguration>,
}

impl ParsedConfigurations {
    /// The configuration under a key.
    ///
    /// # Errors
    /// There is no such key, or its text is wrong.
    pub(crate) fn read(&self, map: &Arc<ConfigMap>, key: &str) -> ReadConfiguration {
        let mut known = self.0.borrow_mut();
        let read = known.entry(address(map)).or_insert_with(|| ReadKeys { _map: map.clone(), keys: BTreeMap::new() });
        if let Some(configuration) = read.keys.get(key) {
            return configuration.clone();
        }
        let Some(text) = map.spec.bytes(key) else { return Err("there is no such key".to_owned()) };
        let text = str::from_utf8(text).map_err(|_| "it is no text in UTF-8".to_owned());
        let configuration = text.and_then(|text| PickerConfiguration::parse(text).map(Arc::new));
        read.keys.insert(key.to_owned(), configuration.clone());
        configuration
    }

    /// An object is gone or not what it was.
    pub(crate) fn forget(&mut self, object: &Object) {
        if let Object::ConfigMap(map) = object {
            self.0.get_mut().remove(&address(map));
        }
    }
}

fn address(map: &Arc<ConfigMap>) -> usize {
    Arc::as_ptr(map).addr()
}
