//! Backends and the objects that they consist of: Services, Backends, InferencePools.

use crate::Mode;
use pailou_api::{
    Backend, InferencePool, Meta, Pod, Service,
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP},
};

use super::{lead::Lead, walk::Walk};

impl<'a> Walk<'_, 'a> {
    /// Adds the objects that a backend needs.
    pub(super) fn backend(&mut self, lead: Lead<'a>) {
        let leads = std::mem::take(&mut self.leads);
        match lead {
            Lead::Service(it) => self.service(it),
            Lead::External(it) => self.external(it),
            Lead::Pool(it) => self.pool(it),
        }
        // A pool leads to its endpoint picker.
        std::mem::replace(&mut self.leads, leads).into_iter().for_each(|lead| self.backend(lead));
    }

    fn service(&mut self, service: &'a Service) {
        let meta = &service.meta;
        if !self.insert(meta) {
            return;
        }
        let index = self.index;
        let slices = index.slices.get(&meta.namespace, &meta.name);
        for slice in slices.into_iter().flatten() {
            self.insert(&slice.meta);
        }
        if slices.is_none() && self.shared.settings.mode == Mode::Standalone {
            self.pods(&meta.namespace, |pod| selects(&service.spec.selector, pod));
        }
        self.tls_policies("Service", meta);
    }

    fn external(&mut self, backend: &'a Backend) {
        let meta = &backend.meta;
        if !self.insert(meta) {
            return;
        }
        self.follow(backend);
        self.tls_policies("Backend", meta);
    }

    fn tls_policies(&mut self, kind: &str, meta: &Meta) {
        for policy in self.shared.policies.tls(kind, meta) {
            if self.insert(&policy.meta) {
                self.follow(*policy);
            }
        }
    }

    fn pool(&mut self, pool: &'a InferencePool) {
        let meta = &pool.meta;
        if !self.pools.insert(meta) {
            return;
        }
        let index = self.index;
        // Models name their pool by either group and prefer one that exists, so that the other group's pool of the name counts.
        let twins = [INFERENCE_GROUP, INFERENCE_X_GROUP].into_iter().filter_map(|it| index.pool(it, &meta.namespace, &meta.name));
        for twin in twins {
            self.found.insert(&twin.meta);
        }
        self.pods(&meta.namespace, |pod| selects(&pool.spec.selector, pod));
        for meta in self.shared.models.by_pool.get(&(meta.namespace.as_str(), meta.name.as_str())).into_iter().flatten() {
            self.insert(meta);
        }
        self.tls_policies("InferencePool", meta);
        self.follow(pool);
    }

    fn pods(&mut self, namespace: &str, chosen: impl Fn(&Pod) -> bool) {
        for pod in self.index.pods.get(namespace, "").into_iter().flatten().filter(|pod| chosen(pod)) {
            self.insert(&pod.meta);
        }
    }
}

/// Whether a pod bears all these labels; no labels select nothing.
fn selects(selector: &std::collections::BTreeMap<String, String>, pod: &Pod) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| pod.meta.labels.get(key) == Some(value))
}
