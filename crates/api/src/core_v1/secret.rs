//! Secret.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1 as api;

use crate::meta::Resource;

/// Core Secret.
pub type Secret = Resource<SecretData>;

/// The contents of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretData {
    /// `type`, such as `kubernetes.io/tls`; `Opaque` when absent.
    pub kind: String,
    /// Values by key: `data` decoded, overlaid with `stringData`.
    pub data: BTreeMap<String, SecretValue>,
}

/// Bytes that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Wraps bytes.
    pub fn new(bytes: Vec<u8>) -> SecretValue {
        SecretValue(bytes)
    }

    /// The bytes. The caller answers for where they go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<api::Secret> for SecretData {
    fn from(object: api::Secret) -> SecretData {
        let mut data: BTreeMap<String, SecretValue> =
            object.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, SecretValue(bytes.0))).collect();
        for (key, text) in object.string_data.unwrap_or_default() {
            data.insert(key, SecretValue(text.into_bytes()));
        }
        SecretData { kind: object.type_.unwrap_or_else(|| "Opaque".to_owned()), data }
    }
}
