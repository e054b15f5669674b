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
    /// What was said of it last.
    said: Option<Said>,
}

#[derive(PartialEq, Eq)]
struct Said {
    endpoints: Option<usize>,
    warnings: Vec<String>,
}

impl Followed {
    pub(super) fn new(picker: Arc<EndpointPicker>, group: Option<&'static str>, namespace: NamespaceName, name: String) -> Self {
        Self { picker, group, namespace, name, said: None }
    }

    /// The objects are these now.
    pub(super) fn take(&mut self, objects: &Store) {
        let pool = one_pool(objects, self.group, self.namespace.as_str(), &self.name);
        let endpoints = pool.as_ref().map(|pool| pool.endpoints.len());
        let warnings = pool.as_ref().map(|pool| pool.warnings.clone()).unwrap_or_default();
        self.picker.update(pool);
        let said = Some(Said { endpoints, warnings });
        if self.said == said {
            return;
        }
        let name = format!("InferencePool {}/{}", self.namespace.as_str(), self.name);
        match endpoints {
            Some(endpoints) => tracing::info!("{name} has {endpoints} ready endpoints"),
            None => tracing::warn!("there is no {name}: it is waited for, and requests are answered 503"),
        }
        said.iter().flat_map(|said| &said.warnings).for_each(|warning| tracing::warn!("{name}: {warning}"));
        self.said = said;
    }
}
