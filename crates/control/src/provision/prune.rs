//! Takes away what is not wanted any more.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject},
    core::ApiResource,
};
use pailou_api::{Gateway, ObjectKey, refs::GATEWAY_GROUP};
use pailou_compile::status::StatusBody;
use pailou_snapshot::Name;

use super::{Options, children::Children, listed::ObjectName, plan::Plan};
use crate::CompiledState;

/// Deletes the data planes of Gateways that exist and are no longer this controller's. The garbage collector deletes those of
/// deleted Gateways, and a Gateway that became invalid keeps its data plane. Returns whether all went well.
pub(super) async fn strays(
    (client, options): (&Client, &Options),
    published: &CompiledState,
    plans: &BTreeMap<Name, Plan>,
    children: &Children,
) -> bool {
    let mut went_well = true;
    let services = children.services.iter().map(|(object_name, it)| (object_name, it.owner_references()));
    let deployments = children.deployments.iter().map(|(object_name, it)| (object_name, it.owner_references()));
    let object_names: HashMap<_, _> = services.chain(deployments).collect();
    for (object_name, owners) in object_names {
        let namespace = &object_name.0;
        let owner = owners.iter().find_map(|owner| {
            let gateway = published.cluster.store.find::<Gateway>(namespace, &owner.name)?;
            (gateway.meta.uid == owner.uid).then_some(gateway)
        });
        let Some(gateway) = owner else { continue };
        let key = ObjectKey::new(GATEWAY_GROUP, "Gateway", namespace.as_str(), gateway.meta.name.as_str());
        let is_ours = matches!(published.compiled.statuses.get(&key), Some(it) if matches!(it.body, StatusBody::Gateway(_)));
        if is_ours || plans.contains_key(&Name::new(namespace, &gateway.meta.name)) {
            continue;
        }
        tracing::info!("Gateway {namespace}/{} is no longer this controller's: deleting its data plane", gateway.meta.name);
        // Without the option the controller need not be permitted to delete what nobody made.
        let has_policy = options.admin_peers.is_some() || children.network_policies.get(object_name).is_some();
        let policy = has_policy.then(|| ApiResource::erase::<NetworkPolicy>(&()));
        for resource in kinds().into_iter().chain(policy) {
            went_well &= delete(client, object_name, &resource).await;
        }
    }
    went_well
}

/// Deletes autoscalers and disruption budgets that a Gateway's parameters do not ask for any more, Services of Gateways without a
/// port, and NetworkPolicies that the options do not ask for.
pub(super) async fn unasked(client: &Client, options: &Options, plans: &BTreeMap<Name, Plan>, children: &Children) -> bool {
    let mut unasked = Vec::new();
    for plan in plans.values() {
        let requested = &plan.parameters.provider.kubernetes;
        if !plan.is_scaled() && children.autoscalers.get(&plan.object_name).is_some() {
            unasked.push((&plan.object_name, ApiResource::erase::<HorizontalPodAutoscaler>(&())));
        }
        if requested.envoy_pdb.is_none() && children.disruption_budgets.get(&plan.object_name).is_some() {
            unasked.push((&plan.object_name, ApiResource::erase::<PodDisruptionBudget>(&())));
        }
        if !plan.has_ports() && children.services.get(&plan.object_name).is_some() {
            unasked.push((&plan.object_name, ApiResource::erase::<Service>(&())));
        }
        if options.admin_peers.is_none() && children.network_policies.get(&plan.object_name).is_some() {
            unasked.push((&plan.object_name, ApiResource::erase::<NetworkPolicy>(&())));
        }
    }
    let mut went_well = true;
    for (object_name, resource) in unasked {
        went_well &= delete(client, object_name, &resource).await;
    }
    went_well
}

/// Deletes an object, if it is there.
async fn delete(client: &Client, (namespace, name): &ObjectName, resource: &ApiResource) -> bool {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 404 => true,
        Err(error) => {
            tracing::warn!("cannot delete {} {namespace}/{name}: {error}", resource.kind);
            false
        }
    }
}

/// All that a data plane may have beside a NetworkPolicy, what scales it first.
fn kinds() -> [ApiResource; 6] {
    [
        ApiResource::erase::<HorizontalPodAutoscaler>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
    ]
}
