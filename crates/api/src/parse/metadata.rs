//! `metadata`, checked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::names::{is_dns_label, is_dns_subdomain};
use crate::{Kind, Meta, NamespaceName, Unsupported};

/// `metadata` as it is written.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawMeta {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    generate_name: Option<Unsupported>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    #[expect(dead_code, reason = "listed so that it is not reported as unknown")]
    managed_fields: Option<Unsupported>,
    #[serde(default)]
    #[expect(dead_code, reason = "listed so that it is not reported as unknown")]
    owner_references: Option<Unsupported>,
    #[serde(default)]
    #[expect(dead_code, reason = "listed so that it is not reported as unknown")]
    finalizers: Option<Unsupported>,
    #[serde(default)]
    #[expect(dead_code, reason = "listed so that it is not reported as unknown")]
    self_link: Option<Unsupported>,
    #[serde(default)]
    #[expect(dead_code, reason = "listed so that it is not reported as unknown")]
    deletion_grace_period_seconds: Option<Unsupported>,
}

impl RawMeta {
    /// The checked metadata, or the field that is wrong and why.
    pub(super) fn checked(self, kind: Kind, default: &NamespaceName) -> Result<Meta, (&'static str, String)> {
        let name = self.name.unwrap_or_default();
        if name.is_empty() {
            let why = match self.generate_name {
                Some(_) => "required: generateName is not supported here, as nothing would generate the name",
                None => "required, but missing",
            };
            return Err(("metadata.name", why.to_owned()));
        }
        if !is_dns_subdomain(&name) {
            let why =
                "is not a valid name: use lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit";
            return Err(("metadata.name", format!("{name:?} {why}")));
        }
        let namespace = match self.namespace.filter(|namespace| !namespace.is_empty()) {
            _ if !kind.is_namespaced() => String::new(),
            None => default.to_string(),
            Some(namespace) if is_dns_label(&namespace) => namespace,
            Some(namespace) => {
                let why = "is not a valid namespace: use at most 63 lower-case letters, digits and '-'";
                return Err(("metadata.namespace", format!("{namespace:?} {why}")));
            }
        };
        Ok(Meta {
            name,
            namespace,
            uid: self.uid,
            generation: self.generation,
            creation_timestamp: self.creation_timestamp,
            deletion_timestamp: self.deletion_timestamp,
            labels: self.labels,
            annotations: self.annotations,
            resource_version: self.resource_version,
        })
    }
}
