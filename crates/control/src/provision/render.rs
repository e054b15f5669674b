//! A data plane's objects, as they are applied.

mod deployment;
mod network_policy;
mod scaling;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ConfigMap, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Resource,
    core::{ApiResource, DynamicObject},
};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::{GATEWAY_NAME_LABEL, Options, names, observed, plan::Plan};

/// Says which installation of the controller made an object: its namespace.
pub(crate) const CONTROLLER_LABEL: &str = "pailou.dev/controller";
/// Tells a data plane's pods from all others of their namespace.
pub(crate) const DATA_PLANE_LABEL: &str = "pailou.dev/data-plane";
/// The key of the ConfigMap under which the feed's authorities are.
pub(crate) const AUTHORITIES: &str = "ca.crt";

/// An object that is to be applied, with what is needed to apply it.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    pub(crate) resource: ApiResource,
    pub(crate) object: DynamicObject,
}

impl Rendered {
    /// Digest of the object as it is to be sent.
    pub(super) fn digest(&self) -> u64 {
        xxh3_64(&serde_json::to_vec(&self.object).unwrap_or_default())
    }
}

/// The objects of a data plane, in the order in which to apply them. `authorities` are those that may sign the feed's
/// certificate, in PEM; `observed` is the Deployment as it is, if there is one and parameters ask for an autoscaler.
pub(crate) fn render(plan: &Plan, options: &Options, authorities: &str, observed: Option<&observed::Deployment>) -> Vec<Rendered> {
    let account =
        ServiceAccount { metadata: metadata(plan, options), automount_service_account_token: Some(false), ..Default::default() };
    let data = BTreeMap::from([(AUTHORITIES.to_owned(), authorities.to_owned())]);
    let trust = ConfigMap { metadata: metadata(plan, options), data: Some(data), ..Default::default() };
    // An API server refuses a Service without ports.
    let service = plan.has_ports().then(|| rendered(&service::service(plan, options)));
    let deployment = rendered(&deployment::deployment(plan, options, observed));
    let always = [rendered(&account), rendered(&trust)].into_iter().chain(service).chain([deployment]);
    let autoscaler = scaling::autoscaler(plan, options).map(|it| rendered(&it));
    // Before the pods that it is for.
    let policy = network_policy::network_policy(plan, options).map(|it| rendered(&it));
    let budget = scaling::disruption_budget(plan, options).map(|it| rendered(&it));
    policy.into_iter().chain(always).chain(autoscaler).chain(budget).collect()
}

fn rendered<T: Resource<DynamicType = ()> + Serialize>(object: &T) -> Rendered {
    let resource = ApiResource::erase::<T>(&());
    let mut data = serde_json::to_value(object).expect("objects of an API are JSON");
    let fields = data.as_object_mut().expect("an object of an API is a JSON object");
    fields.remove("metadata");
    let types = kube::core::TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() };
    Rendered { object: DynamicObject { types: Some(types), metadata: object.meta().clone(), data }, resource }
}

/// Metadata that all of a data plane's objects have.
fn metadata(plan: &Plan, options: &Options) -> ObjectMeta {
    let none = BTreeMap::new();
    ObjectMeta {
        name: Some(plan.object_name.1.clone()),
        namespace: Some(plan.gateway.namespace.to_string()),
        owner_references: Some(vec![OwnerReference {
            api_version: "gateway.networking.k8s.io/v1".to_owned(),
            kind: "Gateway".to_owned(),
            name: plan.gateway.name.to_string(),
            uid: plan.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..marks(plan, options, &none, &none)
    }
}

/// Labels and annotations: those of the parameters, over them the Gateway's, and over both those that the controller needs.
fn marks(
    plan: &Plan,
    options: &Options,
    more_labels: &BTreeMap<String, String>,
    more_annotations: &BTreeMap<String, String>,
) -> ObjectMeta {
    let mut labels = more_labels.clone();
    labels.extend(plan.labels.clone());
    labels.extend(selector(plan));
    labels.insert(GATEWAY_NAME_LABEL.to_owned(), names::label(&plan.gateway.name));
    labels.insert("app.kubernetes.io/name".to_owned(), "pailou-proxy".to_owned());
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "pailou".to_owned());
    labels.insert(CONTROLLER_LABEL.to_owned(), options.namespace.clone());
    let mut annotations = more_annotations.clone();
    annotations.extend(plan.annotations.clone());
    let annotations = (!annotations.is_empty()).then_some(annotations);
    ObjectMeta { labels: Some(labels), annotations, ..ObjectMeta::default() }
}

/// Selector of the data plane's pods.
fn selector(plan: &Plan) -> BTreeMap<String, String> {
    BTreeMap::from([(DATA_PLANE_LABEL.to_owned(), plan.object_name.1.clone())])
}
