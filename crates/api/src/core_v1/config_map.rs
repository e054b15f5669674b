//! ConfigMap.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;

use crate::meta::Resource;

/// Core ConfigMap.
pub type ConfigMap = Resource<ConfigMapData>;

/// The contents of a ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigMapData {
    /// Texts by key.
    pub data: BTreeMap<String, String>,
    /// Bytes by key.
    pub binary_data: BTreeMap<String, Vec<u8>>,
}

impl ConfigMapData {
    /// The bytes under a key, be they given as text or as binary data.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        let text = self.data.get(key).map(String::as_bytes);
        text.or_else(|| self.binary_data.get(key).map(Vec::as_slice))
    }
}

impl From<api::ConfigMap> for ConfigMapData {
    fn from(object: api::ConfigMap) -> ConfigMapData {
        let binary = object.binary_data.unwrap_or_default();
        ConfigMapData {
            data: object.data.unwrap_or_default(),
            binary_data: binary.into_iter().map(|(key, bytes)| (key, bytes.0)).collect(),
        }
    }
}
