//! InferencePools and Services without an endpoint, and why they have none. Without a cluster nobody else says it.

use std::collections::BTreeMap;

use pailou_api::{Kind, Meta, Object, ObjectKey, Pod};
use pailou_compile::store::{Entry, Store};
use pailou_snapshot::{EndpointKey, Endpoints, Name};

use crate::source::{Level, Problem};

/// A problem for every InferencePool whose selector finds no Pod, and for every backend of a route that has no endpoint.
pub(crate) fn problems(objects: &Store, endpoints: &Endpoints) -> Vec<Problem> {
    let has_some = |key: &EndpointKey| endpoints.get(key).is_some_and(|list| !list.is_empty());
    let pools = objects.of_kind(Kind::InferencePool).filter_map(|entry| {
        let Object::InferencePool(pool) = &entry.object else { return None };
        if has_some(&EndpointKey::Pool(Name::new(&pool.meta.namespace, &pool.meta.name))) {
            return None;
        }
        let why = why(objects, &pool.meta.namespace, &pool.spec.selector)?;
        Some(problem(entry, &why))
    });
    let mut seen = None;
    let services = endpoints.iter().filter(|(_, list)| list.is_empty()).filter_map(|(key, _)| match key {
        EndpointKey::Service(name, _) | EndpointKey::UdpService(name, _) => Some(name),
        EndpointKey::Backend(_) | EndpointKey::Pool(_) => None,
    });
    // A Service's ports stand beside each other.
    let services = services.filter(|name| seen.replace((*name).clone()).as_ref() != Some(*name)).filter_map(|name| {
        let entry = objects.entry(&ObjectKey::new("", "Service", &*name.namespace, &*name.name))?;
        let Object::Service(service) = &entry.object else { return None };
        let why = match service.spec.selector.is_empty() {
            true => "it has no selector, and no EndpointSlice has a ready endpoint of it".to_owned(),
            false => why(objects, &name.namespace, &service.spec.selector)?,
        };
        Some(problem(entry, &why))
    });
    pools.chain(services).collect()
}

/// The reason that a selector yields no endpoint; `None` if it yields one.
fn why(objects: &Store, namespace: &str, selector: &BTreeMap<String, String>) -> Option<String> {
    let is_selected =
        |meta: &Meta| meta.namespace == namespace && selector.iter().all(|(key, value)| meta.labels.get(key) == Some(value));
    let selected: Vec<_> = objects.all::<Pod>().filter(|pod| is_selected(&pod.meta)).collect();
    let labels: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let labels = labels.join(",");
    if selected.is_empty() {
        return Some(format!("its selector ({labels}) selects no Pod in namespace {namespace}"));
    }
    let is_usable = |pod: &Pod| pod.spec.ready && pod.meta.deletion_timestamp.is_none() && !pod.spec.ips.is_empty();
    let is_any_usable = selected.iter().any(|pod| is_usable(pod));
    (!is_any_usable).then(|| format!("no Pod that its selector ({labels}) selects is ready and has a podIP"))
}

fn problem(entry: &Entry, why: &str) -> Problem {
    Problem {
        origin: entry.origin.to_string(),
        line: entry.line(),
        message: format!("{}: no endpoint: {why}; requests to it are answered 503", entry.object.key()),
        level: Level::Warning,
    }
}
