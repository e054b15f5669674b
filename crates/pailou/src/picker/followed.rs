//! The pool among all objects, handed to the picker as it changes.

use std::sync::Arc;

use pailou_api::NamespaceName;
use pailou_compile::{one_pool, store::Store};
use pailou_epp::EndpointPicker;

/// A pool that is followed.
pub(super) struct Followed {
    picker: Arc<EndpointPicker>,
    group: Option<&'static str>,
    namespace: NamespaceName,
    name: String,
    /// The pool as last logged.
    reported: Option<PoolSummary>,
}

#[derive(PartialEq, Eq)]
struct PoolSummary {
    endpoints: Option<usize>,
    warnings: Vec<String>,
}

impl Followed {
    pub(super) fn new(picker: Arc<EndpointPicker>, group: Option<&'static str>, namespace: NamespaceName, name: String) -> Self {
        Self { picker, group, namespace, name, reported: None }
    }

    /// The objects are these now.
    pub(super) fn take(&mut self, objects: &Store) {
        let pool = one_pool(objects, self.group, self.namespace.as_str(), &self.name);
        let endpoints = pool.as_ref().map(|pool| pool.endpoints.len());
        let warnings = pool.as_ref().map(|pool| pool.warnings.clone()).unwrap_or_default();
        self.picker.update(pool);
        let reported = Some(PoolSummary { endpoints, warnings });
        if self.reported == reported {
            return;
        }
        let name = format!("InferencePool {}/{}", self.namespace.as_str(), self.name);
        match endpoints {
            Some(endpoints) => tracing::info!("{name} has {endpoints} ready endpoints"),
            None => tracing::warn!("no {name}: waiting for it; requests get 503"),
        }
        reported.iter().flat_map(|reported| &reported.warnings).for_each(|warning| tracing::warn!("{name}: {warning}"));
        self.reported = reported;
    }
}
