//! Entries of others' lists that are ours.

use std::collections::BTreeSet;

use pailou_api::{GatewayClass, ObjectKey, refs::GATEWAY_GROUP};
use pailou_compile::status::StatusBody;
use serde_json::Value;

use crate::cluster_state::CompiledState;

/// Distinguishes our entries from those of other controllers.
pub(super) struct Ours<'a> {
    published: &'a CompiledState,
    /// Names of controllers that nobody else answers to here.
    controllers: BTreeSet<&'a str>,
}

impl<'a> Ours<'a> {
    /// As of this compilation.
    pub(super) fn new(published: &'a CompiledState) -> Self {
        let held: BTreeSet<&str> = published.cluster.held.values().map(|held| held.controller.as_str()).collect();
        let controllers = published.cluster.settings.controllers.iter().map(String::as_str).filter(|name| !held.contains(name));
        Self { published, controllers: controllers.collect() }
    }

    /// Whether an entry about which the compiler says nothing is ours, and so is to go. Under a name that another controller
    /// answers to as well it may be that one's.
    pub(super) fn is_stale(&self, entry: &Value) -> bool {
        match entry["controllerName"].as_str() {
            Some(name) => self.controllers.contains(name),
            None => false,
        }
    }

    /// The same of an entry that may leave out whose it is: it is ours if the Gateway is, or nobody's any more.
    pub(super) fn is_stale_of_pool(&self, entry: &Value) -> bool {
        if !entry["controllerName"].is_null() {
            return self.is_stale(entry);
        }
        let parent = &entry["parentRef"];
        if parent["kind"].as_str().is_some_and(|kind| kind != "Gateway") {
            return false;
        }
        let name = |field: &str| parent[field].as_str().unwrap_or_default();
        let key = ObjectKey::new(GATEWAY_GROUP, "Gateway", name("namespace"), name("name"));
        match self.published.cluster.store.entry(&key) {
            Some(_) => {
                let status = self.published.compiled.statuses.get(&key);
                status.is_some_and(|status| matches!(status.body, StatusBody::Gateway(_)))
            }
            // Without any GatewayClass of ours we have had no Gateway.
            None => self.has_class(),
        }
    }

    fn has_class(&self) -> bool {
        let mut classes = self.published.cluster.store.all::<GatewayClass>();
        classes.any(|class| self.published.cluster.settings.controllers.contains(&class.spec.controller_name))
    }
}
