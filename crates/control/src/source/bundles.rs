//! The bundle of Gateway API that each of its CustomResourceDefinitions is of.

use std::collections::BTreeMap;

use kube::ResourceExt;
use pailou_api::refs::GATEWAY_GROUP;

use super::{change::Change, crds::Definition};

/// More definitions than Gateway API has; what is beyond is not looked at.
const MOST: usize = 64;
/// The longest name of a bundle that is kept, in characters.
const LONGEST: usize = 64;
const ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";

/// By definition: the bundle that it says it is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bundles(BTreeMap<String, Option<String>>);

impl Bundles {
    /// Notes what a definition says of itself, if it is one of Gateway API.
    pub(super) fn note(&mut self, name: &str, definition: &Definition) {
        let is_of_gateway_api = name.split_once('.').is_some_and(|(_, group)| group == GATEWAY_GROUP);
        if is_of_gateway_api && (self.0.len() < MOST || self.0.contains_key(name)) {
            let bundle = definition.annotations().get(ANNOTATION).map(|version| version.chars().take(LONGEST).collect());
            self.0.insert(name.to_owned(), bundle);
        }
    }

    /// Forgets a definition. Returns whether it was known.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// All of it, for the collector.
    pub(super) fn change(&self) -> Change {
        Change::Bundles(self.0.clone())
    }
}
