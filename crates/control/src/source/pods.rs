//! Pods of interest: those that InferencePools select.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt;
use pailou_api::InferencePool;
use pailou_compile::store::Store;

use super::{raw::RawObject, watch::LabelFilter};

/// Labels that a Pod must have.
pub(crate) type Selector = BTreeMap<String, String>;

/// The selectors of a namespace's InferencePools.
pub(crate) type Selectors = BTreeSet<Selector>;

/// The selectors by namespace.
pub(crate) fn selectors(store: &Store) -> BTreeMap<Arc<str>, Selectors> {
    let mut namespaces: BTreeMap<Arc<str>, Selectors> = BTreeMap::new();
    for pool in store.all::<InferencePool>() {
        namespaces.entry(pool.meta.namespace.as_str().into()).or_default().insert(pool.spec.selector.clone());
    }
    namespaces
}

/// The label selector for the API server: that of a single selector; none for several.
pub(crate) fn label_selector(selectors: &Selectors) -> Option<String> {
    let mut all = selectors.iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let terms: Vec<String> = only.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Some(terms.join(",")).filter(|text| !text.is_empty())
}

/// Whether one of the selectors selects an object.
pub(crate) fn label_filter(selectors: Selectors) -> LabelFilter {
    Arc::new(move |object: &RawObject| {
        selectors.iter().any(|selector| selector.iter().all(|(key, value)| object.labels().get(key) == Some(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(pairs: &[(&str, &str)]) -> Selector {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn one_selector_is_left_to_the_api_server_and_several_are_not() {
        let one = Selectors::from([selector(&[("app", "a"), ("tier", "b")])]);
        assert_eq!(label_selector(&one).as_deref(), Some("app=a,tier=b"));
        let two = Selectors::from([selector(&[("app", "a")]), selector(&[("app", "b")])]);
        assert_eq!(label_selector(&two), None);
    }

    #[test]
    fn a_pod_is_followed_when_any_selector_matches_all_its_labels() {
        let matches = label_filter(Selectors::from([selector(&[("app", "a"), ("tier", "b")]), selector(&[("app", "c")])]));
        let pod = |labels: &[(&str, &str)]| {
            serde_json::from_value::<RawObject>(serde_json::json!({ "metadata": { "name": "p", "labels": selector(labels) } }))
                .unwrap()
        };
        assert!(matches(&pod(&[("app", "a"), ("tier", "b"), ("more", "x")])));
        assert!(matches(&pod(&[("app", "c")])));
        assert!(!matches(&pod(&[("app", "a")])));
        assert!(!matches(&pod(&[])));
    }
}
