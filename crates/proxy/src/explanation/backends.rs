//! The backends of a rule: their shares, endpoints, and the ranking of a pool.

use pailou_picker::{OBJECTIVE_HEADERS, PickRequest, criticality, priority};
use pailou_snapshot::{BackendRef, Backends, Cluster, ClusterId, ClusterKind, Pool};
use serde_json::{Value, json};

use super::{Sources, request::ReadRequest};
use crate::stored_receipt::picked;

/// Most endpoints that are named of a backend.
const MAX_ENDPOINTS: usize = 16;

/// Adds the backends to an explanation.
pub(super) fn explain(sources: &Sources<'_>, backends: &Backends, read: &ReadRequest, explanation: &mut Value) {
    let total = |backend: &BackendRef| backends.total(backend.fallback).max(1);
    let all = backends.iter().map(|backend| {
        let mut told = json!({
            "weight": backend.weight,
            "share": (f64::from(backend.weight) / total(backend) as f64 * 1000.0).round() / 1000.0,
            "fallback": backend.fallback,
            "filters": backend.filters.names(),
        });
        match &backend.cluster {
            Ok(id) => add_cluster(sources, *id, read, &mut told),
            Err(failure) => told["problem"] = format!("500: {}", failure.0).into(),
        }
        told
    });
    explanation["backends"] = all.collect();
}

fn add_cluster(sources: &Sources<'_>, id: ClusterId, read: &ReadRequest, told: &mut Value) {
    let cluster = sources.snapshot.cluster(id);
    told["backend"] = cluster.key.endpoints.to_string().into();
    let names = endpoints(sources, id, cluster);
    told["endpoints"] = json!(names.len());
    told["names"] = json!(names.into_iter().take(MAX_ENDPOINTS).collect::<Vec<_>>());
    let ClusterKind::Pool(pool) = &cluster.kind else { return };
    let asked = read.model().unwrap_or_default();
    let sent: Vec<_> = pool.model(asked).iter().flat_map(|model| &model.targets).map(|target| &*target.name).collect();
    told["sent_models"] = json!(sent.iter().filter(|name| **name != asked).collect::<Vec<_>>());
    let Some(state) = sources.runtime.map(|runtime| runtime.cluster(id)) else {
        told["note"] = "which endpoint comes first depends on the engines' load: ask a running gateway (--admin)".into();
        return;
    };
    // Of several names the engine gets one by weight.
    let model = sent.first().copied().unwrap_or(asked);
    if let Some(choice) = state.preview(&request(pool, model, asked, read)) {
        let name = pool.name.to_string();
        told["pick"] = json!(picked(&choice, &name));
    }
}

fn request<'a>(pool: &Pool, model: &'a str, asked: &str, read: &'a ReadRequest) -> PickRequest<'a> {
    let scan = read.scan.as_ref();
    let objective = OBJECTIVE_HEADERS.iter().find_map(|name| read.head.parts.headers.get(*name)?.to_str().ok());
    PickRequest {
        model,
        prompt: scan.and_then(|scan| read.body.get(scan.prompt.clone()?)).unwrap_or(&[]),
        cache_salt: scan.and_then(|scan| scan.cache_salt.as_deref()),
        criticality: criticality(priority(pool, pool.model(asked).map(|model| &**model), objective)),
        input_bytes: read.body.len(),
        max_tokens: scan.and_then(|scan| scan.max_tokens),
        ..PickRequest::default()
    }
}

fn endpoints(sources: &Sources<'_>, id: ClusterId, cluster: &Cluster) -> Vec<String> {
    let name = |endpoint: &pailou_snapshot::Endpoint| match *endpoint.name == *endpoint.address.to_string() {
        true => endpoint.name.to_string(),
        false => format!("{} {}", endpoint.name, endpoint.address),
    };
    match (sources.runtime, sources.endpoints) {
        (Some(runtime), _) => runtime.cluster(id).endpoints().iter().map(|it| name(it.endpoint())).collect(),
        (None, Some(endpoints)) => endpoints.get(&cluster.key.endpoints).iter().flat_map(|it| it.iter()).map(name).collect(),
        (None, None) => Vec::new(),
    }
}
