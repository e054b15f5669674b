//! InferencePools and Services without an endpoint, and why they have none. Without a cluster nobody else says it.

use std::collections::BTreeMap;

use pailou_api::{InferencePool, Meta, Object, ObjectKey, Pod, Service};
use pailou_compile::store::Store;
use pailou_snapshot::{EndpointKey, Endpoints};

use crate::source::{Level, Problem};

/// A problem for every InferencePool whose selector finds no Pod, and for every backend of a route that has no endpoint.
pub(crate) fn problems(objects: &Store, endpoints: &Endpoints) -> Vec<Problem> {
    let has_some = |key: &EndpointKey| endpoints.get(key).is_some_and(|list| !list.is_empty());
    let pools = objects.all::<InferencePool>().filter(|pool| {
        let name = pailou_snapshot::Name::new(&pool.meta.namespace, &pool.meta.name);
        !has_some(&EndpointKey::Pool(name))
    });
    let pools = pools.filter_map(|pool| {
        let why = why(objects, &pool.meta.namespace, &pool.spec.selector)?;
        Some(problem(objects, &Object::InferencePool(pool.clone()), &why))
    });
    let mut seen = None;
    let services = endpoints.iter().filter(|(_, list)| list.is_empty()).filter_map(|(key, _)| match key {
        EndpointKey::Service(name, _) | EndpointKey::UdpService(name, _) => Some(name),
        EndpointKey::Backend(_) | EndpointKey::Pool(_) => None,
    });
    // A Service's ports stand beside each other.
    let services = services.filter(|name| seen.replace((*name).clone()).as_ref() != Some(*name)).filter_map(|name| {
        let service = objects.find::<Service>(&name.namespace, &name.name)?;
        let why = match service.spec.selector.is_empty() {
            true => "it has no selector, and no EndpointSlice has a ready endpoint of it".to_owned(),
            false => why(objects, &name.namespace, &service.spec.selector)?,
        };
        Some(problem(objects, &Object::Service(service.clone()), &why))
    });
    pools.chain(services).collect()
}

/// Why a selector yields no endpoint; `None` if it does.
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

fn problem(objects: &Store, object: &Object, why: &str) -> Problem {
    let key: ObjectKey = object.key();
    let entry = objects.entry(&key);
    Problem {
        origin: entry.map_or_else(String::new, |entry| entry.origin.to_string()),
        line: entry.map(|entry| entry.line).filter(|line| *line > 0),
        message: format!("{key}: no endpoint: {why}; requests to it are answered 503"),
        level: Level::Warning,
    }
}
